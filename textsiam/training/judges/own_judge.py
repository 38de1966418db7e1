"""A model's own judge: fitted to a user's labelled pairs, from the one that the model has, or from none."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from textsiam.data.hashes import TextHashes
from textsiam.data.pairs import Pairs
from textsiam.data.readers import read_pairs
from textsiam.data.splitting import split
from textsiam.encoding.encoder import Progress
from textsiam.errors import UnreadableInput
from textsiam.scoring.evidence.scored_pairs import without_seen
from textsiam.scoring.judging.judge import Judge
from textsiam.scoring.siamese import Siamese
from textsiam.training.examples import Source
from textsiam.training.judges.judge_adapting import adapt_judge, check_labels, fit_linear_judge

logger = logging.getLogger("textsiam")

SHARE = 0.2  # of the labelled pairs to train on that a twin's judge is fitted to instead


def _adapted(model: Siamese, pairs: Pairs, judge: Judge | None, **how: Any) -> Judge:
    if judge is None:
        return fit_linear_judge(model.encoder, pairs, **how)
    return adapt_judge(judge, model.encoder, pairs, **how)


def _linear(model: Siamese, pairs: Pairs, _judge: Judge | None, **how: Any) -> Judge:
    return fit_linear_judge(model.encoder, pairs, **how)


def _network(model: Siamese, pairs: Pairs, _judge: Judge | None, **how: Any) -> Judge:
    from textsiam.training.judges.judge_fitting import fit_network_judge  # the only one that needs torch

    return fit_network_judge(model.encoder, {"pairs": pairs}, **how)


# How a judge is fitted → (model, labelled pairs, the judge to start from) → judge.
FAMILY: dict[str, Callable[..., Judge]] = {"adapted": _adapted, "linear": _linear, "network": _network}


def fit_judge(
    model: Siamese,
    pairs: Any,
    *,
    family: str = "adapted",
    start: Judge | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Siamese:
    """The model with a judge fitted to labelled pairs; it is neither calibrated nor certified.

    The texts of these pairs count as texts it was trained on: `Siamese.calibrate` and `Siamese.certify` set them aside.

    Parameters
    ----------
    model
        It does not change.
    pairs
        With labels, anything that `read_pairs` reads. Pairs with a text that the model was trained on are set aside, for there
        its scores are too good.
    family
        A name from `FAMILY`. ``adapted``: the model's own judge, moved as far as held-out components say that it helps, and
        hardly with few labels; ``linear`` for a model that has none. ``linear``: cosine and the alignment's features alone.
        ``network``: a new network, which needs thousands of labels.
    start
        The judge that ``adapted`` starts from. Default: the model's own.
    seed
        Of folds, first weights and order.
    progress
        Called with (texts read, texts in all), or (steps done, steps in all).

    Raises
    ------
    UnreadableInput
        If the pairs cannot be read, have no labels, too few of one label, or all hold a text that the model was trained on.
    UnsupportedModel
        If the encoder's backend gives no vectors of tokens.
    ValueError
        If there is no such family, or the model compares by another similarity than cosine.

    Examples
    --------
    >>> from textsiam.samples import PAIRS
    >>> model = fit_judge(Siamese.load(), PAIRS)
    >>> model.scale, model.threshold is None
    ('log-odds', True)
    """
    if family not in FAMILY:
        raise ValueError(f"There is no family {family!r} of judges. Use one of {', '.join(FAMILY)}.")
    if model.similarity != "cosine":
        raise ValueError(f"A judge corrects cosine, but the model compares by {model.similarity}. Use cosine.")
    pairs = pairs if isinstance(pairs, Pairs) else read_pairs(pairs)
    if pairs.labels is None:
        raise UnreadableInput(
            "A judge is fitted to labels of 0 and 1, but these pairs have none. Give a column of labels."
        )
    pairs, _ = without_seen(model, pairs)
    judge = FAMILY[family](
        model, pairs, start or (model.judge if isinstance(model.judge, Judge) else None), seed=seed, progress=progress
    )
    seen = TextHashes.of([*pairs.first, *pairs.second]) | (model.training_texts or TextHashes())
    return replace(model.with_judge(judge), training_texts=seen)


def kept_for_judge(sources: Sequence[Source], seed: int, link_score: float | None) -> tuple[list[Source], Pairs]:
    """The data sets to train a twin on, and the labelled pairs to fit its judge to: a fifth of each set that has labels.

    A text of a set's fifth is in no other part of that set; pairs with a text that another set taught are set aside later.

    Raises UnreadableInput if no set has labels, or the fifth too few of one kind.
    """
    left, kept = list(sources), []
    for place, source in enumerate(sources):
        if isinstance(source.examples, Pairs) and source.examples.labels is not None:
            parts = split(source.examples, seed=seed, shares=(1 - SHARE, SHARE, 0.0), link_score=link_score)
            left[place] = source._replace(examples=parts.train)
            kept.append(parts.calibration)
    if not kept:
        raise UnreadableInput(
            "A judge is fitted to labels of 0 and 1, but no data set has them. Train without a judge."
        )
    check_labels(np.concatenate([np.asarray(pairs.labels) for pairs in kept]))  # before the slow work
    first, second = ([text for pairs in kept for text in getattr(pairs, side)] for side in ("first", "second"))
    return left, Pairs(first, second, labels=np.concatenate([np.asarray(pairs.labels) for pairs in kept]))
