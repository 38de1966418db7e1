"""Alignment: each token of a text against its best partner in the other text, as numbers that describe the pair.

The best partner is the token with the highest cosine (MaxSim: Khattab & Zaharia 2020, ColBERT, arXiv:2004.12832), weighted by how
rare the token is. Gaps show words without a partner; order shows words that have moved; the role of a word that both texts have
shows whether it means the same in both, for the vectors of tokens depend on their context (span alignment over frozen twins for
PAWS: arXiv:2210.05302). The two sides enter as their lower and their higher value: swapping the texts changes rounding at most.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from textsiam.arrays import product
from textsiam.scoring.judging.pair_blocks import Block, Side

Column = Float[np.ndarray, " b"]
Features = dict[str, Column]


class _Partners(NamedTuple):
    """Of each token of one side: its best partner on the other side, their cosine, and whether each is the other's best."""

    best: Int[np.ndarray, "b n"]
    cosine: Float[np.ndarray, "b n"]
    mutual: Bool[np.ndarray, "b n"]


def features(block: Block) -> Features:
    """The features of each pair of a block, by name, each (b,) fp32; those of one side come as ``…_low`` and ``…_high``.

    Examples
    --------
    >>> from textsiam import Siamese
    >>> from textsiam.scoring.judging.pair_blocks import Words, blocks
    >>> tokens = Siamese.load().encoder.tokens(["Is Anna taller than Bob?", "Is Bob taller than Anna?"])
    >>> (block,) = blocks(Words.of([tokens]), np.array([0, 0]), np.array([0, 1]), np.ones(40_000))
    >>> features(block)["inversions"].round(1)
    array([0. , 0.3], dtype=float32)
    """
    here, there = _partners(block)
    return {
        **_gaps(block.left, block.right, here, there),
        **_order(block.left, block.right, here),
        **_roles(block),
        **_rest(block),
        **_both("length", *(np.log1p(side.mask.sum(1)) for side in (block.left, block.right))),
    }


def _partners(block: Block) -> tuple[_Partners, _Partners]:
    cosines = block.cosines
    there, here = cosines.argmax(2), cosines.argmax(1)
    one = _Partners(there, cosines.max(2), _is_mutual(there, here) & block.left.mask)
    return one, _Partners(here, cosines.max(1), _is_mutual(here, there) & block.right.mask)


def _is_mutual(there: Int[np.ndarray, "b n"], here: Int[np.ndarray, "b m"]) -> Bool[np.ndarray, "b n"]:
    return np.asarray(np.take_along_axis(here, there, 1) == np.arange(there.shape[1]))


def _both(name: str, one: Column, other: Column) -> Features:
    low, high = np.minimum(one, other), np.maximum(one, other)
    return {f"{name}_low": low.astype(np.float32), f"{name}_high": high.astype(np.float32)}


def _gaps(left: Side, right: Side, here: _Partners, there: _Partners) -> Features:
    """How well each side's tokens are matched. A gap is 1 - the cosine with the best partner."""
    sides = [(side, np.where(side.mask, 1 - found.cosine, 0)) for side, found in ((left, here), (right, there))]
    return {
        **_both("gap", *((side.shares * gap).sum(1) for side, gap in sides)),
        **_both("squared_gap", *((side.shares * gap**2).sum(1) for side, gap in sides)),
        **_both("widest_gap", *(gap.max(1) for _, gap in sides)),
        **_both("rarest_gap", *((side.weights * gap).max(1) for side, gap in sides)),
        **_both("gaps", *((side.weights * gap).sum(1) for side, gap in sides)),
    }


def _order(left: Side, right: Side, here: _Partners) -> Features:
    """Whether mutual partners come in the same order."""
    place = np.arange(left.mask.shape[1])
    mutual, best = here.mutual, here.best
    pairs = mutual[:, :, None] & mutual[:, None, :] & (place[:, None] < place)
    crossed = (pairs & (best[:, :, None] > best[:, None, :])).sum((1, 2))
    shift = np.abs(place / left.n[:, None] - best / right.n[:, None])
    beside = mutual[:, :-1] & mutual[:, 1:]
    kept = (beside & (np.diff(best, axis=1) == 1)).sum(1)
    columns = {
        "inversions": crossed / np.maximum(pairs.sum((1, 2)), 1),
        "crossings": np.log1p(crossed),
        "shift": np.where(mutual, shift, 0).max(1),
        "neighbours": kept / np.maximum(mutual.sum(1) - 1, 1),
        "unbroken": kept / np.maximum(np.maximum(left.n, right.n) - 1, 1),
    }
    found = mutual.sum(1)
    return {name: column.astype(np.float32) for name, column in columns.items()} | _both(
        "mutual", found / left.n, found / right.n
    )


def _roles(block: Block) -> Features:
    """What the words that both texts have mean in each: the cosine of a token with the same token of the other text."""
    cosines = np.where(block.same, block.cosines, np.float32(-1))
    sides = [(block.left, block.same.any(2), cosines.max(2)), (block.right, block.same.any(1), cosines.max(1))]
    shared = [(side, held, np.where(held, 1 - cosine, 0)) for side, held, cosine in sides]
    return {
        **_both(
            "role",
            *(
                (side.weights * gap).sum(1) / np.maximum((side.weights * held).sum(1), 1e-6)
                for side, held, gap in shared
            ),
        ),
        **_both("widest_role", *(gap.max(1) for _, _, gap in shared)),
        **_both("rarest_role", *((side.weights * gap).max(1) for side, _, gap in shared)),
        **_both("shared", *((side.shares * held).sum(1) for side, held, _ in shared)),
    }


def _rest(block: Block) -> Features:
    """The words that only one text has, as a bag: how much they weigh, and how alike the two bags are; all words too."""
    alone = (~block.same.any(2) & block.left.mask, ~block.same.any(1) & block.right.mask)
    sides = (block.left, block.right)
    own = [side.weights * mask for side, mask in zip(sides, alone, strict=True)]
    return {
        "rest": _cosine(*(_bag(side, weights) for side, weights in zip(sides, own, strict=True))),
        "rare_cosine": _cosine(*(_bag(side, side.weights) for side in sides)),
        **_both("rest_weight", *(weights.sum(1) for weights in own)),
    }


def _bag(side: Side, weights: Float[np.ndarray, "b n"]) -> Float[np.ndarray, "b dim"]:
    return np.asarray(product(weights[:, None, :], side.units)[:, 0])


def _cosine(one: Float[np.ndarray, "b dim"], other: Float[np.ndarray, "b dim"]) -> Column:
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return np.asarray(((one * other).sum(1) / np.maximum(lengths, 1e-9)).astype(np.float32))
