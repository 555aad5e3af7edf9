"""Quantised weights that torchao lacks, as torchao tensors: bitsandbytes' int8; those of 4 bits and of GGUF are in files beside this one.

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
    x, weight, bias = linear_arguments(args, kwargs)
    ops = torch.ops.bitsandbytes
    codes, scale, _ = ops.int8_vectorwise_quant(x.reshape(-1, x.shape[-1]).to(torch.float16), 0.0)
    product = ops.int8_linear_matmul(codes, weight.codes)
    del codes
    out = ops.int8_mm_dequant(product, scale, weight.scale).to(x.dtype)
    del product
    if bias is not None:
        out += bias.to(out.dtype)
    return out.view(*x.shape[:-1], -1)


def linear_arguments(
    args: tuple[Any, ...], kwargs: dict[str, Any] | None
) -> tuple[Tensor, Any, Tensor | None]:
    """(input, weight, bias) of a call of `linear`, however they were passed."""
    given = dict(zip(("input", "weight", "bias"), args, strict=False)) | (kwargs or {})
    return given["input"], given["weight"], given.get("bias")
