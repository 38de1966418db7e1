"""``textsiam judge``: fits the judge that decides by reading both texts."""

from typing import Annotated, Any

from typer import Option

from textsiam.interfaces.shell import options
from textsiam.interfaces.shell.labelled_pairs import read_with
from textsiam.interfaces.shell.options import LabelledOptions, ModelOptions, RowOptions, check_outputs, spread
from textsiam.interfaces.shell.terminal import answer_json, answering, following, model_told, say


@spread
def fit(
    pairs: options.LabelledPairs,
    *,
    output: options.ModelOutput = None,
    family: Annotated[
        str,
        Option(
            help="adapted: the model's own judge, moved as far as the labels support it. tuned: its network fitted further "
            "too. auto: tuned from 2,000 pairs on. linear: without a network. network: a new one."
        ),
    ] = "auto",
    columns: LabelledOptions,
    seed: options.Seed = 0,
    rows: RowOptions,
    model: ModelOptions,
    as_json: options.AsJson = False,
) -> None:
    """Fit a model's judge to labelled pairs that the model was not trained on.

    `textsiam judge fit parts/train.csv --model my-model -o my-model` starts from the judge that the model has. With few labels it
    stays near that one; how far it moves is decided on held-out components of the pairs.
    From 2,000 pairs on its network is fitted further.

    Then calibrate and certify the model on other pairs: those that a judge was fitted to are set aside there.
    """
    from textsiam.data.readers import read_pairs
    from textsiam.training.judges.own_judge import fit_judge

    with answering():
        check_outputs(rows.set_aside, inputs=[pairs], as_json=as_json, model=output)
        siamese = model.load()
        read = read_with(read_pairs, pairs, rows.reading(columns), rows.set_aside)
        with following("judge") as progress:
            fitted = fit_judge(siamese, read, family=family, seed=seed, progress=progress)
        judge = fitted.judge
        assert judge is not None  # noqa: S101  it was just fitted
        if output:
            fitted.save(output)
        if as_json:
            told: dict[str, Any] = {
                "judge": judge.card,
                "candidates": judge.candidates,
                "output": output and str(output),
            }
            answer_json(model_told(fitted) | told)
            return
        _show(judge.card)
        say(f"a search reads pairs of a cosine from {judge.candidates:g} up")
        say("not calibrated, no thresholds: calibrate and certify it on other pairs")
        say(f"→ {output}" if output else "nothing was written: name a folder for the model with -o")


def _show(card: dict[str, Any]) -> None:
    last = card["adapted"]
    if card.get("tuned", {}).get("pairs") == last["pairs"]:
        say(f"fitted its network further, for {card['tuned']['epochs']} epochs")
    losses = last["log_loss"]
    strength = str(last["strength"])
    moved = (
        "stays what it was, but for the share of duplicates" if strength == "all" else f"moved, shrunk by {strength}"
    )
    say(f"{last['pairs']:,} pairs, {last['positive']:.0%} of them duplicates: the judge {moved}")
    if losses:
        say(f"log loss on held-out components: {losses['all']:.4f} unmoved, {losses[strength]:.4f} as fitted")
