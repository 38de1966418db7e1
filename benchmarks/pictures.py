"""The pictures of the README, drawn from the results: throughput, cold start, and how time grows with the number of texts."""

import json
from pathlib import Path

import matplotlib as mpl

mpl.use("svg")
import matplotlib.pyplot as plt

RESULTS = Path(__file__).with_name("results")
OURS, THEIRS = "#0b6e4f", "#9aa5b1"


def draw() -> list[Path]:
    """Every picture whose figures are there."""
    mpl.rcParams |= {
        "svg.hashsalt": "textsiam",
        "svg.fonttype": "none",
        "font.size": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
    }
    found = []
    for name, picture in (("encode", throughput), ("cold", cold), ("join", growth), ("index", lookup)):
        if (RESULTS / f"{name}.json").is_file():
            figures = json.loads((RESULTS / f"{name}.json").read_text())["figures"]
            found.append(_written(picture(figures), name))
    return found


def throughput(figures: dict):
    """Texts a second of every system."""
    systems = sorted(figures["systems"].items(), key=lambda row: row[1]["texts_per_second"])
    labels = [f"{told['texts_per_second']:,} ({told['times_peer'][0]} ×)" for _, told in systems]
    title = "Real questions encoded a second (all-MiniLM-L6-v2, two cores)"
    return _bars([name for name, _ in systems], [told["texts_per_second"] for _, told in systems], labels, title)


def cold(figures: dict):
    """Seconds from nothing to the first answer."""
    names = (
        "sentence-transformers score",
        "textsiam score, PyTorch",
        "textsiam duplicates, 330 questions",
        "textsiam score",
    )
    labels = [f"{figures[name]['seconds']} s, {figures[name]['peak_mb']} MB" for name in names]
    return _bars(
        names, [figures[name]["seconds"] for name in names], labels, "From nothing to the first answer, seconds"
    )


def _bars(names, values, labels, title: str):
    figure, axes = plt.subplots(figsize=(7, 0.5 + 0.28 * len(names)), layout="constrained")
    colours = [OURS if name.startswith("textsiam") else THEIRS for name in names]
    bars = axes.barh(range(len(names)), values, color=colours)
    axes.bar_label(bars, labels, padding=3)
    axes.set_yticks(range(len(names)), names)
    axes.set_xlim(0, 1.3 * max(values))
    axes.set_xticks([])
    axes.spines["bottom"].set_visible(False)
    axes.set_title(title, loc="left", fontsize=10)
    return figure


def growth(figures: dict):
    """Seconds of a join by the number of vectors, on logarithmic axes."""
    figure, axes = plt.subplots(figsize=(7, 3.6), layout="constrained")
    for name, points in figures["growth"].items():
        n, seconds = zip(*sorted((int(n), seconds) for n, seconds in points.items()), strict=True)
        ours = name.startswith("textsiam")
        axes.loglog(
            n, seconds, "o-", color=OURS if ours else None, linewidth=2 if ours else 1, markersize=4, label=name
        )
    axes.set_xlabel("vectors (384 dimensions)")
    axes.set_ylabel("seconds")
    axes.set_title("Every pair with cosine ≥ 0.8 among N vectors, two cores", loc="left", fontsize=10)
    axes.legend(frameon=False, fontsize=8)
    return figure


def lookup(figures: dict):
    """Milliseconds to look one vector up, by the number of vectors, and what share of all matches comes back."""
    figure, axes = plt.subplots(figsize=(7, 3.6), layout="constrained")
    for name, sizes in figures["systems"].items():
        told = [(int(n), of["at 0.8"]) for n, of in sizes.items()]
        n, found = zip(*sorted(told), strict=True)
        ours = name.startswith("textsiam")
        label = f"{name}: recall {min(of['recall'] for of in found):.3f}"
        style = dict(color=OURS, linewidth=2) if ours else dict(linewidth=1)
        dash = "--" if "approximate" in name else "-"
        axes.loglog(n, [of["p50_ms"] for of in found], f"o{dash}", markersize=4, label=label, **style)
    axes.set_xlabel("vectors (384 dimensions)")
    axes.set_ylabel("milliseconds, median")
    axes.set_title("All matches of one vector with cosine ≥ 0.8, two cores", loc="left", fontsize=10)
    axes.legend(frameon=False, fontsize=8)
    return figure


def _written(figure, name: str) -> Path:
    file = RESULTS / f"{name}.svg"
    figure.savefig(file, metadata={"Date": None})
    plt.close(figure)
    return file
