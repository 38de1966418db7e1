"""An evaluation as one HTML page that opens offline, loads nothing, runs no script and escapes every text."""

import platform
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from textsiam.errors import MissingExtra
from textsiam.evaluation.figures import INSTALL, draw
from textsiam.evaluation.measures import MEASURES
from textsiam.evaluation.slices import SLICES
from textsiam.scoring.evidence.intervals import NOTHING, Interval

if TYPE_CHECKING:
    from textsiam.evaluation.evaluation import Evaluation

PAGE = Path(__file__).with_name("report.html")
N_SUSPECTS = 60  # shown; the page also gives their total number
HEADLINES = ("average_precision", "precision", "recall", "calibration_error", "spearman", "pearson")
SHARES = ("accept", "review", "reject")
PACKAGES = ("textsiam", "numpy", "torch", "transformers", "tokenizers", "matplotlib")


class Row(NamedTuple):
    """A figure as the page shows it: in words, and as a bar in percent of the range from 0 to 1 (None if it is outside)."""

    group: str
    title: str
    meaning: str
    value: str
    bounds: str
    bar: tuple[float, float, float] | None
    base: str
    difference: str
    verdict: str


def render(evaluation: "Evaluation") -> str:
    """The page. It has no date: the same evaluation gives the same page, byte for byte.

    Raises
    ------
    MissingExtra
        As `check_installed` does.

    Examples
    --------
    >>> from textsiam import Siamese
    >>> from textsiam.evaluation.evaluation import evaluate
    >>> from textsiam.samples import PAIRS
    >>> page = render(evaluate(Siamese.load(), PAIRS, n_draws=20, n_worst=1))
    >>> page.startswith("<!doctype html>"), "<script" in page
    (True, False)
    """
    check_installed()
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    page = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = page.from_string(PAGE.read_text(encoding="utf-8"))
    drawings = [drawing._replace(svg=Markup(drawing.svg)) for drawing in draw(evaluation)]  # noqa: S704  ours, escaped
    return template.render(
        evaluation=evaluation,
        on=evaluation.measured_on,
        groups=[list(rows) for _, rows in groupby(_rows(evaluation), key=lambda row: row.group)],
        headlines=[row for name, row in zip(evaluation.metrics, _rows(evaluation), strict=True) if name in HEADLINES],
        shares=list(_shares(evaluation)),
        drawings=drawings,
        slices=list(_slices(evaluation)),
        slice_titles=[MEASURES[name].title for name in _slice_metrics(evaluation)],
        worst=list(_worst(evaluation, Markup)),
        suspects=evaluation.suspects[:N_SUSPECTS],
        versions=versions(),
    )


def check_installed() -> None:
    """Raise if a report cannot be made here.

    Raises
    ------
    MissingExtra
        If jinja2 or matplotlib is not installed; the message gives the install line.
    """
    if not all(map(find_spec, ("jinja2", "matplotlib"))):
        raise MissingExtra(INSTALL)


def versions() -> dict[str, str]:
    """The versions of Python, of textsiam, and of the packages that matter, if they are installed."""
    found = {"Python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _rows(evaluation: "Evaluation") -> Iterator[Row]:
    base = {} if evaluation.baseline is None else evaluation.baseline.metrics
    for name, figure in evaluation.metrics.items():
        measure, difference = MEASURES[name], evaluation.differences.get(name)
        yield Row(
            measure.group,
            measure.title,
            measure.meaning,
            _number(figure.value),
            _bounds(figure),
            _bar(figure),
            _number(base[name].value) if name in base else "",
            "" if difference is None else f"{_number(difference.value, '+')} {_bounds(difference, '+')}",
            _verdict(difference, measure.better),
        )


def _shares(evaluation: "Evaluation") -> Iterator[tuple[str, float, str]]:
    """The three decisions, each with its share in percent and its rule."""
    accept, reject = evaluation.model.cuts
    rules = {
        "accept": "no threshold to accept at" if accept is None else f"score at or above {accept:.4f}",
        "reject": "no threshold to reject below" if reject is None else f"score below {reject:.4f}",
        "review": "everything else",
    }
    for name in SHARES:
        if (figure := evaluation.metrics.get(f"share_{name}")) is not None:
            yield name, 100 * figure.value, rules[name]


def _slice_metrics(evaluation: "Evaluation") -> list[str]:
    return list(dict.fromkeys(name for one in evaluation.slices for name in one.metrics))


def _slices(evaluation: "Evaluation") -> Iterator[dict[str, Any]]:
    names = _slice_metrics(evaluation)
    whole = evaluation.model.scored
    n_positive = None if whole.pairs.labels is None else int(whole.labels.sum())
    figures: Mapping[str, Interval] = {name: evaluation.metrics.get(name, NOTHING) for name in names}
    parts = [("all pairs", "for comparison", len(whole), n_positive, figures)]
    parts += [(one.name, SLICES[one.name].meaning, one.n, one.n_positive, one.metrics) for one in evaluation.slices]
    for name, meaning, n, positives, metrics in parts:
        cells = [metrics.get(metric, NOTHING) for metric in names]
        shown = [(_number(cell.value), _bounds(cell), _bar(cell)) for cell in cells]
        yield {"name": name, "meaning": meaning, "n": n, "positives": positives, "cells": shown}


def _worst(evaluation: "Evaluation", markup: Any) -> Iterator[dict[str, Any]]:
    graded = evaluation.model.scored.pairs.labels is None
    for title, is_close in (("Score too high", True), ("Score too low", False)):
        if pairs := [pair for pair in evaluation.worst if pair.is_close is is_close]:
            shown = [
                {
                    "row": pair.row,
                    "truth": f"grade {pair.truth:g}" if graded else f"label {pair.truth:.0f}",
                    "html": markup(pair.explanation.html()),
                }
                for pair in pairs
            ]
            yield {"title": title, "pairs": shown}


def _number(value: float, sign: str = "") -> str:
    return f"{value:{sign}.3f}" if np.isfinite(value) else "not defined"


def _bounds(figure: Interval, sign: str = "") -> str:
    if not np.isfinite(figure.value):
        return ""
    return f"[{figure.low:{sign}.3f}, {figure.high:{sign}.3f}]" if np.isfinite(figure.low) else "no bounds"


def _bar(figure: Interval) -> tuple[float, float, float] | None:
    """Value, low and high in percent of the range from 0 to 1."""
    if not np.isfinite(figure.low) or not 0 <= figure.low <= figure.high <= 1:
        return None
    value, low, high = (round(100 * one, 1) for one in figure)
    return value, low, high


def _verdict(difference: Interval | None, better: int) -> str:
    """``better`` or ``worse`` if the interval leaves no doubt, else ``unsure``; empty if neither is defined."""
    if difference is None or not better or not np.isfinite(difference.low):
        return ""
    low, high = sorted((better * difference.low, better * difference.high))
    return "better" if low > 0 else "worse" if high < 0 else "unsure"
