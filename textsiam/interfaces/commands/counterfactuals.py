"""``textsiam counterfactuals``: edits of texts that change or keep their meaning, as labelled pairs."""

from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from textsiam.interfaces.shell import options
from textsiam.interfaces.shell.labelled_pairs import read_with
from textsiam.interfaces.shell.options import RowOptions, TextOptions, check_outputs, spread
from textsiam.interfaces.shell.terminal import answer_json, answering, say, set_aside_told, write_columns

if TYPE_CHECKING:
    from textsiam.scoring.counterfactuals.counterfactual_pairs import Counterfactuals

_FEW_ENGLISH = 0.05  # below this share of the texts their language is said to have no rules


@spread
def counterfactuals(
    source: Annotated[str, Argument(help="Texts: csv, tsv, jsonl, parquet, txt, a data set; - is standard input.")],
    *,
    output: options.Output = None,
    columns: TextOptions,
    kind: Annotated[
        list[str] | None, Option(help="Only this kind of edit (repeatable): number, negation, typo, … Default: all.")
    ] = None,
    per_text: Annotated[int, Option(min=1, help="At most this many edits of each label from one text.")] = 1,
    seed: options.Seed = 0,
    rows: RowOptions,
    as_json: options.AsJson = False,
) -> None:
    """Edit your texts by rule: as many edits that change the meaning (label 0) as edits that keep it (label 1).

    `textsiam counterfactuals questions.csv -o edits.csv` writes the columns text_a, text_b, label, kind and changed, which every
    command reads as labelled pairs: `textsiam evaluate edits.csv` says what the model makes of a changed number.

    The rules are English. A text that allows only one of the two has no edits.
    """
    from textsiam.data.readers import read_texts
    from textsiam.scoring.counterfactuals.counterfactual_pairs import counterfactuals as edit

    with answering():
        check_outputs(output, rows.set_aside, inputs=[source], as_json=as_json)
        texts = read_with(read_texts, source, rows.reading(columns), rows.set_aside)
        made = edit(texts, kinds=kind or None, n_per_text=per_text, seed=seed)
        _show(made)
        if output:
            write_columns(output, [made.columns()])
        if as_json:
            told: dict[str, Any] = {"pairs": len(made), "texts": made.n_texts, "english": made.n_english, "seed": seed}
            told |= {"counts": made.counts(), "absent": made.absent(), "set_aside": set_aside_told(texts.set_aside)}
            answer_json(told | {"output": output and str(output)})
        say(f"→ {output}" if output else "nothing was written: name a file with -o")


def _show(made: "Counterfactuals") -> None:
    """Counts by kind, the kinds without an edit, and whether the texts are English."""
    say(f"{len(made):,} pairs from {made.n_texts:,} texts, half of them with another meaning")
    for kind, count in made.counts().items():
        say(f"  {kind}: {count:,}")
    if absent := made.absent():
        say(f"found nothing: {', '.join(absent)}")
    if made.n_english < _FEW_ENGLISH * made.n_texts:
        say(
            f"English alone has rules: {made.n_english:,} of {made.n_texts:,} texts have English function words, "
            "so all kinds are absent for the others"
        )
