"""The judge of a twin: fitted to what other twins say of pairs that they have not learnt.

Of the pairs that a twin learnt its scores are too good to fit a judge to. So two further twins learn half of the data each, and
each reads the labelled pairs of the other half (stacked generalization: Wolpert 1992, doi:10.1016/S0893-6080(05)80023-1). The
twin that is kept learns all. It starts where they start, and its vectors mean what theirs mean.
"""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from textsiam.data.pairs import Pairs
from textsiam.data.splitting import carve
from textsiam.errors import UnreadableInput
from textsiam.scoring.judging.judge import Judge
from textsiam.scoring.judging.pair_blocks import Words
from textsiam.scoring.siamese import Siamese
from textsiam.training.examples import Source
from textsiam.training.judges.judge_adapting import check_labels
from textsiam.training.judges.judge_pairs import COLUMNS, JudgePairs, rarity_of
from textsiam.training.judges.own_judge import FAMILY, check_similarity

logger = logging.getLogger("textsiam")


class Half(NamedTuple):
    """What one twin learns, and the labelled pairs of the other half, which it reads."""

    learned: list[Source]
    read: Pairs


def halves_of(start: Siamese, sources: Sequence[Source], seed: int, link_score: float | None) -> list[Half]:
    """The data sets divided in two: no component is in both halves.

    Raises
    ------
    UnreadableInput
        If no data set has labels, there are too few of one kind, or one component is too large to divide them.
    UnsupportedModel
        If the encoder's backend gives no vectors of tokens.
    ValueError
        If the model compares by another similarity than cosine.
    """
    check_similarity(start)
    start.encoder.tokens([])  # before the slow work
    if not any(map(_has_labels, sources)):
        raise UnreadableInput(
            "A judge is fitted to labels of 0 and 1, but no data set has them. Train without a judge."
        )
    parts = carve([source.examples for source in sources], 0.5, seed=seed, link_score=link_score)
    sides = [
        [source._replace(examples=part[side]) for source, part in zip(sources, parts, strict=True) if len(part[side])]
        for side in (0, 1)
    ]
    halves = [Half(sides[side], _labelled(sides[1 - side])) for side in (0, 1)]
    labels = [np.asarray(half.read.labels) for half in halves]
    check_labels(np.concatenate(labels))
    if any(len(np.unique(of)) < 2 for of in labels):  # noqa: PLR2004
        raise UnreadableInput(
            "The labelled pairs cannot be halved: nearly all that mean the same hang together by their texts. Train without a "
            "judge, and fit one to other pairs (textsiam judge fit)."
        )
    return halves


def cross_fitted(
    halves: Sequence[Half],
    teach: Callable[..., object],
    folder: Path,
    *,
    start: Judge | None,
    device: str,
    seed: int,
) -> Judge:
    """The judge for a twin that learnt both halves; it is still bound to the encoder of the last half.

    Parameters
    ----------
    teach
        (data sets, output=) saves a model that learnt them.
    folder
        Holds the models of the halves; one that an interrupted run has finished is read again.
    start
        The judge to start from, if there is one.
    device
        Reads the texts.
    seed
        As for `fit_judge`.
    """
    parts = []
    for number, half in enumerate(halves, 1):
        place = folder / f"half-{number}"
        if not place.exists():
            logger.info("the judge: a twin learns half of the data (%d of %d)", number, len(halves))
            teach({one.name: (one.examples, one.loss, one.share) for one in half.learned}, output=place)
        encoder = Siamese.load(place, device=device, dtype="float32").encoder
        parts.append(JudgePairs.of(encoder, {"pairs": half.read}))
    logger.info("the judge: fitting to %d pairs", sum(map(len, parts)))
    return FAMILY["auto"](encoder, joined(parts), start, seed=seed)


def joined(parts: Sequence[JudgePairs]) -> JudgePairs:
    """Pairs with no text in common that were read by as many encoders, one after another."""
    before = {"left": 0, "right": 0, "components": 0, "ends": 0}
    columns: dict[str, list[Any]] = {name: [] for name in (*COLUMNS, "ids", "units", "ends")}
    for part in parts:
        held = {name: getattr(part.words if name in ("ids", "units", "ends") else part, name) for name in columns}
        for name, values in held.items():
            columns[name].append(values + before[name] if name in before else values)
        sizes = (len(part.words.n), len(part.words.n), part.components.max(initial=-1) + 1, len(part.words.ids))
        before = {name: n + size for (name, n), size in zip(before.items(), sizes, strict=True)}
    whole = {name: np.concatenate(values) for name, values in columns.items()}
    words = Words(whole.pop("ids"), whole.pop("units"), whole.pop("ends"))
    return JudgePairs(parts[0].names, words, **whole, rarity=rarity_of(words))


def _has_labels(source: Source) -> bool:
    return isinstance(source.examples, Pairs) and source.examples.labels is not None


def _labelled(sources: Sequence[Source]) -> Pairs:
    tables = [source.examples for source in sources if _has_labels(source) and isinstance(source.examples, Pairs)]
    first, second = ([text for table in tables for text in getattr(table, side)] for side in ("first", "second"))
    return Pairs(first, second, labels=np.concatenate([np.empty(0, int), *(np.asarray(of.labels) for of in tables)]))
