"""The model in PyTorch: transformer, pooling and normalisation. An ``nn.Module`` for training and a backend for inference.

If the architecture allows it, padding is not computed (`textsiam.encoding.pytorch.packing`): on CPUs, and in half precision on
GPUs. Reading the weights is the work of `textsiam.encoding.pytorch.weights`. The same poolings exist as graph operations in
`textsiam.encoding.openvino.graph`, and a test keeps the two equal.
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
from textsiam.encoding.pytorch.packing import HALF, PACKING, can_pack_on, pack, packed_states, sent
from textsiam.encoding.pytorch.weights import freeze_linears, quiet, read_transformer

Tokens = Float[Tensor, "n length dim"]
Mask = Int[Tensor, "n length"]
Embeddings = Float[Tensor, "n dim"]

FROZEN = (torch.float32, torch.bfloat16)  # the dtypes of frozen layers on a CPU
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_TWINS: weakref.WeakSet[nn.Module] = weakref.WeakSet()  # those of this process

logger = logging.getLogger("textsiam")


def mean(tokens: Tokens, mask: Mask) -> Embeddings:
    """The mean over the tokens that are not padding (Reimers & Gurevych 2019, section 3).

    Always computed in fp32, because a sum over hundreds of bf16 values loses digits. A row without tokens gives zeros.
    """
    weights = mask.unsqueeze(-1).float()
    return ((tokens.float() * weights).sum(1) / weights.sum(1).clamp(min=1)).to(tokens.dtype)


def cls(tokens: Tokens, mask: Mask) -> Embeddings:  # noqa: ARG001  one signature for the family
    """The first token, which BERT and similar models train to represent the whole text."""
    return tokens[:, 0]


def maximum(tokens: Tokens, mask: Mask) -> Embeddings:
    """The largest value of each coordinate over the tokens that are not padding."""
    return tokens.masked_fill(mask.unsqueeze(-1) == 0, float("-inf")).amax(1)


POOLINGS: dict[str, Callable[[Tokens, Mask], Embeddings]] = {
    "mean": mean,
    "cls": cls,
    "max": maximum,
}


def _after_fork() -> None:
    """Compute with one thread in a forked process, which does not have the other threads of its parent."""
    if len(_TWINS):
        torch.set_num_threads(1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class Twin(nn.Module):
    """One encoder for both sentences: token ids and mask → embeddings.

    `transformer` is any encoder from transformers whose output has ``last_hidden_state``, and `pooling` a name from `POOLINGS`.
    With `normalize`, each embedding has length 1.
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
        """Embeddings of a padded batch, differentiable."""
        return self.embedded(ids, mask)[0]

    def embedded(self, ids: Int[Tensor, "n length"], mask: Int[Tensor, "n length"]) -> tuple[Embeddings, Tokens]:
        """Embeddings of a padded batch, fp32, and the last layer's vectors of its tokens that they are pooled from."""
        shown = sent(mask, self.device)  # first, so that the copy does not wait for the computation
        if self.packs:
            tokens = packed_states(self.transformer, ids, mask)
        else:
            tokens = self.transformer(input_ids=sent(ids, self.device), attention_mask=shown).last_hidden_state
        pooled = self.pool(tokens, shown)
        # In fp32: with a bf16 norm, lengths and cosines are up to 0.4 % wrong.
        return nn.functional.normalize(pooled.float(), dim=-1) if self.normalize else pooled.float(), tokens

    def embed(self, ids: Int[np.ndarray, "n length"], mask: Int[np.ndarray, "n length"]) -> Float[np.ndarray, "n dim"]:
        """Embeddings of a padded batch as fp32 NumPy, without gradients, computed on the model's own device."""
        return next(self.embed_many([(ids, mask)]))

    def embed_many(self, batches: Sequence[tuple[Any, Any]]) -> Iterator[Float[np.ndarray, "n dim"]]:
        """Embeddings of each padded batch, in order. CPU threads share each batch; a GPU gets all batches at once."""
        embeddings = (self._infer(*batch) for batch in batches)
        if self.device.type == "cuda":
            return (_wait_for(*copy) for copy in [_copy_to_host(vectors) for vectors in embeddings])
        return (vectors.cpu().numpy() for vectors in embeddings)

    def tokens_many(
        self, batches: Sequence[tuple[Any, Any]]
    ) -> Iterator[tuple[Float[np.ndarray, "n dim"], Float[np.ndarray, "n length dim"]]]:
        """Embeddings of each padded batch, and the vectors of its tokens, both fp32, in order."""
        for ids, mask in batches:
            with torch.inference_mode():
                embeddings, tokens = self.embedded(torch.from_numpy(ids), torch.from_numpy(mask))
            yield embeddings.cpu().numpy(), tokens.float().cpu().numpy()

    def _infer(self, ids: Int[np.ndarray, "n length"], mask: Int[np.ndarray, "n length"]) -> Float[Tensor, "n dim"]:
        with torch.inference_mode():
            found: Tensor = self(torch.from_numpy(ids), torch.from_numpy(mask))
            return found

    def pack(self) -> None:
        """Stop computing padding, if the architecture allows it. In fp32, embeddings change by less than 1e-5."""
        with quiet():
            self.packs = pack(self.transformer)
        if not self.packs:
            logger.info("%s runs with padding: textsiam cannot pack it", self.transformer.config.model_type)  # type: ignore[union-attr]

    def freeze(self, dtype: torch.dtype) -> None:
        """Prepare for inference on a CPU: no gradients, and fast linear layers (`FrozenLinear`)."""
        freeze_linears(self.transformer, dtype)
        self.requires_grad_(requires_grad=False)
        self.frozen = dtype

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return next(self.parameters()).device

    @property
    def offloads(self) -> bool:
        """Whether a GPU computes: it takes the next batches before it has finished the last."""
        return self.device.type == "cuda"

    @property
    def precision(self) -> str:
        """The precision class of the vectors: the dtype of the linear layers."""
        return str(self.frozen or next(self.parameters()).dtype).removeprefix("torch.")

    @property
    def padding_budget(self) -> int:
        """The most padding tokens per batch: no limit if padding is free (packed) or cheaper than a call (GPUs)."""
        return self.token_budget if self.packs or self.offloads else 128

    @property
    def token_budget(self) -> int:
        """Padded tokens per batch: the best measured on a CPU. On a GPU, 32,768 to 262,144 are equal (benchmarks/LOG.md)."""
        return 2_048 if self.device.type == "cpu" else 65_536


def _copy_to_host(vectors: Tensor) -> tuple[Tensor, torch.cuda.Event]:
    """Start a copy from a GPU to pinned memory. Gives the copy, and the event that it is complete."""
    host = torch.empty(vectors.shape, dtype=vectors.dtype, pin_memory=True)
    host.copy_(vectors, non_blocking=True)
    complete = torch.cuda.Event()  # type: ignore[no-untyped-call]
    complete.record(torch.cuda.current_stream(vectors.device))
    return host, complete


def _wait_for(host: Tensor, complete: torch.cuda.Event) -> Float[np.ndarray, "n dim"]:
    complete.synchronize()
    return np.asarray(host.numpy())


def load_twin(
    folder: ModelFolder, device: str | None = None, dtype: str | None = None, *, trainable: bool = False
) -> Twin:
    """The model of a folder in PyTorch. It packs on CPUs, and on GPUs if flash attention takes its dtype.

    `device` is ``cpu``, ``cuda``, ``cuda:1`` or ``mps``; by default the first GPU, else the CPU. `dtype` is ``float32``,
    ``bfloat16`` or ``float16``; by default bf16 if the device computes it natively, else fp32. Unless the model is `trainable`,
    its linear layers are frozen on a CPU in fp32 or bf16 (`Twin.freeze`).

    Raises `ValueError` if torch cannot use the device, or the dtype is unknown; `BrokenModel` or `UnsupportedModel` if the
    weights cannot be read, or are not those of an encoder.
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
    """Whether the device multiplies bf16 matrices natively: many GPUs; CPUs with AVX512-BF16 or AMX."""
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
        raise ValueError("The pytorch backend does not compute int8. Use backend openvino, on a CPU (extra fast).")
    if name not in DTYPES:
        raise ValueError(f"textsiam does not know the dtype {dtype!r}. Use one of {', '.join(DTYPES)}, int8.")
    return DTYPES[name]


def can_freeze(transformer: nn.Module) -> bool:
    """Whether this architecture only calls its linear layers, and never reads their weights."""
    config: Any = transformer.config
    return config.model_type in (*PACKING, "mpnet")
