"""Packing: the hidden states of a batch without computing its padding, through transformers' attention interface.

The transformer itself does not change. It gets all tokens of a batch as one row, with their positions and the lengths of the
texts. Only the attention, which must stay within each text, is ours. On CPUs, neighbouring texts of the same length are computed
together, so sort batches by length. On GPUs in half precision, flash attention takes texts of any lengths in one call.
Architectures that ignore the interface or compute positions in another way (MPNet, T5, DeBERTa) run with padding.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from inspect import signature
from itertools import groupby
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import pad, scaled_dot_product_attention

Padded = Int[Tensor, "n length"]

PACKED = "textsiam_packed"

# Architectures that pack, and whether they number positions after the padding id and skip padding tokens (RoBERTa and similar).
PACKING = {"bert": False, "distilbert": False, "modernbert": False, "roberta": True, "xlm-roberta": True}

# The number of tokens per pass is padded to a multiple of this. oneDNN compiles and keeps kernels for every number of rows:
# without padding, a training run grew by 15 MB per step and lost a tenth of its speed (benchmarks/LOG.md).
MULTIPLE = 64

_AMPERE = (8, 0)  # the lowest compute capability with flash attention

HALF = (torch.bfloat16, torch.float16)  # the dtypes of flash attention


@dataclass(frozen=True)
class Row:
    """How texts are packed in one row: their lengths in order, with padding tokens as texts of length 1, and their starts."""

    lengths: tuple[int, ...]
    starts: Int[Tensor, " n+1"] | None  # int32, on the GPU, with the end of the last text; None: no GPU

    @property
    def runs(self) -> list[tuple[int, int]]:
        """Runs of texts of the same length: (number of texts, length)."""
        return [(len(list(run)), length) for length, run in groupby(self.lengths)]


def can_pack(transformer: nn.Module) -> bool:
    """Whether this architecture gives the same hidden states packed as padded."""
    config: Any = transformer.config
    absolute = getattr(config, "position_embedding_type", "absolute") in ("absolute", None)
    return config.model_type in PACKING and absolute and not getattr(config, "is_decoder", False)


def pack(transformer: nn.Module) -> bool:
    """Give this transformer the attention for packed texts, for calls through `packed_states`. False if it cannot pack.

    The implementation must allow it too: that of ModernBERT in transformers 5.0 does not, and only logs a message.
    """
    from transformers import AttentionInterface

    if not can_pack(transformer):
        return False
    AttentionInterface.register(PACKED, _attend)
    transformer.set_attn_implementation(PACKED)  # type: ignore[operator]
    config: Any = transformer.config
    return bool(config._attn_implementation == PACKED)  # noqa: SLF001  only here transformers says what it uses


def packed_states(transformer: nn.Module, ids: Padded, mask: Padded) -> Float[Tensor, "n length dim"]:
    """Hidden states of a padded batch, computed without its padding by a transformer that `pack` has prepared; zeros at padding.

    `ids` and `mask` are padded on the right, with 1 in the mask where a token is. Neighbouring rows of the same length are
    computed together. Keep both on the CPU even for a GPU: then the packing does not wait for the GPU.
    """
    config: Any = transformer.config
    device = next(transformer.parameters()).device
    counts = np.asarray(mask.sum(1).cpu())
    lengths = counts[counts > 0].tolist()
    total = sum(lengths)
    filling = 0 if device.type == "cuda" and lengths else (-total % MULTIPLE or (0 if lengths else MULTIPLE))
    real = torch.from_numpy(_real(counts, mask.shape[1])).to(mask.device)
    places = _positions(ids, mask, config.pad_token_id if PACKING[config.model_type] else None)
    whole = [*lengths, *[1] * filling]
    starts = sent(torch.tensor([0, *whole]).cumsum(0).int(), device) if device.type == "cuda" else None
    found = transformer(
        input_ids=sent(pad(ids.flatten()[real], (0, filling))[None], device),
        position_ids=sent(pad(places.flatten()[real], (0, filling))[None], device),
        row=Row(tuple(whole), starts),
    ).last_hidden_state[0]
    states: Tensor = found.new_zeros((mask.numel(), found.shape[-1]))
    states[sent(real, device)] = found[:total]
    return states.view(*mask.shape, -1)


def _real(counts: Int[np.ndarray, " n"], length: int) -> Int[np.ndarray, " total"]:
    """The places of the tokens in the flattened batch, padded to this length on the right."""
    shifts = np.arange(len(counts)) * length - (counts.cumsum() - counts)
    return np.repeat(shifts, counts) + np.arange(counts.sum())


def sent(values: Tensor, device: torch.device) -> Tensor:
    """The values on the device. A copy to a GPU is from pinned memory, because any other waits for all earlier work."""
    if device.type == "cuda" and values.device.type == "cpu":
        return values.pin_memory().to(device, non_blocking=True)
    return values.to(device)


def _positions(ids: Padded, mask: Padded, padding: int | None) -> Padded:
    if padding is None:
        return mask.cumsum(1) - 1
    counts = ids.ne(padding).long()
    return counts.cumsum(1) * counts + padding


def _attend(
    module: nn.Module,  # noqa: ARG001  transformers' signature
    query: Float[Tensor, "1 heads total dim"],
    key: Float[Tensor, "1 heads total dim"],
    value: Float[Tensor, "1 heads total dim"],
    attention_mask: None,  # noqa: ARG001
    *,
    row: Row,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    **_: Any,
) -> tuple[Float[Tensor, "1 total heads dim"], None]:
    """Attention within each text."""
    parts = tuple(part[0].transpose(0, 1) for part in (query, key, value))
    if row.starts is not None and query.dtype in HALF and not dropout and (flash := flash_attention()):
        width = -1 if sliding_window is None else sliding_window - 1
        longest = max(row.lengths)
        window = {} if width < 0 else {"window_size": (width, width)}
        return flash(*parts, row.starts, row.starts, longest, longest, scale=scaling, **window)[None], None
    return _attend_by_length(parts, row, scaling, dropout, sliding_window)[None], None


def _attend_by_length(
    parts: tuple[Float[Tensor, "total heads dim"], ...],
    row: Row,
    scaling: float | None,
    dropout: float,
    width: int | None,
) -> Float[Tensor, "total heads dim"]:
    """Attention within each text, for neighbouring texts of the same length at once.

    On a CPU it is always in fp32: torch's bf16 kernel takes ten times as long for the backward pass. (Attention of short texts
    is a hundredth of the arithmetic, and took a third of the time.)
    """
    device, dtype = parts[0].device, parts[0].dtype
    upcast = device.type == "cpu"
    runs = row.runs
    split = [torch.split(part.float() if upcast else part, [n * length for n, length in runs]) for part in parts]
    attended = []
    with torch.autocast(device.type, enabled=torch.is_autocast_enabled(device.type) and not upcast):
        for (n, length), *qkv in zip(runs, *split, strict=True):
            q, k, v = (part.reshape(n, length, *part.shape[1:]).transpose(1, 2) for part in qkv)
            seen = _window(length, width, device)
            found = scaled_dot_product_attention(q, k, v, attn_mask=seen, scale=scaling, dropout_p=dropout)
            attended.append(found.transpose(1, 2).flatten(0, 1))
    return torch.cat(attended).to(dtype)


def _window(length: int, width: int | None, device: torch.device) -> Bool[Tensor, "length length"] | None:
    """Which tokens attend to which: those less than `width` apart. None: all to all."""
    if width is None or length <= width:
        return None
    places = torch.arange(length, device=device)
    return (places[:, None] - places[None, :]).abs() < width


def can_pack_on(transformer: nn.Module, device: torch.device) -> bool:
    """Whether flash attention takes this transformer on this GPU. Flash attention itself refuses only when it is called."""
    config: Any = transformer.config
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return (
        device.type == "cuda"
        and flash_attention() is not None
        and torch.backends.cuda.is_flash_attention_available()
        and torch.cuda.get_device_capability(device) >= _AMPERE
        and heads_fit(size)
    )


def heads_fit(size: int) -> bool:
    """Whether flash attention takes heads of this size.

    Examples
    --------
    >>> heads_fit(32), heads_fit(26), heads_fit(512)
    (True, False, False)
    """
    return size % 8 == 0 and size <= 256  # noqa: PLR2004  the limits of its kernel


@cache
def flash_attention() -> Callable[..., Any] | None:
    """Torch's attention over texts of any lengths, for GPUs; None if this torch has none that takes a window."""
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return None
    return varlen_attn if {"scale", "window_size"} <= signature(varlen_attn).parameters.keys() else None
