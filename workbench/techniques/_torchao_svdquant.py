"""SVDQuant weights (nunchaku), laid out as a torchao tensor for predictions; there is no implementation here that computes with them.

Activations are smoothed and quantised to 4 bits, multiplied with the 4-bit weights, and a branch of low rank in 16 bits carries what
4 bits cannot (SVDQuant: Li et al. 2024, arXiv 2411.05007). Tensors and scratch memory are those of `SVDQW4A4Linear` in diffusers 0.42
(`quantizers/nunchaku/utils.py`), whose kernels come from the hub for CUDA only. The two ops stand for its two kernels.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear

from workbench.models._quiet import quiet_imports
from workbench.techniques._torchao_tensors import linear_arguments

with quiet_imports():
    from torchao.utils import TorchAOBaseTensor

RANK = 32
"""Of the 16-bit branch; the default of `SVDQW4A4Linear`."""
GROUPS = {"int4": 64, "nvfp4": 16}
"""Weights, and activations, that share a scale."""
_ROWS = 256
"""The kernels take activations in batches of this many tokens."""


def _only_planned(*_: Any) -> Any:
    raise NotImplementedError("SVDQuant is laid out for predictions only")


@torch.library.custom_op("workbench::svdq_quantize", mutates_args=())
def svdq_quantize(x: Tensor, smooth: Tensor, down: Tensor, precision: str) -> tuple[Tensor, Tensor, Tensor]:
    """(activations in 4 bits, their scales, what the low-rank branch makes of them) of x [tokens, in]."""
    return _only_planned()


@svdq_quantize.register_fake
def _(x: Tensor, smooth: Tensor, down: Tensor, precision: str) -> tuple[Tensor, Tensor, Tensor]:
    tokens, channels = x.shape
    padded = -(-tokens // _ROWS) * _ROWS
    scale_dtype = torch.float8_e4m3fn if precision == "nvfp4" else x.dtype
    return (
        x.new_empty(padded, channels // 2, dtype=torch.uint8),
        x.new_empty(channels // GROUPS[precision], padded, dtype=scale_dtype),
        x.new_empty(padded, down.shape[1], dtype=torch.float32),
    )


@torch.library.custom_op("workbench::svdq_gemm", mutates_args=())
def svdq_gemm(
    codes: Tensor, weight: Tensor, scales: Tensor, weight_scales: Tensor, low: Tensor, up: Tensor, tokens: int
) -> Tensor:
    """The product with the weight and the low-rank branch, [tokens, out]."""
    return _only_planned()


@svdq_gemm.register_fake
def _(
    codes: Tensor, weight: Tensor, scales: Tensor, weight_scales: Tensor, low: Tensor, up: Tensor, tokens: int
) -> Tensor:
    return codes.new_empty(tokens, weight.shape[0], dtype=up.dtype)


class SvdqTensor(TorchAOBaseTensor):
    """A weight [out, in] in 4 bits with its scales, the smoothing of its inputs and the two thin matrices of rank `RANK`."""

    tensor_data_names = ["qweight", "wscales", "smooth", "down", "up"]  # noqa: RUF012
    tensor_attribute_names = ["precision", "dtype"]  # noqa: RUF012
    optional_tensor_data_names = ["wcscales", "wtscale"]  # noqa: RUF012

    def __new__(
        cls,
        qweight: Tensor,
        wscales: Tensor,
        smooth: Tensor,
        down: Tensor,
        up: Tensor,
        precision: str,
        dtype: torch.dtype,
        wcscales: Tensor | None = None,
        wtscale: Tensor | None = None,
    ) -> SvdqTensor:
        shape = (qweight.shape[0], 2 * qweight.shape[1])
        return torch.Tensor._make_wrapper_subclass(cls, shape, dtype=dtype, device=qweight.device)

    def __init__(
        self,
        qweight: Tensor,
        wscales: Tensor,
        smooth: Tensor,
        down: Tensor,
        up: Tensor,
        precision: str,
        dtype: torch.dtype,
        wcscales: Tensor | None = None,
        wtscale: Tensor | None = None,
    ) -> None:
        self.qweight, self.wscales, self.smooth = qweight, wscales, smooth
        self.down, self.up, self.precision = down, up, precision
        self.wcscales, self.wtscale = wcscales, wtscale

    @classmethod
    def laid_out(cls, weight: Tensor, precision: str) -> SvdqTensor:
        """The tensors that take the place of a weight without data, [out, in]."""
        rows, columns = weight.shape
        is_fp4 = precision == "nvfp4"

        def empty(*shape: int, dtype: torch.dtype = weight.dtype) -> Tensor:
            return torch.empty(*shape, dtype=dtype, device="meta")

        return cls(
            empty(rows, columns // 2, dtype=torch.int8),
            empty(columns // GROUPS[precision], rows, dtype=torch.float8_e4m3fn if is_fp4 else weight.dtype),
            empty(columns),
            empty(columns, RANK),
            empty(rows, RANK),
            precision,
            weight.dtype,
            empty(rows) if is_fp4 else None,
            empty(1) if is_fp4 else None,
        )


@SvdqTensor.implements_torch_function([linear])
def _(func: Any, types: Any, args: tuple[Any, ...], kwargs: dict[str, Any] | None) -> Tensor:
    x, weight, _ = linear_arguments(args, kwargs)  # the kernel adds the bias itself
    flat = x.reshape(-1, x.shape[-1])
    codes, scales, low = svdq_quantize(flat, weight.smooth, weight.down, weight.precision)
    out = svdq_gemm(codes, weight.qweight, scales, weight.wscales, low, weight.up, flat.shape[0])
    return out.reshape(*x.shape[:-1], out.shape[-1])
