"""A small network that reads the tokens of both texts: attend, compare, aggregate.

Decomposable attention (Parikh et al. 2016, arXiv:1606.01933) over the encoder's token vectors: each token attends to the tokens
of the other text by their cosines, and is compared with the mixture that it attends to. The comparisons of both texts are added
up and join the features of their alignment (`textsiam.scoring.judging.alignment`). Both sides go through the same weights and are
joined by sum and maximum, so their order means nothing. It computes in NumPy; `textsiam.training.judges.judge_fitting` fits it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from textsiam.arrays import product, slices
from textsiam.scoring.judging.pair_blocks import Block, Side

Weights = Float[np.ndarray, "..."]
N_CELLS_AT_ONCE = 4_096  # similarities between tokens in a block that all nets read at once


@dataclass(frozen=True, eq=False)
class Network:
    """Weights by name, and what they compute: what n nets that were fitted apart agree on.

    Where all of them raise the log-odds, the least of them counts; where all lower them, likewise; where they disagree, nothing
    does. Nets differ more on texts unlike those of the fitting, so cosine keeps more of its say there. For each net,
    ``project`` (n, dim, d) makes the tokens small; ``sharpness`` (n,) multiplies cosines before the softmax; ``compare``
    (n, 2 d + 2, h) and ``compare_bias`` (n, h) compare a token with its mixture; ``join`` (n, 2 h + f, w), ``join_bias`` (n, w),
    ``out`` (n, w) and ``out_bias`` (n,) turn the sums and the f features into one number.

    Raises
    ------
    ValueError
        If weights are missing, or do not fit each other.
    """

    weights: Mapping[str, Weights]

    def __post_init__(self) -> None:
        of = self.weights
        missing = {*NAMES} - {*of}
        if missing:
            raise ValueError(f"The judge's network lacks {', '.join(sorted(missing))}. Fit it again.")
        n, d, h, w = (
            len(of["out_bias"]),
            of["project"].shape[-1],
            of["compare_bias"].shape[-1],
            of["join_bias"].shape[-1],
        )
        shapes = {"project": (n, of["project"].shape[1], d), "sharpness": (n,), "compare": (n, 2 * d + 2, h)}
        shapes |= {"compare_bias": (n, h), "join": (n, of["join"].shape[1], w), "join_bias": (n, w), "out": (n, w)}
        wrong = [name for name, shape in shapes.items() if of[name].shape != shape]
        if wrong or not n or of["join"].shape[1] < 2 * h:
            raise ValueError(
                f"The weights of the judge's network do not fit each other ({', '.join(wrong) or 'join'}). Fit it again."
            )

    def __call__(self, block: Block, features: Float[np.ndarray, "b f"]) -> Float[np.ndarray, " b"]:
        """What the network adds to the log-odds of each pair."""
        n = len(self.weights["out_bias"])
        # All nets in one pass cost fewer calls; of many pairs one net after another needs less memory.
        at_once = slices(n, n if block.cosines.size <= N_CELLS_AT_ONCE else 1)
        told = [_told({name: self.weights[name][nets] for name in NAMES}, block, features) for nets in at_once]
        return agreed(np.concatenate(told))


NAMES = ("project", "sharpness", "compare", "compare_bias", "join", "join_bias", "out", "out_bias")


def agreed(corrections: Float[np.ndarray, "n b"]) -> Float[np.ndarray, " b"]:
    """Of the n corrections of each pair the one closest to 0; 0 if their signs differ.

    Examples
    --------
    >>> agreed(np.array([[1.0, -2, 3], [2, -1, -3]]))
    array([ 1., -1.,  0.])
    """
    return np.asarray(np.maximum(corrections.min(0), 0) + np.minimum(corrections.max(0), 0))


def _told(of: Mapping[str, Weights], block: Block, features: Float[np.ndarray, "b f"]) -> Float[np.ndarray, "nets b"]:
    """What each net says."""
    left, right, cosines = block.left, block.right, block.cosines
    one, other = (_projected(side.units, of["project"]) for side in (left, right))
    # A softmax, before it is divided by its sums.
    weights = np.exp((cosines - 1) * of["sharpness"][:, None, None, None]) * (cosines > -1)
    sum_one, top_one = _compared(of, left, one, _mixture(weights, other), cosines.max(2))
    transposed = weights.transpose(0, 1, 3, 2)
    sum_other, top_other = _compared(of, right, other, _mixture(transposed, one), cosines.max(1))
    described = np.broadcast_to(features, (len(one), *features.shape))
    joined = np.concatenate([sum_one + sum_other, np.maximum(top_one, top_other), described], axis=2)
    found = gelu(product(joined, of["join"]) + of["join_bias"][:, None])
    return np.asarray((found * of["out"][:, None]).sum(2) + of["out_bias"][:, None])


def _projected(
    units: Float[np.ndarray, "b n dim"], project: Float[np.ndarray, "nets dim d"]
) -> Float[np.ndarray, "nets b n d"]:
    # As one product for each net: NumPy multiplies arrays of more axes one matrix after another.
    rows = units.reshape(-1, units.shape[2])
    return np.asarray(product(rows, project).reshape(len(project), *units.shape[:2], -1))


def _mixture(
    weights: Float[np.ndarray, "nets b n m"], others: Float[np.ndarray, "nets b m d"]
) -> Float[np.ndarray, "nets b n d"]:
    """What each token attends to; a token that sees nothing gets zeros."""
    return np.asarray(product(weights, others) / np.maximum(weights.sum(3, keepdims=True), np.float32(1e-30)))


def _compared(
    of: Mapping[str, Weights],
    side: Side,
    tokens: Float[np.ndarray, "nets b n d"],
    mixtures: Float[np.ndarray, "nets b n d"],
    tops: Float[np.ndarray, "b n"],
) -> tuple[Float[np.ndarray, "nets b h"], Float[np.ndarray, "nets b h"]]:
    """Each token beside the mixture of the other text that it attends to: weighted sum and positive maximum over tokens."""
    token, mixture = tokens[:, side.mask], mixtures[:, side.mask]
    n_nets, n, d = token.shape
    told = np.empty((n_nets, n, 2 * d + 2), dtype=np.float32)
    told[..., :d], told[..., d : 2 * d] = token * mixture, np.abs(token - mixture)
    told[..., -2], told[..., -1] = tops[side.mask], side.weights[side.mask]
    found = np.zeros((n_nets, *side.mask.shape, of["compare_bias"].shape[1]), dtype=np.float32)
    found[:, side.mask] = gelu(product(told, of["compare"]) + of["compare_bias"][:, None])
    sums = product(side.weights[:, None, :], found)[:, :, 0]
    return sums / np.sqrt(side.n)[:, None].astype(np.float32), np.maximum(found.max(2), 0)


def gelu(x: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """Gaussian error linear units by their tanh form (Hendrycks & Gimpel 2016, arXiv:1606.08415)."""
    # No power, and in place: this is half of the network's time.
    inner = x * x
    inner *= np.float32(0.7978845608 * 0.044715)
    inner += np.float32(0.7978845608)
    inner *= x
    np.tanh(inner, out=inner)
    inner += 1
    inner *= x
    inner *= np.float32(0.5)
    return np.asarray(inner)
