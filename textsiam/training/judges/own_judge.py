"""A model's own judge: fitted to a user's labelled pairs, from the one that the model has, or from none."""

import logging
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

import numpy as np

from textsiam.arrays import Rows
from textsiam.data.hashes import TextHashes
from textsiam.data.pairs import Pairs
from textsiam.data.readers import read_pairs
from textsiam.encoding.encoder import Encoder, Progress
from textsiam.errors import UnreadableInput
from textsiam.scoring.evidence.scored_pairs import without_seen
from textsiam.scoring.judging.judge import Judge
from textsiam.scoring.siamese import Siamese
from textsiam.training.judges.judge_adapting import AdaptingPairs, adapt_judge, check_labels, fit_linear_judge
from textsiam.training.judges.judge_pairs import JudgePairs

logger = logging.getLogger("textsiam")


MIN_TO_TUNE = 2_000  # pairs from which fitting a network further is worth while (benchmarks/LOG.md)
N_FOLDS = 3


def _auto(encoder: Encoder, pairs: Pairs | JudgePairs, start: Judge | None, **how: Any) -> Judge:
    is_enough = len(pairs) >= MIN_TO_TUNE and find_spec("torch")
    return (_tuned if is_enough else _adapted)(encoder, pairs, start, **how)


def _adapted(encoder: Encoder, pairs: Pairs | JudgePairs, start: Judge | None, **how: Any) -> Judge:
    if start is None:
        return fit_linear_judge(encoder, pairs, **how)
    return adapt_judge(start, encoder, pairs, **how)


def _tuned(
    encoder: Encoder,
    pairs: Pairs | JudgePairs,
    start: Judge | None,
    *,
    seed: int = 0,
    progress: Progress | None = None,
) -> Judge:
    """The network fitted further, and adapted to what networks that were fitted to the other folds say of each pair.

    What a network says of the pairs that it learnt is too good to decide how much it counts (stacked generalization: Wolpert
    1992, doi:10.1016/S0893-6080(05)80023-1).
    """
    from textsiam.training.judges.judge_fitting import can_tune, fit_network_judge, tune_judge  # all that needs torch

    of = pairs if isinstance(pairs, JudgePairs) else JudgePairs.of(encoder, {"pairs": pairs}, progress=progress)
    check_labels(of.targets)

    def fitted(rows: Rows) -> Judge:
        some = of.take(rows)
        if start is None or not can_tune(start, encoder):
            return fit_network_judge(encoder, some, share=1.0, seed=seed, progress=progress)
        return tune_judge(start, encoder, some, seed=seed, progress=progress)

    names, numbers = np.unique(of.components, return_inverse=True)
    folds = (np.random.default_rng(seed).permutation(len(names)) % N_FOLDS)[numbers]
    whole = fitted(np.arange(len(of)))
    parts = np.zeros((len(of), 2 + len(whole.columns)))
    for fold in np.unique(folds).tolist():
        held = np.flatnonzero(folds == fold)
        parts[held] = AdaptingPairs.read(fitted(np.flatnonzero(folds != fold)), of.take(held)).parts
    unseen = AdaptingPairs(parts, of.cosines, of.targets.astype(np.float64), of.components)
    return adapt_judge(whole, encoder, unseen, seed=seed)


def _linear(encoder: Encoder, pairs: Pairs | JudgePairs, _start: Judge | None, **how: Any) -> Judge:
    return fit_linear_judge(encoder, pairs, **how)


def _network(encoder: Encoder, pairs: Pairs | JudgePairs, _start: Judge | None, **how: Any) -> Judge:
    return _tuned(encoder, pairs, None, **how)


# How a judge is fitted → (encoder, labelled pairs, the judge to start from) → judge.
FAMILY: dict[str, Callable[..., Judge]] = {
    "auto": _auto, "adapted": _adapted, "tuned": _tuned, "linear": _linear, "network": _network,
}  # fmt: skip


def fit_judge(
    model: Siamese,
    pairs: Any,
    *,
    family: str = "auto",
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
        A name from `FAMILY`. ``auto``: ``adapted``, from 2,000 pairs on ``tuned``. ``adapted``: a few numbers of the model's own
        judge, moved as far as held-out components say that it helps, and hardly with few labels; ``linear`` for a model that has
        none. ``tuned``: its network is fitted further too, which needs torch and thousands of labels. ``linear``: cosine and the
        alignment's features alone. ``network``: as ``tuned``, but a new network.
    start
        The judge that ``adapted`` and ``tuned`` start from. Default: the model's own.
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
    check_similarity(model)
    pairs = pairs if isinstance(pairs, Pairs) else read_pairs(pairs)
    if pairs.labels is None:
        raise UnreadableInput(
            "A judge is fitted to labels of 0 and 1, but these pairs have none. Give a column of labels."
        )
    pairs, _ = without_seen(model, pairs)
    own = start or (model.judge if isinstance(model.judge, Judge) else None)
    judge = FAMILY[family](model.encoder, pairs, own, seed=seed, progress=progress)
    seen = TextHashes.of([*pairs.first, *pairs.second]) | (model.training_texts or TextHashes())
    return replace(model.with_judge(judge), training_texts=seen)


def check_similarity(model: Siamese) -> None:
    """Raise ValueError if the model compares by another similarity than cosine."""
    if model.similarity != "cosine":
        raise ValueError(f"A judge corrects cosine, but the model compares by {model.similarity}. Use cosine.")
