"""The twin in PyTorch: one transformer, pooling and normalisation. An ``nn.Module`` for training and a backend for inference.

Where the architecture allows it no padding is computed (`textsiam.encoding.pytorch.packing`), on CPUs and, in half
precision, on GPUs.

Token embeddings → one embedding a text: the mean over its tokens, its first token, or the maximum by coordinate.

Pooling exists here; `textsiam.encoding.openvino.graph.POOLINGS` has the same as operations of a graph, and a test that they
agree.
"""

import logging
import os
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from textsiam.encoding.model_folder.folder import ModelFolder
from textsiam.encoding.pytorch.linears import freeze_linears
from textsiam.encoding.pytorch.packing import HALF, PACKING, can_pack_on, pack, packed_states, sent
from textsiam.encoding.pytorch.weights import quiet, read_transformer

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


logger = logging.getLogger("textsiam")

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
        shown = sent(mask, self.device)  # first, for the copy shall not wait for what is computed
        if self.packs:
            tokens = packed_states(self.transformer, ids, mask)
        else:
            tokens = self.transformer(input_ids=sent(ids, self.device), attention_mask=shown).last_hidden_state
        pooled = self.pool(tokens, shown)
        # In fp32: a bf16 norm would leave lengths 0.4 % off 1, and cosines with them.
        return nn.functional.normalize(pooled.float(), dim=-1) if self.normalize else pooled.float()

    def embed(self, ids: Int[np.ndarray, "n length"], mask: Int[np.ndarray, "n length"]) -> Float[np.ndarray, "n dim"]:
        """Embeddings of a padded batch as fp32 NumPy, without gradients, on the twin's own device."""
        return next(self.embed_many([(ids, mask)]))

    def embed_many(self, batches: Sequence[tuple[Any, Any]]) -> Iterator[Float[np.ndarray, "n dim"]]:
        """Embeddings of each padded batch, in order: a CPU's threads share each, a GPU is asked for all at once."""
        asked = (self._infer(*batch) for batch in batches)
        if self.device.type == "cuda":
            return (_arrived(*vectors) for vectors in [_called_back(vectors) for vectors in asked])
        return (vectors.cpu().numpy() for vectors in asked)

    def _infer(self, ids: Int[np.ndarray, "n length"], mask: Int[np.ndarray, "n length"]) -> Float[Tensor, "n dim"]:
        with torch.inference_mode():
            found: Tensor = self(torch.from_numpy(ids), torch.from_numpy(mask))
            return found

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
    def offloads(self) -> bool:
        """Whether a GPU computes, and takes the next batches before it has done the last."""
        return self.device.type == "cuda"

    @property
    def precision(self) -> str:
        """The precision class of the vectors: the dtype that the linear layers compute in."""
        return str(self.frozen or next(self.parameters()).dtype).removeprefix("torch.")

    @property
    def padding_budget(self) -> int:
        """All of a batch where padding costs nothing (packed) or a call costs more (GPUs); else about what a call costs."""
        return self.token_budget if self.packs or self.offloads else 128

    @property
    def token_budget(self) -> int:
        """Padded tokens a batch: the best measured on a CPU; on a GPU 32,768 to 262,144 are alike (benchmarks/LOG.md)."""
        return 2_048 if self.device.type == "cpu" else 65_536


def _called_back(vectors: Tensor) -> tuple[Tensor, torch.cuda.Event]:
    """Vectors on their way from a GPU to pinned memory, and what tells that they are there."""
    host = torch.empty(vectors.shape, dtype=vectors.dtype, pin_memory=True)
    host.copy_(vectors, non_blocking=True)
    there = torch.cuda.Event()  # type: ignore[no-untyped-call]
    there.record(torch.cuda.current_stream(vectors.device))
    return host, there


def _arrived(host: Tensor, there: torch.cuda.Event) -> Float[np.ndarray, "n dim"]:
    there.synchronize()
    return np.asarray(host.numpy())


def load_twin(
    folder: ModelFolder, device: str | None = None, dtype: str | None = None, *, trainable: bool = False
) -> Twin:
    """The twin of a model folder; it packs on CPUs, and on GPUs where flash attention takes its dtype.

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
    elif number in HALF and can_pack_on(transformer, place):
        twin.pack()
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


def can_freeze(transformer: nn.Module) -> bool:
    """Whether transformers of this architecture call their linear layers, and never look into them."""
    config: Any = transformer.config
    return config.model_type in (*PACKING, "mpnet")
