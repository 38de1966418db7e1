"""The match table, decided: one task per part reads its pairs, as one machine does, and drops what the model rejects."""

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any, NamedTuple

import numpy as np

from textsiam.distributing.blocks import COLUMNS
from textsiam.distributing.encoders import EncodedTexts, Recipe, encoder_of
from textsiam.distributing.match_table import Part
from textsiam.distributing.workspace import Workspace, key_of
from textsiam.matching.deciding import decided
from textsiam.matching.join.tiles import joined
from textsiam.matching.matches import Matches
from textsiam.scoring.scorer import Scorer
from textsiam.scoring.thresholds import ACCEPT

JUDGED = ("score", "log_odds", "probability", "decision", "reason")


class Deciding(NamedTuple):
    """All of a model but its encoder, to be sent to workers, with how they load the encoder."""

    recipe: Recipe
    parts: dict[str, Any]
    key: str

    @classmethod
    def of(cls, model: Scorer, recipe: Recipe) -> "Deciding":
        """That of this model."""
        parts = {one.name: getattr(model, one.name) for one in fields(Scorer) if one.name != "encoder"}
        values = [of and of.value for of in (model.threshold, model.reject_threshold)]
        calibrator = model.calibrator and model.calibrator.to_json()
        return cls(
            recipe, parts, key_of(model.decision_fingerprint, values, calibrator, recipe.precision, recipe.prompt_text)
        )

    def model(self) -> Scorer:
        """The model, with this worker's encoder."""
        return Scorer(encoder_of(self.recipe), **self.parts)


class JudgedPart(NamedTuple):
    """A part of the match table with what the model says of each pair; and the pairs of it that are accepted."""

    told: Part
    accepted: Part


def judge_part(work: Workspace, deciding: Deciding, texts: EncodedTexts, part: Part) -> JudgedPart:
    """Write the pairs of a part that the model does not reject, ``left, right`` and `JUDGED`, and those that it accepts."""
    names = [f"judged/{key_of(part.name, deciding.key, kind)}.arrow" for kind in ("told", "accepted")]
    if not all(name in work for name in names):
        found = work.read(part.name)
        first, second = (texts.of(found[side], "text") for side in ("left", "right"))
        how: dict[str, Any] = dict(by_score=False, prompt=deciding.recipe.prompt)
        kept, judged = decided(deciding.model(), found["score"], first, second, **how)
        sides = {side: found[side][kept] for side in ("left", "right")}
        told = judged.by_name()
        work.write(names[0], sides | {name: _plain(told[name], len(kept)) for name in JUDGED})
        accepted = np.flatnonzero(judged.decision == ACCEPT)
        columns = (sides["left"], sides["right"], judged.score)
        work.write(names[1], dict(zip(COLUMNS, (column[accepted] for column in columns), strict=True)))
    n = [len(work.read(name, "left")["left"]) for name in names]
    return JudgedPart(*(replace(part, name=name, n=of) for name, of in zip(names, n, strict=True)))


def matches_of(work: Workspace, part: Part, n_rows: int) -> Matches:
    """The pairs of a judged part; rows count all texts."""
    columns: dict[str, Any] = {
        name: np.array(values, dtype=object) if isinstance(values, list) else values
        for name, values in work.read(part.name).items()
    }
    for name in ("log_odds", "probability"):
        if np.isnan(columns[name]).all():
            columns[name] = None
    return Matches(**columns, n_left=n_rows, by_score=False)


def closest_of(work: Workspace, parts: Sequence[Part], texts: EncodedTexts, top: int) -> Matches:
    """The `top` closest pairs of all judged parts, whose rows count only the texts in these pairs."""
    best = [found.top(top) for part in parts if len(found := matches_of(work, part, 0))]
    names = [name for name in ("left", "right", *JUDGED) if best and getattr(best[0], name) is not None]
    columns: Any = {name: np.concatenate([getattr(of, name) for of in best]) for name in names}
    if not best:
        return Matches(*joined([]), 0, left_ids=[], left_texts=[], by_score=False)
    found = Matches(**columns, n_left=0, by_score=False).top(top)
    held, places = np.unique(np.stack([found.left, found.right]), return_inverse=True)
    left, right = places.reshape(2, -1)
    told = {"left_ids": texts.of(held), "left_texts": texts.of(held, "text"), "n_left": len(held)}
    return replace(found, left=left, right=right, **told)  # type: ignore[arg-type]


def _plain(column: np.ndarray | None, n: int) -> Any:
    if column is None:
        return np.full(n, np.nan, dtype=np.float32)
    return column.tolist() if column.dtype == object or column.dtype.kind == "U" else column
