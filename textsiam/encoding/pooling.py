"""Token embeddings → one embedding a text: the mean over its tokens, its first token, or the maximum by coordinate.

Pooling exists here; `textsiam.encoding.graph.POOLINGS` has the same as operations of a graph, and a test that they agree.
"""

from collections.abc import Callable

from jaxtyping import Float, Int
from torch import Tensor

Tokens = Float[Tensor, "n length dim"]
Mask = Int[Tensor, "n length"]
Embeddings = Float[Tensor, "n dim"]


def mean(tokens: Tokens, mask: Mask) -> Embeddings:
    """The mean over the tokens that are not padding (Reimers & Gurevych 2019, section 3).

    Computed in fp32 whatever the tokens' dtype: a sum over hundreds of bf16 values would lose its last digits.
    A row without tokens gives zeros.
    """
    weights = mask.unsqueeze(-1).float()
    return ((tokens.float() * weights).sum(1) / weights.sum(1).clamp(min=1)).to(tokens.dtype)


def cls(tokens: Tokens, mask: Mask) -> Embeddings:  # noqa: ARG001  one signature for the family
    """The first token, which BERT and its kin train to stand for the whole text."""
    return tokens[:, 0]


def maximum(tokens: Tokens, mask: Mask) -> Embeddings:
    """The largest value of each coordinate over the tokens that are not padding."""
    return tokens.masked_fill(mask.unsqueeze(-1) == 0, float("-inf")).amax(1)


POOLINGS: dict[str, Callable[[Tokens, Mask], Embeddings]] = {
    "mean": mean,
    "cls": cls,
    "max": maximum,
}
