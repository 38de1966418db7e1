"""``textsiam audit plan|start|label|status|finish``: label a sample of a join's pairs, and certify a threshold for that join."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Argument, Option

from textsiam.data.files import check_folder
from textsiam.interfaces.shell import options
from textsiam.interfaces.shell.options import (
    ComputeOptions,
    DialectOptions,
    ModelOptions,
    TextOptions,
    check_outputs,
    spread,
)
from textsiam.interfaces.shell.terminal import (
    NO,
    answer_json,
    answering,
    print_table,
    say,
    say_set_aside,
    while_reading,
    write_columns,
)

if TYPE_CHECKING:
    from textsiam.auditing.audit import Audit
    from textsiam.auditing.result import AuditResult

Folder = Annotated[Path, Argument(help="The audit's folder, as `audit start -o` wrote it.")]
Precision = Annotated[float, Option(help="Lowest share of right pairs at or above the threshold.")]
Confidence = Annotated[float, Option(help="Probability, over samples, that the threshold keeps its promise.")]
FOR_TRAINING = "for_training.csv"


def plan(
    precision: Precision = 0.95,
    confidence: Confidence = 0.95,
    expected: Annotated[
        float | None, Option(help="The precision that you expect. Default: halfway between --precision and 1.")
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Compute how many labels a certificate needs, before you label anything."""
    from textsiam.auditing.labelling import plan_labels

    with answering():
        made = plan_labels(precision, confidence, expected)
        if as_json:
            answer_json(made.to_json())
            return
        rows = [(f"{n:,}", f"{n_wrong:,}") for n, n_wrong in made.errors]
        print_table(("labels", "may be wrong"), rows, title="Errors allowed")
        if made.needed is None:
            say(f"if {made.expected:g} are right, no number of labels is enough: that is not above {made.precision:g}")
        else:
            say(f"if {made.expected:g} are right, {made.needed:,} labels certify it nine times in ten")
        say(
            "these are labels at or above one threshold: the sample of a whole join needs more, as some pairs lie below it"
        )


@dataclass(frozen=True, kw_only=True)
class SamplingOptions:
    """How many pairs to draw, and from which scores: arguments of `start_audit`."""

    n: Annotated[int, Option("-n", min=1, help="How many pairs to label; see `audit plan`.")] = 300
    n_strata: Annotated[int, Option("--strata", min=1, help="Number of ranges of scores (strata) to draw from.")] = 10
    allocation: Annotated[
        str, Option(help="Labels per stratum: equal, proportional (to its pairs), or root (to their square root).")
    ] = "root"
    n_informative: Annotated[
        int,
        Option(
            "--informative", min=0, help="How many more pairs to draw, those the model is least sure of, to train on."
        ),
    ] = 0


@spread
def start(
    matches: Annotated[str, Argument(help="The pairs file that `textsiam duplicates -o` wrote: csv, jsonl, parquet.")],
    *,
    output: Annotated[Path, Option("--output", "-o", help="New folder for the audit.")],
    texts: Annotated[
        str | None, Option(help="The file of texts. Not needed if the pairs file has columns text_a and text_b.")
    ] = None,
    against: Annotated[
        str | None, Option(help="The file that the texts were compared with (--against), if any.")
    ] = None,
    sampling: SamplingOptions,
    threshold: Annotated[float | None, Option(help="The join's threshold. Default: its lowest score.")] = None,
    seed: options.Seed = 0,
    columns: TextOptions,
    dialect: DialectOptions,
    model: options.Model = None,
    as_json: options.AsJson = False,
) -> None:
    """Draw a random sample of a join's pairs to label.

    `textsiam audit start pairs.csv --texts questions.csv -o audit` after
    `textsiam duplicates questions.csv -o pairs.csv --threshold 0.7`.
    """
    from textsiam.auditing.audit import start_audit
    from textsiam.auditing.pairs_file import read_matches

    with answering():
        _check_new(output)
        with while_reading(matches):
            found, aside = read_matches(matches, texts, against, vars(columns) | vars(dialect))
        say_set_aside(aside, None)
        siamese = ComputeOptions().load(model) if model else None
        started = start_audit(found, threshold=threshold, model=siamese, seed=seed, **vars(sampling))
        started.save(output)
        design = started.design
        told = {"matches": len(found), "drawn": len(design), "strata": design.n_strata, "folder": str(output)}
        told |= {"informative": len(started.pairs) - len(design), "threshold": started.join["threshold"], "seed": seed}
        if as_json:
            answer_json(told)
        if len(design) < sampling.n:
            say(f"the join found {len(found):,} pairs, fewer than {sampling.n:,}: label all of them")
        say(f"{len(design):,} of {len(found):,} pairs drawn from {design.n_strata} strata of scores, seed {seed}")
        say(f"→ {output}: label them with `textsiam audit label {output} --labeller NAME`")


def _check_new(folder: Path) -> None:
    if folder.exists():
        raise FileExistsError(f"{folder} exists. Name another folder for the audit, or remove it first.")
    check_folder(folder)
    if not folder.resolve().parent.is_dir():
        raise FileNotFoundError(f"The folder to hold the audit does not exist: {folder.resolve().parent}. Create it.")


def label(
    folder: Folder,
    labeller: Annotated[str, Option(help="Name of the labeller; every labeller has a column.")] = "me",
    training: Annotated[bool, Option("--training", help="Label only the informative pairs, to train on.")] = False,
    show_score: Annotated[bool, Option("--show-score", help="Show scores, which may influence the labeller.")] = False,
    source: Annotated[
        str | None, Option("--from", help="Read labels from this file, by pair number, instead of asking.")
    ] = None,
    target: Annotated[
        Path | None, Option("--to", help="Write the pairs to this .csv, to label them in a spreadsheet.")
    ] = None,
    set_aside: options.SetAsideFile = None,
) -> None:
    """Label pairs at the terminal, or through a file.

    One key per answer: y(es), n(o), s(kip), u(ndo), q(uit). Every answer is saved at once; run the same command to go on later.

    In a spreadsheet: `audit label FOLDER --to pairs.csv`, fill in the column `label_NAME` with 1, 0 or skip, then
    `audit label FOLDER --from pairs.csv`.
    """
    from textsiam.auditing.audit import Audit
    from textsiam.auditing.labelling import check_labeller
    from textsiam.interfaces.shell.audit_labels import label_at_terminal

    with answering("Every label given so far is kept."):
        if source and target:
            raise typer.BadParameter("Labels are read --from a file or written --to one. Give one of the two.")
        check_labeller(labeller)
        opened = Audit.open(folder)
        if target:
            _write_for_spreadsheet(opened, target, labeller, training=training, show_score=show_score)
        elif source:
            _take_labels(opened, folder, source, labeller, set_aside)
        else:
            label_at_terminal(folder, labeller, training=training, show_score=show_score)


def _write_for_spreadsheet(opened: "Audit", target: Path, labeller: str, *, training: bool, show_score: bool) -> None:
    from textsiam.auditing.audit_folder import export_pairs

    check_outputs(target)
    n = export_pairs(opened, target, labeller, training=training, with_score=show_score)
    say(f"{n:,} pairs → {target}: fill in its last column, then give it with --from")


def _take_labels(opened: "Audit", folder: Path, source: str, labeller: str, set_aside: Path | None) -> None:
    from textsiam.auditing.audit_folder import read_labels
    from textsiam.auditing.labelling import NOT_GIVEN

    labels, aside = read_labels(opened, source, labeller)
    say_set_aside(aside, set_aside)
    before = opened.labels.get(labeller)
    known = {} if before is None else {number: int(before[number - 1]) for number in labels}
    changed = [number for number, own in known.items() if own not in {NOT_GIVEN, labels[number]}]
    opened.label(labels, labeller).save(folder)
    say(f"{len(labels):,} labels by {labeller} taken from {source}")
    if changed:
        say(f"{len(changed):,} of them replace another label by {labeller}: pairs {', '.join(map(str, changed[:10]))}")


def status(folder: Folder, as_json: options.AsJson = False) -> None:
    """Show the progress of an audit: labels per labeller, undecided pairs, agreement of labellers."""
    from textsiam.auditing.audit import Audit

    with answering():
        told = Audit.open(folder).status()
        if as_json:
            answer_json(told)
            return
        for name, of in told["labellers"].items():
            n = told["informative"]
            trained = f", {of['training']:,} of {n:,} to train on" if n else ""
            say(f"{name}: {of['audit']:,} of {told['drawn']:,} drawn pairs{trained}")
        say(
            f"{told['decided']:,} decided, {told['unresolved']:,} unresolved, {told['not_labelled']:,} not labelled by anyone"
        )
        for line in told["agreement"]:
            say("{first} and {second}: {n:,} pairs, agreement {agreement}, kappa {kappa}".format(**line))


@spread
def finish(
    folder: Folder,
    *,
    precision: Precision = 0.95,
    confidence: Confidence = 0.95,
    output: options.ModelOutput = None,
    model: ModelOptions,
    as_json: options.AsJson = False,
) -> None:
    """Certify a threshold for the join of this audit, or find that none is proven.

    `textsiam audit finish audit --model my-model -o my-model` writes the model with this threshold, if the join was made
    with this model.

    Exit code 0: certified. 1: no threshold is proven; with -o the model then sends every pair to review. 2: bad input.
    """
    from textsiam.auditing.audit import Audit

    with answering():
        check_outputs(model=output)
        if model.model and not output:
            raise typer.BadParameter("--model names a model, but there is no folder to write it to. Add -o FOLDER.")
        opened = Audit.open(folder)
        result = opened.finish(precision, confidence)
        if output:
            opened.certify(model.load(), precision, confidence).save(output)
        written = _write_training(folder, result)
        if as_json:
            files = {"output": output and str(output), "training_file": written and str(written)}
            answer_json(result.to_json() | files)
        else:
            _show(result)
            say(f"→ {output}" if output else "no model was written: name one and a folder for it (--model, -o)")
        if written is not None and result.training is not None:
            say(f"{len(result.training):,} labelled pairs for `textsiam train` → {written}")
        if not result:
            raise typer.Exit(NO)


def _write_training(folder: Path, result: "AuditResult") -> Path | None:
    if (pairs := result.training) is None:
        return None
    target = folder / FOR_TRAINING
    write_columns(target, [{"sentence1": pairs.first, "sentence2": pairs.second, "label": pairs.labels}])
    return target


def _show(result: "AuditResult") -> None:
    rows = []
    for band in result.bands:
        counts = [f"{n:,}" for n in (band.n_matches, band.n_labels, band.n_wrong)]
        shares = (band.precision, band.precision_above, band.recall_above)
        told = ["" if of.value != of.value else "{:.3f} [{:.3f}, {:.3f}]".format(*of) for of in shares]
        rows.append((f"{band.low:.4f}", *counts, *told))
    names = ("score", "pairs", "labels", "wrong", "precision", "from here up", "recall of found")
    print_table(names, rows, title="By score")
    say(str(result))
