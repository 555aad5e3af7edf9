"""Quantised weights that torchao lacks, as torchao tensors: 4-bit normal float (NF4) and bitsandbytes' int8.

A layer keeps its class and only its weight is replaced, so everything that handles torchao weights handles these (device moves, pinning,
diffusers' group offloading). accelerate knows such weights by the word `torchao` in their module's name; hence this file's.
Packing and unpacking are ops of their own, so that a trace without weights holds the same ops as a run; the numbers come from
bitsandbytes' kernels where it is installed (on CUDA it must be) and from plain PyTorch otherwise.
"""

from __future__ import annotations

import importlib
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear

from workbench.models._quiet import quiet_imports

with quiet_imports():
    from torchao.utils import TorchAOBaseTensor

NF4_BLOCK = 64
"""Weights that share a scale; the default of bitsandbytes, whose layout this is: two weights per byte, the first in the high half."""

_NF4_CODE = (
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453,
    -0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0,
    0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
)  # fmt: skip
"""The 16 values of 4-bit normal float: QLoRA (Dettmers et al. 2023, arXiv 2305.14314), appendix E."""


@torch.library.custom_op("workbench::dequantize_nf4", mutates_args=())
def dequantize_nf4(packed: Tensor, absmax: Tensor, rows: int, columns: int, dtype: torch.dtype) -> Tensor:
    """The weight that was packed, [rows, columns] in `dtype`."""
    if packed.is_cuda:
        importlib.import_module("bitsandbytes")  # registers the kernel
        return torch.ops.bitsandbytes.dequantize_4bit(
            packed.view(-1, 1), absmax, NF4_BLOCK, "nf4", [rows, columns], dtype
        )
    code = torch.tensor(_NF4_CODE, device=packed.device)
    halves = torch.stack((packed >> 4, packed & 15), dim=-1)
    values = code[halves.flatten().long()].view(-1, NF4_BLOCK) * absmax.unsqueeze(1)
    return values.view(rows, columns).to(dtype)


@dequantize_nf4.register_fake
def _(packed: Tensor, absmax: Tensor, rows: int, columns: int, dtype: torch.dtype) -> Tensor:
    return packed.new_empty(rows, columns, dtype=dtype)


class Nf4Tensor(TorchAOBaseTensor):
    """A weight in 4-bit normal float: 4.5 bits per weight, scales included."""

    tensor_data_names = ["packed", "absmax"]  # noqa: RUF012  # read by TorchAOBaseTensor, which wants lists
    tensor_attribute_names = ["rows", "columns", "dtype"]  # noqa: RUF012

    def __new__(
        cls, packed: Tensor, absmax: Tensor, rows: int, columns: int, dtype: torch.dtype
    ) -> Nf4Tensor:
        return torch.Tensor._make_wrapper_subclass(cls, (rows, columns), dtype=dtype, device=packed.device)

    def __init__(self, packed: Tensor, absmax: Tensor, rows: int, columns: int, dtype: torch.dtype) -> None:
        self.packed, self.absmax = packed, absmax
        self.rows, self.columns = rows, columns

    @classmethod
    def of(cls, weight: Tensor) -> Nf4Tensor:
        """Packs a weight [rows, columns] whose size is a multiple of `NF4_BLOCK`."""
        blocks = weight.detach().float().view(-1, NF4_BLOCK)
        absmax = blocks.abs().amax(dim=1)
        code = torch.tensor(_NF4_CODE, device=weight.device)
        scaled = blocks / absmax.clamp_min(torch.finfo(torch.float32).tiny).unsqueeze(1)
        nearest = torch.bucketize(scaled, (code[1:] + code[:-1]) / 2).view(-1, 2).to(torch.uint8)
        return cls(nearest[:, 0] << 4 | nearest[:, 1], absmax, weight.shape[0], weight.shape[1], weight.dtype)


@Nf4Tensor.implements_torch_function([linear])
def _(func: Any, types: Any, args: tuple[Any, ...], kwargs: dict[str, Any] | None) -> Tensor:
    x, weight, bias = _linear_arguments(args, kwargs)
    return linear(x, dequantize_nf4(weight.packed, weight.absmax, weight.rows, weight.columns, x.dtype), bias)


class BitsandbytesInt8Tensor(TorchAOBaseTensor):
    """A weight for bitsandbytes' int8 product: one scale per output channel, activations scaled per token on the way in.

    Without the outlier columns of LLM.int8(): which columns those are depends on the values, so no prediction could know their memory.
    """

    tensor_data_names = ["codes", "scale"]  # noqa: RUF012
    tensor_attribute_names = ["dtype"]  # noqa: RUF012

    def __new__(cls, codes: Tensor, scale: Tensor, dtype: torch.dtype) -> BitsandbytesInt8Tensor:
        return torch.Tensor._make_wrapper_subclass(cls, codes.shape, dtype=dtype, device=codes.device)

    def __init__(self, codes: Tensor, scale: Tensor, dtype: torch.dtype) -> None:
        self.codes, self.scale = codes, scale

    @classmethod
    def of(cls, weight: Tensor) -> BitsandbytesInt8Tensor:
        """Quantises a weight [out, in]."""
        importlib.import_module("bitsandbytes")  # registers the ops
        codes, scale, _ = torch.ops.bitsandbytes.int8_vectorwise_quant(weight.detach().to(torch.float16), 0.0)
        return cls(codes, scale, weight.dtype)


@BitsandbytesInt8Tensor.implements_torch_function([linear])
def _(func: Any, types: Any, args: tuple[Any, ...], kwargs: dict[str, Any] | None) -> Tensor:
    x, weight, bias = _linear_arguments(args, kwargs)
    ops = torch.ops.bitsandbytes
    codes, scale, _ = ops.int8_vectorwise_quant(x.reshape(-1, x.shape[-1]).to(torch.float16), 0.0)
    product = ops.int8_linear_matmul(codes, weight.codes)
    del codes
    out = ops.int8_mm_dequant(product, scale, weight.scale).to(x.dtype)
    del product
    if bias is not None:
        out += bias.to(out.dtype)
    return out.view(*x.shape[:-1], -1)


def _linear_arguments(
    args: tuple[Any, ...], kwargs: dict[str, Any] | None
) -> tuple[Tensor, Any, Tensor | None]:
    """(input, weight, bias) of a call of `linear`, however they were passed."""
    given = dict(zip(("input", "weight", "bias"), args, strict=False)) | (kwargs or {})
    return given["input"], given["weight"], given.get("bias")
