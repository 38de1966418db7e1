"""Texts end to end in one row, with no token of padding: linear layers see real tokens alone, attention runs length by length.

A transformer packs through transformers' attention interface, not as a rewritten model: it gets one row of all texts'
tokens, their positions, and how long the texts are, and only the attention, which must not look from one text into the
next, is ours. Texts of one length stand next to each other and attend together, so batches are best ordered by length.

Left out: architectures that ignore the interface or compute positions otherwise (MPNet, T5, DeBERTa). They run padded.
"""

from collections.abc import Callable
from itertools import groupby
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import pad, scaled_dot_product_attention

NAME = "textsiam_packed"

# Architectures that pack, and the position of a text's first token: RoBERTa's kin begin after the padding's.
FIRST_POSITIONS: dict[str, Callable[[Any], int]] = {
    "bert": lambda config: 0,  # noqa: ARG005  one signature for the family
    "distilbert": lambda config: 0,  # noqa: ARG005
    "modernbert": lambda config: 0,  # noqa: ARG005
    "roberta": lambda config: int(config.pad_token_id) + 1,
    "xlm-roberta": lambda config: int(config.pad_token_id) + 1,
}

# Tokens a pass come in multiples of this, the last few being filling that nobody reads. oneDNN compiles, and keeps, kernels
# for every number of rows: without it a training run grew by 15 MB a step and lost a tenth of its speed (benchmarks/LOG.md).
MULTIPLE = 64

Runs = list[tuple[int, int]]  # neighbouring texts of one length: how many, and the length


def can_pack(transformer: nn.Module) -> bool:
    """Whether transformers of this architecture give the same hidden states packed as padded."""
    config: Any = transformer.config
    absolute = getattr(config, "position_embedding_type", "absolute") in ("absolute", None)
    return config.model_type in FIRST_POSITIONS and absolute and not getattr(config, "is_decoder", False)


def pack(transformer: nn.Module) -> bool:
    """Let this transformer attend as packed texts must: it is then called by `packed_states` alone. False: it cannot.

    Besides its architecture, its implementation must take another attention: transformers 5.0's ModernBERT does not, and would
    only log that it does not.
    """
    from transformers import AttentionInterface

    if not can_pack(transformer):
        return False
    AttentionInterface.register(NAME, _attend)
    transformer.set_attn_implementation(NAME)  # type: ignore[operator]
    config: Any = transformer.config
    return bool(config._attn_implementation == NAME)  # noqa: SLF001  where transformers keeps what it took


def packed_states(
    transformer: nn.Module, ids: Int[Tensor, "n length"], mask: Int[Tensor, "n length"]
) -> Float[Tensor, "n length dim"]:
    """Hidden states of a padded batch, computed without its padding; zeros where it was.

    Parameters
    ----------
    transformer
        One that was prepared by `pack`.
    ids, mask
        Padded on the right: 1 in the mask where a token is. Rows of equal length attend together where they are neighbours.
    """
    config: Any = transformer.config
    real = mask.bool()
    lengths = mask.sum(1).tolist()
    runs = [(len(list(run)), length) for length, run in groupby(lengths) if length]
    filling = -sum(lengths) % MULTIPLE
    places = (mask.cumsum(1) - 1 + FIRST_POSITIONS[config.model_type](config))[real]
    found = transformer(
        input_ids=pad(ids[real], (0, filling))[None],
        position_ids=pad(places, (0, filling))[None],
        runs=[*runs, (filling, 1)] if filling else runs,
    ).last_hidden_state[0]
    states: Tensor = found.new_zeros((*mask.shape, found.shape[-1]))
    states[real] = found[: sum(lengths)]
    return states


def _attend(
    module: nn.Module,  # noqa: ARG001  transformers' signature
    query: Float[Tensor, "1 heads total dim"],
    key: Float[Tensor, "1 heads total dim"],
    value: Float[Tensor, "1 heads total dim"],
    attention_mask: None,  # noqa: ARG001
    *,
    runs: Runs,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    **_: Any,
) -> tuple[Float[Tensor, "1 total heads dim"], None]:
    """Attention within each text, for all texts of one length at once.

    In fp32 whatever the dtype on a CPU: torch's bf16 kernel needs ten times as long for the backward pass there (attention
    of short texts is a hundredth of the arithmetic, and was a third of the time).
    """
    upcast = query.device.type == "cpu"
    dtype, sizes = query.dtype, [n * length for n, length in runs]
    whole = ((part.float() if upcast else part)[0].transpose(0, 1) for part in (query, key, value))
    parts = [torch.split(part, sizes) for part in whole]
    attended = []
    with torch.autocast(query.device.type, enabled=torch.is_autocast_enabled(query.device.type) and not upcast):
        for (n, length), *qkv in zip(runs, *parts, strict=True):
            q, k, v = (part.reshape(n, length, *part.shape[1:]).transpose(1, 2) for part in qkv)
            seen = _window(length, sliding_window, q.device)
            found = scaled_dot_product_attention(q, k, v, attn_mask=seen, scale=scaling, dropout_p=dropout)
            attended.append(found.transpose(1, 2).flatten(0, 1))
    return torch.cat(attended)[None].to(dtype), None


def _window(length: int, width: int | None, device: torch.device) -> Bool[Tensor, "length length"] | None:
    """Which tokens see which: those less than `width` apart; None: all see all."""
    if width is None or length <= width:
        return None
    places = torch.arange(length, device=device)
    return (places[:, None] - places[None, :]).abs() < width
