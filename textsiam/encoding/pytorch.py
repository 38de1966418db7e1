"""The twin in PyTorch: one transformer, pooling and normalisation. An ``nn.Module`` for training and a backend for inference.

On CPUs texts are packed: they stand end to end in one row, with no token of padding, so that linear layers see real tokens alone
and attention runs length by length. A transformer packs through transformers' attention interface, not as a rewritten model:
it gets one row of all texts' tokens, their positions, and how long the texts are, and only the attention, which must not look
from one text into the next, is ours. Texts of one length that are neighbours attend together, so batches are best ordered by
length. Architectures that ignore the interface or compute positions otherwise (MPNet, T5, DeBERTa) run padded.
"""

import logging
import os
import weakref
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import pad, scaled_dot_product_attention

from textsiam.encoding.folder import ModelFolder
from textsiam.encoding.linears import freeze_linears
from textsiam.encoding.pooling import POOLINGS
from textsiam.encoding.weights import quiet, read_transformer

logger = logging.getLogger("textsiam")

PACKED = "textsiam_packed"

# Architectures that pack, and whether they count tokens from behind the padding token's id, leaving that out (RoBERTa's kin).
PACKING = {"bert": False, "distilbert": False, "modernbert": False, "roberta": True, "xlm-roberta": True}

# Tokens a pass come in multiples of this, the last few being filling that nobody reads. oneDNN compiles, and keeps, kernels
# for every number of rows: without it a training run grew by 15 MB a step and lost a tenth of its speed (benchmarks/LOG.md).
MULTIPLE = 64

Runs = list[tuple[int, int]]  # neighbouring texts of one length: how many, and the length

FROZEN = (torch.float32, torch.bfloat16)  # what a CPU's frozen layers compute in

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


# The twins of this process.
_TWINS: weakref.WeakSet[nn.Module] = weakref.WeakSet()


def _begin_anew() -> None:
    """Compute with one thread in a forked process: the others, which its parent waits for, it does not have."""
    if len(_TWINS):
        torch.set_num_threads(1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)


class Twin(nn.Module):
    """One encoder for both sentences: token ids and mask → embeddings.

    Parameters
    ----------
    transformer
        Any encoder of transformers' whose output has ``last_hidden_state``.
    pooling
        A name from `POOLINGS`.
    normalize
        Scale each embedding to length 1.
    """

    name = "pytorch"

    def __init__(self, transformer: nn.Module, pooling: str = "mean", *, normalize: bool = True) -> None:
        super().__init__()
        self.transformer = transformer
        self.pool = POOLINGS[pooling]
        self.normalize = normalize
        self.packs = False
        self.frozen: torch.dtype | None = None
        _TWINS.add(self)

    def forward(self, ids: Int[Tensor, "n length"], mask: Int[Tensor, "n length"]) -> Float[Tensor, "n dim"]:
        """Embeddings of a padded batch; differentiable."""
        if self.packs:
            tokens = packed_states(self.transformer, ids, mask)
        else:
            tokens = self.transformer(input_ids=ids, attention_mask=mask).last_hidden_state
        pooled = self.pool(tokens, mask)
        # In fp32: a bf16 norm would leave lengths 0.4 % off 1, and cosines with them.
        return nn.functional.normalize(pooled.float(), dim=-1) if self.normalize else pooled.float()

    def embed(self, ids: Int[np.ndarray, "n length"], mask: Int[np.ndarray, "n length"]) -> Float[np.ndarray, "n dim"]:
        """Embeddings of a padded batch as fp32 NumPy, without gradients, on the twin's own device."""
        with torch.inference_mode():
            device = self.device
            vectors = self(torch.from_numpy(ids).to(device), torch.from_numpy(mask).to(device))
            return np.asarray(vectors.float().cpu().numpy())

    def embed_many(self, batches: Sequence[tuple[Any, Any]]) -> Iterator[Float[np.ndarray, "n dim"]]:
        """Embeddings of each padded batch, in order, one at a time: torch shares each among its threads."""
        yield from (self.embed(*batch) for batch in batches)

    def pack(self) -> None:
        """Compute no padding from now on, where the architecture allows it; the embeddings stay the same to 1e-5 in fp32."""
        with quiet():
            self.packs = pack(self.transformer)
        if not self.packs:
            logger.info("%s runs with padding: textsiam cannot pack it", self.transformer.config.model_type)  # type: ignore[union-attr]

    def freeze(self, dtype: torch.dtype) -> None:
        """Make it ready for inference on a CPU: no gradient, and linear layers as fast as they get (`FrozenLinear`)."""
        freeze_linears(self.transformer, dtype)
        self.requires_grad_(requires_grad=False)
        self.frozen = dtype

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return next(self.parameters()).device

    @property
    def precision(self) -> str:
        """The precision class of the vectors: the dtype that the linear layers compute in."""
        return str(self.frozen or next(self.parameters()).dtype).removeprefix("torch.")

    @property
    def padding_budget(self) -> int:
        """All of a batch where padding costs nothing (packed) or a call costs more (GPUs); else about what a call costs."""
        return self.token_budget if self.packs or self.device.type != "cpu" else 128

    @property
    def token_budget(self) -> int:
        """Padded tokens a batch: the best measured on a CPU (benchmarks/LOG.md); for GPUs a guess, not yet measured."""
        return 2_048 if self.device.type == "cpu" else 65_536


def load_twin(
    folder: ModelFolder, device: str | None = None, dtype: str | None = None, *, trainable: bool = False
) -> Twin:
    """The twin of a model folder; on a CPU it packs, on GPUs it runs padded (not yet measured there).

    Parameters
    ----------
    device
        ``cpu``, ``cuda``, ``cuda:1``, ``mps``. Default: the first GPU there is, else the CPU.
    dtype
        ``float32``, ``bfloat16`` or ``float16``. Default: bf16 where the device computes it natively, else fp32.
    trainable
        Keep the transformer's own layers; else those of a CPU are frozen (`Twin.freeze`) in fp32 and bf16.

    Raises
    ------
    ValueError
        If torch cannot use that device or the dtype is unknown.
    BrokenModel, UnsupportedModel
        If the weights cannot be read, or are no encoder's.
    """
    place = _device(device)
    number = _dtype(dtype, place)
    transformer = read_transformer(folder.transformer)
    twin = Twin(transformer, folder.pooling, normalize=folder.normalize).to(place)
    if place.type == "cpu":
        twin.pack()
        if not trainable and number in FROZEN and can_freeze(transformer):
            twin.freeze(number)
            return twin.eval()
    return twin.to(number).eval()


def computes_bf16(device: torch.device) -> bool:
    """Whether the device multiplies bf16 matrices itself, not by emulation: many GPUs; CPUs with AVX512-BF16 or AMX."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu":
        return False
    flags = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return bool(flags.get("avx512_bf16") or flags.get("amx_bf16"))


def _device(device: str | None) -> torch.device:
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        place = torch.device(device)
        torch.empty(0, device=place)
    except (RuntimeError, AssertionError) as error:
        why = str(error).splitlines()[0].rstrip(".")
        raise ValueError(f"torch cannot use the device {device!r}: {why}. Use cpu, or install what it needs.") from None
    return place


def _dtype(dtype: str | None, device: torch.device) -> torch.dtype:
    if dtype is None:
        return torch.bfloat16 if computes_bf16(device) else torch.float32
    name = str(dtype).removeprefix("torch.")
    if name == "int8":
        raise ValueError("PyTorch does not compute int8 here; backend openvino does, on CPUs (extra fast).")
    if name not in DTYPES:
        raise ValueError(f"textsiam does not know the dtype {dtype!r}. Use one of {', '.join(DTYPES)}, int8.")
    return DTYPES[name]


def can_pack(transformer: nn.Module) -> bool:
    """Whether transformers of this architecture give the same hidden states packed as padded."""
    config: Any = transformer.config
    absolute = getattr(config, "position_embedding_type", "absolute") in ("absolute", None)
    return config.model_type in PACKING and absolute and not getattr(config, "is_decoder", False)


def can_freeze(transformer: nn.Module) -> bool:
    """Whether transformers of this architecture call their linear layers, and never look into them."""
    config: Any = transformer.config
    return config.model_type in (*PACKING, "mpnet")


def pack(transformer: nn.Module) -> bool:
    """Let this transformer attend as packed texts must: it is then called by `packed_states` alone. False: it cannot.

    Besides its architecture, its implementation must take another attention: transformers 5.0's ModernBERT does not, and would
    only log that it does not.
    """
    from transformers import AttentionInterface

    if not can_pack(transformer):
        return False
    AttentionInterface.register(PACKED, _attend)
    transformer.set_attn_implementation(PACKED)  # type: ignore[operator]
    config: Any = transformer.config
    return bool(config._attn_implementation == PACKED)  # noqa: SLF001  where transformers keeps what it took


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
    filling = -sum(lengths) % MULTIPLE or (0 if runs else MULTIPLE)
    places = _positions(ids, mask, config.pad_token_id if PACKING[config.model_type] else None)[real]
    found = transformer(
        input_ids=pad(ids[real], (0, filling))[None],
        position_ids=pad(places, (0, filling))[None],
        runs=[*runs, (filling, 1)] if filling else runs,
    ).last_hidden_state[0]
    states: Tensor = found.new_zeros((*mask.shape, found.shape[-1]))
    states[real] = found[: sum(lengths)]
    return states


def _positions(
    ids: Int[Tensor, "n length"], mask: Int[Tensor, "n length"], padding: int | None
) -> Int[Tensor, "n length"]:
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
