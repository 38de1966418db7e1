"""What every result carries: commit, versions, machine, seed and date, so that a figure has a birth certificate."""

import json
import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
RESULTS = Path(__file__).with_name("results")
SHARED = Path(os.environ.get("TEXTSIAM_SHARED", ROOT.parent / "shared" / "data"))
PACKAGES = (
    "textsiam",
    "torch",
    "transformers",
    "tokenizers",
    "numpy",
    "scikit-learn",
    "pyarrow",
    "sentence-transformers",
)


def record(name: str, claim: str, figures: dict[str, Any], seed: int | None = None) -> None:
    """Write ``results/NAME.json`` and print it."""
    told = {"claim": claim, "figures": figures, "seed": seed, **circumstances()}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n")
    print(json.dumps(told, indent=1, ensure_ascii=False))


def commit_of(root: Path) -> str:
    """The commit that a checkout stands at."""
    return _git("describe", "--always", root=root)


def _git(*asked: str, root: Path = ROOT) -> str:
    return subprocess.run(["git", "-C", str(root), *asked], capture_output=True, text=True, check=False).stdout.strip()


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def circumstances() -> dict[str, Any]:
    """Commit, versions, machine and date."""
    commit = os.environ.get("TEXTSIAM_COMMIT")  # told where the code was copied without git
    if not commit:
        commit = _git("describe", "--always")
        if _git(
            "status", "--porcelain", "--", ".", ":!benchmarks/results"
        ):  # results of the scripts before change no code
            commit += "-dirty"
    cpu = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        "",
    )
    flags = Path("/proc/cpuinfo").read_text()
    return {
        "commit": commit or "before the first commit",
        "versions": {name: _version(name) for name in PACKAGES} | {"python": platform.python_version()},
        "machine": {
            "cpu": cpu,
            "cores": os.cpu_count(),
            "avx512_bf16": "avx512_bf16" in flags,
            "avx512f": "avx512f" in flags,
        },
        "date": datetime.now(UTC).date().isoformat(),
    }
