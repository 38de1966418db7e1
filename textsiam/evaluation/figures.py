"""The figures of a report as SVG: without outside addresses, in the page's own fonts and colours.

Matplotlib draws with placeholder colours, which become ``var(--…)`` in the SVG: one drawing then serves the light and the dark
page. Clip paths, metadata and the document's head are removed, so nothing in a figure refers to another address. A legend in
words beside the figure explains the colours; it wraps on a small screen, and screen readers read it.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html import escape
from io import StringIO
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from textsiam.errors import MissingExtra
from textsiam.evaluation.measures import Measured
from textsiam.scoring.evidence.intervals import Interval

if TYPE_CHECKING:
    from textsiam.evaluation.evaluation import Evaluation

INSTALL = "A report needs jinja2 and matplotlib. Install them: pip install 'textsiam[report]'."
SIZE = (4.2, 3.3)  # inches of 72 units: small, so that letters stay legible on a phone
N_POINTS, N_BINS = 400, 40

# The page's variable → the placeholder that stands for it in matplotlib.
COLOURS = {
    name: f"#{place:02x}fe{place:02x}"
    for place, name in enumerate(("ink", "muted", "line", "same", "other", "model", "base", "accept", "reject"), 1)
}
STYLE: dict[str, Any] = {
    "svg.fonttype": "none", "svg.hashsalt": "textsiam", "font.size": 9.5, "axes.titlesize": 10, "axes.labelsize": 9.5,
    "xtick.labelsize": 9, "ytick.labelsize": 9, "axes.spines.top": False, "axes.spines.right": False,
    "axes.edgecolor": COLOURS["line"], "axes.labelcolor": COLOURS["muted"], "text.color": COLOURS["ink"],
    "xtick.color": COLOURS["line"], "ytick.color": COLOURS["line"], "xtick.labelcolor": COLOURS["muted"],
    "ytick.labelcolor": COLOURS["muted"], "axes.grid": True, "axes.axisbelow": True, "grid.color": COLOURS["line"],
    "grid.linewidth": 0.6, "lines.linewidth": 1.6, "axes.facecolor": "none", "figure.facecolor": "none",
    "axes.unicode_minus": True,
}  # fmt: skip


class Key(NamedTuple):
    """One entry of a legend: its shape (line, dashes, dots, dot, bar, band), the variable of its colour, and its meaning."""

    shape: str
    colour: str
    meaning: str


class Drawing(NamedTuple):
    """A figure for a page: its title, a caption of one sentence, its legend, and the SVG, which `draw` adds."""

    title: str
    caption: str
    keys: tuple[Key, ...]
    svg: str = ""


def draw(evaluation: "Evaluation") -> list[Drawing]:
    """Every figure in `FIGURES` that these pairs and this model allow; the same evaluation gives the same SVG, byte for byte.

    Raises
    ------
    MissingExtra
        If matplotlib is not installed; the message gives the install line.

    Examples
    --------
    >>> from textsiam import Siamese
    >>> from textsiam.evaluation.evaluation import evaluate
    >>> from textsiam.samples import PAIRS
    >>> drawings = draw(evaluate(Siamese.load(), PAIRS, n_draws=20, n_worst=0))
    >>> [drawing.title for drawing in drawings]
    ['Precision and recall', 'Scores', 'Reliability']
    """
    drawings = []
    for name, figure in FIGURES.items():
        with _axes() as (canvas, axes):
            drawn = figure(evaluation, axes)
            if drawn is None:
                continue
            written = StringIO()
            canvas.savefig(written, format="svg")
        drawings.append(drawn._replace(svg=_for_page(written.getvalue(), name, drawn.caption)))
    return drawings


def draw_precision_recall(evaluation: "Evaluation", axes: Any) -> Drawing | None:
    """Precision against recall at every cut, with each model's own accept threshold and its intervals."""
    if evaluation.model.refitted == {}:
        return None
    keys = [Key("line", "model", evaluation.model.name)]
    caption = f"Average precision {evaluation['average_precision'].value:.3f}"
    if evaluation.baseline is not None:
        _curve(axes, evaluation.baseline, "base", "--")
        _own_cut(axes, evaluation.baseline, "base", filled=False)
        keys.append(Key("dashes", "base", f"{evaluation.baseline.name} (baseline)"))
    _curve(axes, evaluation.model, "model", "-")
    if _own_cut(axes, evaluation.model, "model", filled=True):
        caption += (
            f"; at its threshold precision {evaluation['precision'].value:.3f}, recall {evaluation['recall'].value:.3f}"
        )
        keys.append(Key("dot", "model", f"its accept threshold {evaluation.model.cuts[0]:.4f}, with 95 % intervals"))
    share = float(evaluation.model.scored.labels.mean())
    axes.axhline(share, color=COLOURS["muted"], linewidth=0.9, linestyle=":")
    keys.append(Key("dots", "muted", f"accepting all: {share:.2f}"))
    axes.set(xlim=(0, 1.01), ylim=(0, 1.02), xlabel="recall", ylabel="precision")
    return Drawing("Precision and recall", f"{caption}.", tuple(keys))


def draw_scores(evaluation: "Evaluation", axes: Any) -> Drawing | None:
    """The distribution of scores for each label, over the bands of the three decisions."""
    model = evaluation.model
    if model.scored.pairs.labels is None:
        return None
    scores, labels = model.scored.scores.astype(np.float64), model.scored.labels
    n_bins = int(np.clip(np.sqrt(len(scores)), 8, N_BINS))
    edges = np.linspace(scores.min(), max(scores.max(), scores.min() + 1e-3), n_bins + 1)
    keys = _bands(axes, model, edges[0], edges[-1])
    for label, colour, filled in ((0, "other", False), (1, "same", True)):
        if (own := scores[labels == label]).size:
            heights = np.histogram(own, edges)[0] / own.size
            axes.stairs(heights, edges, color=COLOURS[colour], fill=filled, alpha=0.55 if filled else 1, linewidth=1.6)
            keys.insert(
                0, Key("bar" if filled else "line", colour, "labelled the same" if label else "labelled different")
            )
    axes.set(xlim=(edges[0], edges[-1]), xlabel=f"{model.scored.similarity} score", ylabel="share of the label's pairs")
    axes.set_ylim(bottom=0)
    medians = [f"{np.median(scores[labels == label]):.3f}" for label in (1, 0) if (labels == label).any()]
    caption = f"Median score {' of the same, and '.join(medians)}{' of different pairs' if len(medians) > 1 else ''}."
    return Drawing("Scores", caption, tuple(keys))


def draw_reliability(evaluation: "Evaluation", axes: Any) -> Drawing | None:
    """The share of duplicates among the pairs of one bin of probabilities, with intervals, against the mean probability."""
    curve = evaluation.model.reliability
    if not curve:
        return None
    axes.plot([0, 1], [0, 1], color=COLOURS["muted"], linewidth=0.9, linestyle=":")
    stated = np.array([one.probability for one in curve])
    low, value, high = np.array([(one.share.low, one.share.value, one.share.high) for one in curve]).T
    errors = np.nan_to_num(np.array([value - low, high - value]).clip(0))
    axes.errorbar(
        stated, value, yerr=errors, color=COLOURS["model"], marker="o", markersize=4, linewidth=1.2, elinewidth=1.2
    )
    axes.set(xlim=(0, 1.01), ylim=(0, 1.02), xlabel="probability given by the model", ylabel="share labelled the same")
    keys = (
        Key("dot", "model", f"bins of about {int(np.median([one.n for one in curve])):,} pairs, with 95 % intervals"),
        Key("dots", "muted", "a perfect model"),
    )
    figure = evaluation.metrics.get("calibration_error", Interval(float("nan"), 0, 0))
    return Drawing("Reliability", f"Calibration error {figure.value:.3f}.", keys)


def draw_grades(evaluation: "Evaluation", axes: Any) -> Drawing | None:
    """Scores against grades: the median and the middle 80 % of scores, in bins of equally many pairs."""
    pairs = evaluation.model.scored.pairs
    if pairs.scores is None:
        return None
    grades, scores = np.asarray(pairs.scores), evaluation.model.scored.scores.astype(np.float64)
    order = np.argsort(grades, kind="stable")
    bins = [rows for rows in np.array_split(order, min(12, len(order))) if len(rows)]
    x = np.array([grades[rows].mean() for rows in bins])
    low, middle, high = np.array([np.quantile(scores[rows], [0.1, 0.5, 0.9]) for rows in bins]).T
    axes.fill_between(x, low, high, color=COLOURS["model"], alpha=0.18, linewidth=0)
    axes.plot(x, middle, color=COLOURS["model"], marker="o", markersize=4)
    axes.set(xlabel="grade", ylabel=f"{evaluation.model.scored.similarity} score")
    keys = (Key("dot", "model", "median score"), Key("band", "model", "the middle 80 % of scores"))
    return Drawing("Scores by grade", f"Spearman's correlation {evaluation['spearman'].value:.3f}.", keys)


# Name → a function that draws on axes and returns what it drew, or None if there is nothing to draw.
FIGURES: dict[str, Callable[["Evaluation", Any], Drawing | None]] = {
    "precision_recall": draw_precision_recall,
    "scores": draw_scores,
    "reliability": draw_reliability,
    "grades": draw_grades,
}


def _curve(axes: Any, model: Measured, colour: str, dashes: str) -> None:
    scores, labels = model.scored.scores, model.scored.labels
    order = np.argsort(-scores, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(order) - 1)
    right = np.cumsum(labels[order] == 1)[ends]
    few = np.unique(np.linspace(0, len(ends) - 1, N_POINTS).astype(np.int64))
    axes.plot((right / right[-1])[few], (right / (ends + 1))[few], dashes, color=COLOURS[colour])


def _own_cut(axes: Any, model: Measured, colour: str, *, filled: bool) -> bool:
    """Mark the model's accept threshold on the curve; False if it has no place there."""
    at = [model.metrics.get(name) for name in ("recall", "precision")]
    x, y = (one if one is not None and np.isfinite(one.value) else None for one in at)
    if x is None or y is None:
        return False
    errors = [np.nan_to_num(np.array([[one.value - one.low], [one.high - one.value]])).clip(0) for one in (x, y)]
    axes.errorbar(
        [x.value], [y.value], xerr=errors[0], yerr=errors[1], marker="o", markersize=6, color=COLOURS[colour],
        markerfacecolor=COLOURS[colour] if filled else "none", elinewidth=1.3, zorder=5,
    )  # fmt: skip
    return True


def _bands(axes: Any, model: Measured, low: float, high: float) -> list[Key]:
    """Draw the bands of accepting and rejecting behind a histogram of scores; none without a threshold."""
    accept, reject = model.cuts
    keys = []
    if accept is not None:
        keys.append(Key("band", "accept", f"accept at or above {accept:.4f}"))
        _band(axes, max(low, accept), high, "accept", at_left=bool(accept >= low))
    if reject is not None:
        keys.append(Key("band", "reject", f"reject below {reject:.4f}"))
        _band(axes, low, min(high, reject), "reject", at_left=False)
    return keys


def _band(axes: Any, start: float, end: float, colour: str, *, at_left: bool) -> None:
    """A band with a line at its threshold; nothing if it lies beyond all scores, because figures are not clipped."""
    if start < end:
        axes.axvspan(start, end, color=COLOURS[colour], alpha=0.18, linewidth=0)
        axes.axvline(start if at_left else end, color=COLOURS[colour], linewidth=1.2)


@contextmanager
def _axes() -> Iterator[tuple[Any, Any]]:
    """A figure and its axes in our own style; the user's settings are neither used nor changed."""
    try:
        from matplotlib import style
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtra(INSTALL) from None
    with style.context(["default", STYLE]):
        canvas = Figure(figsize=SIZE, layout="constrained")
        yield canvas, canvas.subplots()


def _for_page(svg: str, name: str, caption: str) -> str:
    """The SVG as part of a page: its root element alone, with ids of its own, variables for colours, and the page's fonts."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<clipPath.*?</clipPath>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' clip-path="[^"]*"', "", svg)
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r'href="#', f'href="#{name}-', svg)
    svg = re.sub(r"font: ([\d.]+)px [^;\"]+", r"font-size: \1px", svg)
    for variable, placeholder in COLOURS.items():
        svg = svg.replace(placeholder, f"var(--{variable})")
    root = re.search(r'viewBox="[^"]*"', svg)
    box = root.group(0) if root else ""
    xlinks = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    return re.sub(
        r"<svg[^>]*>", lambda _: f'<svg {xlinks} {box} role="img" aria-label="{escape(caption)}">', svg, count=1
    )
