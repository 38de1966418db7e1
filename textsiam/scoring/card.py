"""The model card (README.md of a saved folder, as the Hub reads it), and the upload to the Hugging Face Hub.

Left out: loading by a Hub name, which is `textsiam.encoding.model_folder.finding.find_model`.
"""

import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from textsiam.scoring.thresholds import Threshold

_CARD = """---
library_name: sentence-transformers
pipeline_tag: sentence-similarity
tags:
- sentence-similarity
- feature-extraction
- textsiam
---

# {name}

A sentence encoder: texts to embeddings of {dim} dimensions, at most {max_length} tokens. Load it with textsiam, which
also reads its calibration and thresholds from `textsiam.json`, or with sentence-transformers.

```python
from textsiam import Siamese

model = Siamese.load("{name}")
model.decide(["How do I pay?"], ["How can I pay?"])
```

## Threshold and evidence

- calibrated: {calibrated}
- accept at or above: {accept}
- reject below: {reject}{evidence}

A threshold holds for pairs like those it was chosen on. Other data has other odds: certify it there.
{training}"""

_TRAINING = """
## Training

Started from {start}; {steps:,} updates in {seconds:,.0f} s.

| data | rows | holds | loss |
|---|---|---|---|
{data}

{split}
{metrics}
Loss: {curve}

Hyper-parameters: {hyperparameters}

Environment: {environment}
"""

_METRICS = """
| validation | metric | rows | before | after | difference |
|---|---|---|---|---|---|
{rows}

(95 % intervals, by bootstrap over components.)
"""

_BARS = "▁▂▃▄▅▆▇█"


def model_card(
    name: str,
    dim: int,
    max_length: int,
    accept: Threshold | None,
    reject: Threshold | None,
    training: Mapping[str, Any] | None = None,
    *,
    is_calibrated: bool = False,
) -> str:
    """The text of the model card.

    Parameters
    ----------
    name
        The name or folder for `Siamese.load`.
    dim, max_length
        Dimensions of an embedding, and most tokens of a text.
    accept, reject
        The thresholds, or None.
    training
        The record of `textsiam.train`, or None.
    is_calibrated
        Whether scores have probabilities.

    Examples
    --------
    >>> "accept at or above: never certified" in model_card("mine", 384, 256, None, None)
    True
    """
    return _CARD.format(
        name=name,
        dim=dim,
        max_length=max_length,
        calibrated="yes, scores have probabilities" if is_calibrated else "no, scores have no probabilities yet",
        accept=accept or "never certified",
        reject=reject or "never certified",
        evidence=_evidence(accept) if accept else "",
        training=_training(training) if training else "",
    )


def _evidence(accept: Threshold) -> str:
    """How the accept threshold was certified; empty if nothing was recorded."""
    evidence = accept.evidence
    if "n_components" not in evidence:
        return ""
    labels = f"{evidence['n_labels']:,} labels in {evidence['n_components']:,} components"
    found = ""
    if accept.value is not None and evidence["found"][1] is not None and evidence["recall"][1] is not None:
        found = f"found {_interval(*evidence['found'])}, recall {_interval(*evidence['recall'])}, "
    return f"\n- evidence: {found}{evidence['review']:.1%} left for review; {labels}, {evidence['estimand']}"


def _training(record: Mapping[str, Any]) -> str:
    split = record["split"]
    held_out = "a leak-free part of the data" if split["carved"] else "the data given for it"
    validated = (
        f"validated on {split['validation_rows']:,} ({held_out})" if split["validation_rows"] else "not validated"
    )
    return _TRAINING.format(
        start=record["start"],
        steps=record["steps"],
        seconds=record["seconds"],
        data=_rows([name, f"{of['rows']:,}", of["holds"], f"`{of['loss']}`"] for name, of in record["data"].items()),
        split=f"Trained on {split['train_rows']:,} rows, {validated}; "
        f"{split['rows_left_out']:,} rows left out because they would have leaked; "
        f"{split.get('rows_set_aside', 0):,} were unusable.",
        metrics=_METRICS.format(rows=_rows(map(_measured, record["metrics"], record["metrics"].values())))
        if record["metrics"]
        else "",
        curve=_sparkline(record["curve"]),
        hyperparameters=", ".join(f"{name} {value}" for name, value in record["hyperparameters"].items()),
        environment=", ".join(f"{name} {value}" for name, value in record["environment"].items()),
    )


def _measured(name: str, of: Mapping[str, Any]) -> list[str]:
    return [
        name, of["metric"], f"{of['rows']:,}", *(_interval(*of[key]) for key in ("before", "after", "difference")),
    ]  # fmt: skip


def _rows(rows: Iterable[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(_cell(text) for text in row)} |" for row in rows)


def _cell(text: str) -> str:
    """The text in one cell of a table: in one line, with escaped bars."""
    return " ".join(text.split()).replace("|", "\\|")


def _interval(value: float, low: float | None, high: float | None) -> str:
    return f"{value:.4f} [{low:.4f}, {high:.4f}]" if low is not None and high is not None else f"{value:.4f}"


def _sparkline(curve: Sequence[Sequence[float]]) -> str:
    """The losses as bars between the lowest and the highest, with the first and the last in numbers.

    Examples
    --------
    >>> _sparkline([(1, 0.9), (2, 0.5), (3, 0.1)])
    '0.9000 (step 1) █▄▁ 0.1000 (step 3)'
    """
    if not curve:
        return "not recorded"
    losses = [loss for _, loss in curve]
    low, high = min(losses), max(losses)
    bars = "".join(_BARS[int((loss - low) / (high - low) * (len(_BARS) - 1)) if high > low else 0] for loss in losses)
    return f"{losses[0]:.4f} (step {curve[0][0]:,}) {bars} {losses[-1]:.4f} (step {curve[-1][0]:,})"


def push(save: Callable[[Path], None], name: str, *, private: bool = False, token: str | None = None) -> str:
    """Upload the folder that `save` writes as the model ``owner/model``, and return its address.

    OSError if the Hub refuses or the network fails (huggingface_hub's errors are OSErrors).
    """
    from huggingface_hub import HfApi

    api = HfApi(token=token)
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / name.rpartition("/")[2]
        save(target)
        address = api.create_repo(name, private=private, exist_ok=True)
        api.upload_folder(repo_id=address.repo_id, folder_path=target, commit_message="Model saved by textsiam")
    return str(address)
