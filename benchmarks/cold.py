"""Cold start: a whole process from nothing to the first answer, beside an interpreter that does nothing and beside the peer.

Every command in turn, medians of the rounds, in seconds and MB; the installed package, two threads. ``empty cache`` is the first
start ever: the hashes of the weights are not yet known. The peer gets the same pair and the same model.

    python benchmarks/cold.py
"""

import os
import subprocess
import sys
import tempfile
import time
from statistics import median

from record import record

N_ROUNDS = 11
PAIR = ["How do I pay?", "How can I pay?"]
PEER = (
    "from sentence_transformers import SentenceTransformer; from textsiam.encoding.model_folder.finding import embedded_model;"
    "m = SentenceTransformer(str(embedded_model()), device='cpu');"
    f"print(m.similarity(*m.encode({PAIR!r})))"
)
COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "import textsiam": [sys.executable, "-c", "import textsiam"],
    "textsiam --help": [sys.executable, "-m", "textsiam", "--help"],
    "textsiam score": [sys.executable, "-m", "textsiam", "score", "--pair", *PAIR],
    "textsiam score, empty cache": [sys.executable, "-m", "textsiam", "score", "--pair", *PAIR],
    "textsiam duplicates, 330 questions": [sys.executable, "-m", "textsiam", "duplicates", "--sample"],
    "textsiam score, PyTorch": [sys.executable, "-m", "textsiam", "score", "--backend", "pytorch", "--pair", *PAIR],
    "sentence-transformers score": [sys.executable, "-c", PEER],
}


def main() -> None:
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in COMMANDS}
    with tempfile.TemporaryDirectory() as warm:
        for turn in range(N_ROUNDS + 1):  # the first, which warms the disk cache and ours, is not counted
            for name, command in COMMANDS.items():
                with tempfile.TemporaryDirectory() as empty:
                    told = process(command, empty if "empty" in name else warm)
                if turn:
                    found[name].append(told)
    figures = {
        name: {
            "seconds": round(median(seconds for seconds, _ in of), 3),
            "from_to": [round(min(of)[0], 3), round(max(of)[0], 3)],
            "peak_mb": round(median(mb for _, mb in of)),
        }
        for name, of in found.items()
    }
    peer = [seconds for seconds, _ in found["sentence-transformers score"]]
    for name, told in figures.items():
        told["peer_times"] = round(median(b / a for (a, _), b in zip(found[name], peer, strict=True)), 1)
    record("cold", __doc__.splitlines()[0], {"rounds": N_ROUNDS, **figures})


def process(command: list[str], cache: str) -> tuple[float, float]:
    """Seconds and peak MB of one run."""
    started = time.perf_counter()
    run = subprocess.Popen(
        command, env=os.environ | {"TEXTSIAM_CACHE": cache}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, status, used = os.wait4(run.pid, 0)
    seconds = time.perf_counter() - started
    run.returncode = status
    assert not status, command
    return seconds, used.ru_maxrss / 1024


if __name__ == "__main__":
    main()
