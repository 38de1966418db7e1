"""``textsiam certify``: chooses thresholds with a guarantee from labelled pairs, or finds that none exists."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Option

from textsiam.interfaces.shell import options
from textsiam.interfaces.shell.labelled_pairs import read_scored
from textsiam.interfaces.shell.options import LabelledOptions, ModelOptions, RowOptions, check_outputs, spread
from textsiam.interfaces.shell.terminal import NO, answer_json, answering, model_told, print_table, say

if TYPE_CHECKING:
    from textsiam.scoring.evidence.choosing import Chosen


@dataclass(frozen=True, kw_only=True)
class PromiseOptions:
    """The promises that accepting and rejecting keep."""

    precision: Annotated[
        float | None, Option(help="Lowest share of duplicates among accepted pairs. Default: 0.95.")
    ] = None
    recall: Annotated[float | None, Option(help="Instead: lowest share of duplicates that are accepted.")] = None
    false_match_rate: Annotated[
        float | None, Option(help="Instead: highest share of other pairs that are accepted.")
    ] = None
    reject_precision: Annotated[
        float, Option(help="Lowest share of other pairs among rejected pairs; 0 rejects nothing.")
    ] = 0.95
    confidence: Annotated[float, Option(help="Probability that a threshold keeps its promise.")] = 0.95


@spread
def certify(
    pairs: options.LabelledPairs,
    *,
    output: options.ModelOutput = None,
    promise: PromiseOptions,
    columns: LabelledOptions,
    seed: Annotated[
        int,
        Option(
            help="Seed of the draw of one pair per component. Fix it beforehand: the best of several seeds proves nothing."
        ),
    ] = 0,
    rows: RowOptions,
    model: ModelOptions,
    as_json: options.AsJson = False,
) -> None:
    """Choose thresholds to accept and to reject at, with a guarantee, or find that none exists.

    `textsiam certify parts/calibration.csv --model my-model --precision 0.9 -o my-model` takes one random pair from each
    component of pairs that share a text, tests thresholds from strict to loose, and keeps the loosest proven one.

    Exit code 0: certified. 1: no threshold exists; with -o the model then sends every pair to review. 2: bad input.
    """
    from textsiam.scoring.evidence.choosing import LEVELS, at_levels, check_targets, choose

    with answering():
        asked: dict[str, Any] = vars(promise) | {"seed": seed}
        guarantee, level = check_targets(**asked)
        check_outputs(rows.set_aside, inputs=[pairs], as_json=as_json, model=output)
        siamese = model.load()
        scored = read_scored(siamese, pairs, rows.reading(columns), rows.set_aside)
        chosen = choose(scored, **asked)
        how: dict[str, Any] = {name: asked[name] for name in ("reject_precision", "confidence", "seed")}
        levels = at_levels(scored, sorted({*LEVELS, level}), **how) if guarantee == "precision" else []
        if output:
            siamese.with_thresholds(chosen.accept, chosen.reject).save(output)
        if as_json:
            told: dict[str, Any] = {"threshold": chosen.accept.to_json()}
            told |= {"reject_threshold": chosen.reject and chosen.reject.to_json()}
            told |= {"review": chosen.review, "by_precision": levels, "output": output and str(output)}
            answer_json(model_told(siamese) | told)
        else:
            _show(chosen, levels)
            say(f"→ {output}" if output else "nothing was written: name a folder for the model with -o")
        if chosen.accept.value is None:
            raise typer.Exit(NO)


def _show(chosen: "Chosen", levels: list[dict[str, Any]]) -> None:
    from textsiam.scoring.evidence.certificates import exact

    if levels:
        _show_levels(chosen, levels)
    evidence = chosen.accept.evidence
    say(
        f"{evidence['n_labels']:,} labels in {evidence['n_components']:,} components of pairs that share a text; the "
        "promise holds for one random pair per component"
    )
    say(f"accept: {chosen.accept_certificate}")
    if chosen.reject_certificate is not None:
        say(f"reject: {chosen.reject_certificate}")
    if chosen.accept.value is None:
        say(
            "review: everything, because nothing can be accepted"
            + ("" if chosen.reject is None else "; nothing is rejected")
        )
    else:
        reject = None if chosen.reject is None else chosen.reject.value
        below = "" if reject is None else f", reject below {exact(reject)}"
        say(f"accept at or above {exact(chosen.accept.value)}{below}, review {chosen.review:.1%} of pairs like these")


def _show_levels(chosen: "Chosen", levels: list[dict[str, Any]]) -> None:
    from textsiam.scoring.evidence.certificates import exact

    rows = []
    for row in levels:
        asked = "asked → " if row["precision"] == chosen.accept_certificate.level else ""
        cells = ["none exists", "", "", ""]
        if row["accept"] is not None:
            shares = ["{:.3f} [{:.3f}, {:.3f}]".format(*row[name]) for name in ("found", "recall")]
            cells = [exact(row["accept"]), *shares, "" if row["reject"] is None else exact(row["reject"])]
        rows.append((f"{asked}{row['precision']:g}", *cells, f"{row['review']:.1%}"))
    names = ("precision", "accept at", "found", "recall", "reject below", "review")
    print_table(names, rows, title="What each target would give")
    say("each target is certified by itself; choosing one from this table costs confidence: name it beforehand")
