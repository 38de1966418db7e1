"""A small network that reads the tokens of both texts: attend, compare, aggregate.

Decomposable attention (Parikh et al. 2016, arXiv:1606.01933) over the encoder's token vectors: each token attends to the tokens
of the other text by their cosines, and is compared with the mixture that it attends to. The comparisons of both texts are added
up and join the features of their alignment (`textsiam.scoring.judging.alignment`). Both sides go through the same weights and are
joined by sum and maximum, so their order means nothing. It computes in NumPy; `textsiam.training.judge_fitting` fits it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from textsiam.scoring.judging.pair_blocks import Block, Side

Weights = Float[np.ndarray, "..."]


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
        nets = ({name: self.weights[name][k] for name in NAMES} for k in range(len(self.weights["out_bias"])))
        return agreed(np.stack([_one(of, block, features) for of in nets]))


NAMES = ("project", "sharpness", "compare", "compare_bias", "join", "join_bias", "out", "out_bias")


def agreed(corrections: Float[np.ndarray, "n b"]) -> Float[np.ndarray, " b"]:
    """Of the n corrections of each pair the one closest to 0; 0 if their signs differ.

    Examples
    --------
    >>> agreed(np.array([[1.0, -2, 3], [2, -1, -3]]))
    array([ 1., -1.,  0.])
    """
    return np.asarray(np.maximum(corrections.min(0), 0) + np.minimum(corrections.max(0), 0))


def _one(of: Mapping[str, Weights], block: Block, features: Float[np.ndarray, "b f"]) -> Float[np.ndarray, " b"]:
    """What one net says."""
    left, right, cosines = block.left, block.right, block.cosines
    one, other = (_projected(side.units, of["project"]) for side in (left, right))
    weights = np.exp((cosines - 1) * of["sharpness"]) * (cosines > -1)  # a softmax, before it is divided by its sums
    sum_one, top_one = _compared(of, left, one, _mixture(weights, other), cosines.max(2))
    transposed = weights.transpose(0, 2, 1)
    sum_other, top_other = _compared(of, right, other, _mixture(transposed, one), cosines.max(1))
    joined = np.concatenate([sum_one + sum_other, np.maximum(top_one, top_other), features], axis=1)
    return np.asarray(gelu(joined @ of["join"] + of["join_bias"]) @ of["out"] + of["out_bias"])


def _projected(units: Float[np.ndarray, "b n dim"], project: Float[np.ndarray, "dim d"]) -> Float[np.ndarray, "b n d"]:
    # As one product: NumPy multiplies arrays of three axes one matrix after another.
    return np.asarray((units.reshape(-1, len(project)) @ project).reshape(*units.shape[:2], -1))


def _mixture(weights: Float[np.ndarray, "b n m"], others: Float[np.ndarray, "b m d"]) -> Float[np.ndarray, "b n d"]:
    """What each token attends to; a token that sees nothing gets zeros."""
    return np.asarray(weights @ others / np.maximum(weights.sum(2, keepdims=True), np.float32(1e-30)))


def _compared(
    of: Mapping[str, Weights],
    side: Side,
    tokens: Float[np.ndarray, "b n d"],
    mixtures: Float[np.ndarray, "b n d"],
    tops: Float[np.ndarray, "b n"],
) -> tuple[Float[np.ndarray, "b h"], Float[np.ndarray, "b h"]]:
    """Each token beside the mixture of the other text that it attends to: weighted sum and positive maximum over tokens."""
    token, mixture = tokens[side.mask], mixtures[side.mask]
    told = [token * mixture, np.abs(token - mixture), tops[side.mask][:, None], side.weights[side.mask][:, None]]
    found = np.zeros((*side.mask.shape, of["compare_bias"].shape[0]), dtype=np.float32)
    found[side.mask] = gelu(np.concatenate(told, axis=1) @ of["compare"] + of["compare_bias"])
    sums = (side.weights[:, None, :] @ found)[:, 0]
    return sums / np.sqrt(side.n)[:, None].astype(np.float32), np.maximum(found.max(1), 0)


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
