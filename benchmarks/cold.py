"""How long ``import textsiam`` and ``textsiam --help`` take, beside an interpreter that does nothing; in turn, medians.

python benchmarks/cold.py
"""

import subprocess
import sys
import time
from statistics import median

from record import record

N_ROUNDS = 11
COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "import textsiam": [sys.executable, "-c", "import textsiam"],
    "textsiam --help": [sys.executable, "-m", "textsiam", "--help"],
    "textsiam score": [sys.executable, "-m", "textsiam", "score", "--pair", "How do I pay?", "How can I pay?"],
    "sentence-transformers score": [
        sys.executable,
        "-c",
        (
            "from sentence_transformers import SentenceTransformer; from textsiam.encoding.embedded import embedded_model;"
            "m = SentenceTransformer(str(embedded_model()), device='cpu');"
            "print(m.similarity(*m.encode(['How do I pay?', 'How can I pay?'])))"
        ),
    ],
}


def main() -> None:
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for turn in range(N_ROUNDS + 1):  # the first, which warms the disk cache, is not counted
        for name, command in COMMANDS.items():
            started = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            if turn:
                seconds[name].append(time.perf_counter() - started)
    nothing = median(seconds["python -c pass"])
    medians = {name: round(median(values), 3) for name, values in seconds.items()}
    beyond = {name: round(value - nothing, 3) for name, value in medians.items()}
    record(
        "cold",
        "import at most 0.3 s, --help at most 0.7 s",
        dict(seconds=medians, beyond_python=beyond, rounds=N_ROUNDS),
    )


if __name__ == "__main__":
    main()
