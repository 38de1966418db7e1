"""A small network that reads the tokens of both texts: attend, compare, aggregate.

Decomposable attention (Parikh et al. 2016, arXiv:1606.01933) over the encoder's token vectors: each token attends to the tokens
of the other text by their cosines, and is compared with the mixture that it attends to. The comparisons of both texts are added
up and join the features of their alignment (`textsiam.scoring.judging.alignment`). Both sides go through the same weights and are
joined by sum and maximum, so their order means nothing. It computes in NumPy; `textsiam.training.judge_fitting` fits it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from textsiam.scoring.judging.pair_blocks import Block, Side

Weights = Float[np.ndarray, "..."]


@dataclass(frozen=True, eq=False)
class Network:
    """Weights by name, and what they compute.

    ``project`` (dim, d) makes the tokens small; ``sharpness`` () multiplies cosines before the softmax; ``compare`` (2 d + 2, h)
    and ``compare_bias`` (h,) compare a token with its mixture; ``join`` (2 h + f, w), ``join_bias`` (w,), ``out`` (w,) and
    ``out_bias`` () turn the sums and the f features into one number.

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
        d, h, w = of["project"].shape[-1], len(of["compare_bias"]), len(of["join_bias"])
        shapes = {"sharpness": (), "compare": (2 * d + 2, h), "out": (w,), "out_bias": ()}
        wrong = [name for name, shape in shapes.items() if of[name].shape != shape]
        if wrong or of["join"].shape[0] < 2 * h or of["join"].shape[1] != w:
            raise ValueError(
                f"The weights of the judge's network do not fit each other ({', '.join(wrong) or 'join'}). Fit it again."
            )

    def __call__(self, block: Block, features: Float[np.ndarray, "b f"]) -> Float[np.ndarray, " b"]:
        """What the network adds to the log-odds of each pair."""
        of = self.weights
        one, other = block.left.units @ of["project"], block.right.units @ of["project"]
        sums, tops = zip(
            self._compared(block.left, one, other, block.cosines),
            self._compared(block.right, other, one, block.cosines.transpose(0, 2, 1)),
            strict=True,
        )
        joined = np.concatenate([sums[0] + sums[1], np.maximum(*tops), features], axis=1)
        return np.asarray(gelu(joined @ of["join"] + of["join_bias"]) @ of["out"] + of["out_bias"])

    def _compared(
        self,
        side: Side,
        tokens: Float[np.ndarray, "b n d"],
        others: Float[np.ndarray, "b m d"],
        cosines: Float[np.ndarray, "b n m"],
    ) -> tuple[Float[np.ndarray, "b h"], Float[np.ndarray, "b h"]]:
        """Each token beside the mixture of the other text that it attends to: weighted sum and positive maximum over tokens."""
        of = self.weights
        mixture = _softmax(cosines * of["sharpness"], cosines > -1) @ others
        compared = np.concatenate(
            [tokens * mixture, np.abs(tokens - mixture), cosines.max(2)[..., None], side.weights[..., None]], axis=2
        )
        found = gelu(compared @ of["compare"] + of["compare_bias"]) * side.mask[..., None]
        return (side.weights[..., None] * found).sum(1) / np.sqrt(side.n)[:, None], np.maximum(found.max(1), 0)


NAMES = ("project", "sharpness", "compare", "compare_bias", "join", "join_bias", "out", "out_bias")


def gelu(x: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """Gaussian error linear units by their tanh form (Hendrycks & Gimpel 2016, arXiv:1606.08415)."""
    return np.asarray(0.5 * x * (1 + np.tanh(np.float32(0.7978845608) * (x + np.float32(0.044715) * x**3))))


def _softmax(logits: Float[np.ndarray, "b n m"], seen: Bool[np.ndarray, "b n m"]) -> Float[np.ndarray, "b n m"]:
    """Over the last axis, of what is seen; a row that sees nothing gets zeros."""
    shifted = np.where(seen, np.exp(logits - logits.max(2, keepdims=True)), np.float32(0))
    return np.asarray(shifted / np.maximum(shifted.sum(2, keepdims=True), 1e-9))
