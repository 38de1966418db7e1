"""``textsiam calibrate``: learns probabilities of a model's scores from labelled pairs."""

from typing import TYPE_CHECKING, Annotated, Any

from typer import Option

from textsiam.interfaces.shell import options
from textsiam.interfaces.shell.labelled_pairs import read_scored
from textsiam.interfaces.shell.options import LabelledOptions, ModelOptions, RowOptions, check_outputs, spread
from textsiam.interfaces.shell.terminal import answer_json, answering, model_told, print_table, say

if TYPE_CHECKING:
    from textsiam.scoring.calibration import Calibrator


@spread
def calibrate(
    pairs: options.LabelledPairs,
    *,
    output: options.ModelOutput = None,
    method: Annotated[
        str, Option(help="isotonic, sigmoid, temperature, or auto: the best of them on held-out components.")
    ] = "auto",
    columns: LabelledOptions,
    seed: options.Seed = 0,
    rows: RowOptions,
    model: ModelOptions,
    as_json: options.AsJson = False,
) -> None:
    """Learn the probabilities of a model's scores, from labelled pairs that the model was not trained on.

    `textsiam calibrate parts/calibration.csv --model my-model -o my-model` fits isotonic regression, a sigmoid and a temperature,
    keeps the best on held-out components of pairs, and shows how exact its probabilities are.

    Without -o it writes nothing, and only shows the evidence.
    """
    from textsiam.scoring.evidence.calibration_fit import check_method

    with answering():
        check_method(method, seed)
        check_outputs(rows.set_aside, inputs=[pairs], as_json=as_json, model=output)
        siamese = model.load()
        scored = read_scored(siamese, pairs, rows.reading(columns), rows.set_aside)
        calibrated = siamese.calibrate(scored, method=method, seed=seed)
        if output:
            calibrated.save(output)
        calibrator = calibrated.calibrator
        assert calibrator is not None  # noqa: S101  it was just fitted
        if as_json:
            told: dict[str, Any] = {"calibrator": calibrator.to_json(), "output": output and str(output)}
            answer_json(model_told(siamese) | told)
            return
        _show(calibrator)
        say(f"→ {output}" if output else "nothing was written: name a folder for the model with -o")


def _show(calibrator: "Calibrator") -> None:
    held_out = calibrator.evidence["held_out"]
    rows = []
    for one in held_out["reliability"]:
        value, low, high = one["share"]
        interval = "" if low is None else f" [{low:.3f}, {high:.3f}]"
        rows.append((f"{one['probability']:.3f}", f"{value:.3f}{interval}", f"{one['n']:,}"))
    print_table(("probability", "share", "pairs"), rows, title="On held-out components")
    value, low, high = held_out["calibration_error"]
    bounds = "too few components to bound it" if high is None else f"between {low:.3f} and {high:.3f}, approximately"
    say(f"calibration error, the average distance of a probability from the truth: {value:.3f}, {bounds}")
    briers = ", ".join(f"{name} {of[0]:.4f}" for name, of in held_out["brier"].items())
    say(f"method {calibrator.evidence['method']} (Brier score on held-out components: {briers})")
    say(
        f"from {calibrator.evidence['n_labels']:,} labels in {calibrator.evidence['n_components']:,} components, "
        f"{calibrator.evidence['positive_share']:.0%} of them duplicates: data with another share needs another calibration"
    )
