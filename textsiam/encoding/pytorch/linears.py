"""Linear layers for inference on an x86 CPU, through oneDNN in fp32 or bf16, with weights laid out only once.

torch multiplies fp32 matrices through MKL, which on AMD has less than half the speed of oneDNN. It multiplies bf16 through
oneDNN, but lays out the weights again at every call. In bf16, only these layers compute in bf16. The rest stays in fp32, which
halves the rounding error of a whole model in bf16 and costs no time (benchmarks/LOG.md).
"""

import platform
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

# oneDNN lays the weights out for this many rows, the tokens of a batch. It computes other numbers of rows too.
_N_ROWS = 2_048
BF16 = "_is_mkldnn_bf16_supported"  # torch's function that says whether oneDNN computes bf16 here


class FrozenLinear(nn.Module):
    """``x @ weight.T + bias`` with the constant weights of `linear`, computed in `dtype`, to which the input is converted."""

    def __init__(self, linear: nn.Linear, dtype: torch.dtype) -> None:
        super().__init__()
        weight = linear.weight.detach().to(dtype).contiguous()
        self.bias = None if linear.bias is None else linear.bias.detach().to(dtype)
        self.dtype = dtype
        self.laid_out = can_lay_out(dtype)
        # No buffers: torch would move and copy them, and cannot handle oneDNN's layout.
        self.weight = _ops()._reorder_linear_weight(weight, _N_ROWS) if self.laid_out else weight  # noqa: SLF001

    def forward(self, x: Float[Tensor, "*n d_in"]) -> Float[Tensor, "*n d_out"]:
        """The product, in the layer's dtype."""
        x = x.to(self.dtype)
        if self.laid_out:
            return _ops()._linear_pointwise(x, self.weight, self.bias, "none", [], "")  # type: ignore[no-any-return]  # noqa: SLF001
        return nn.functional.linear(x, self.weight, self.bias)


def freeze_linears(module: nn.Module, dtype: torch.dtype) -> None:
    """Replace every linear layer by a `FrozenLinear`. Afterwards the module is only for inference."""
    for name, child in module.named_children():
        if type(child) is nn.Linear:
            setattr(module, name, FrozenLinear(child, dtype))
        else:
            freeze_linears(child, dtype)


def can_lay_out(dtype: torch.dtype = torch.float32) -> bool:
    """Whether this torch has oneDNN's layers for the dtype on this processor. They are not a public part of torch."""
    if dtype == torch.bfloat16 and not (hasattr(_ops(), BF16) and getattr(_ops(), BF16)()):
        return False
    return (
        platform.machine().lower() in ("x86_64", "amd64")
        and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        and all(hasattr(_ops(), name) for name in ("_reorder_linear_weight", "_linear_pointwise"))
    )


def _ops() -> Any:
    return torch.ops.mkldnn
