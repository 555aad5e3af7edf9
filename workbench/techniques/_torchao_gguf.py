"""Weights in the block formats of GGUF files, as torchao tensors.

A row of a weight is cut into blocks of 32 or 256; each block is a few bytes of scales and the packed numbers (ggml's block sizes, from
the package gguf). Restoring a weight is diffusers' own code (`quantizers/gguf/utils.py`), which works in plain PyTorch on fp16 and casts
the result: several temporaries, some larger than the weight. It is run as it is, on data and without, so a prediction has them all.
"""

from __future__ import annotations

import importlib
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear

from workbench.models._quiet import quiet_imports
from workbench.techniques._torchao_tensors import linear_arguments

with quiet_imports():
    from torchao.utils import TorchAOBaseTensor


def block_of(type_name: str) -> tuple[int, int]:
    """(weights, bytes) of a block of a type, `"Q4_K"`: (256, 144)."""
    gguf = importlib.import_module("gguf")
    weights, size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[type_name]]
    return int(weights), int(size)


class GgufTensor(TorchAOBaseTensor):
    """A weight as a GGUF file holds it."""

    tensor_data_names = ["blocks"]  # noqa: RUF012  # read by TorchAOBaseTensor, which wants lists
    tensor_attribute_names = ["columns", "type_name", "dtype"]  # noqa: RUF012

    def __new__(cls, blocks: Tensor, columns: int, type_name: str, dtype: torch.dtype) -> GgufTensor:
        shape = (blocks.shape[0], columns)
        return torch.Tensor._make_wrapper_subclass(cls, shape, dtype=dtype, device=blocks.device)

    def __init__(self, blocks: Tensor, columns: int, type_name: str, dtype: torch.dtype) -> None:
        self.blocks, self.columns, self.type_name = blocks, columns, type_name

    @classmethod
    def of(cls, weight: Tensor, type_name: str) -> GgufTensor:
        """Packs a weight [rows, columns] whose columns are a multiple of the type's block; without data it is laid out only."""
        gguf = importlib.import_module("gguf")
        rows, columns = weight.shape
        per_block, size = block_of(type_name)
        if weight.is_meta:
            blocks = torch.empty(rows, columns // per_block * size, dtype=torch.uint8, device="meta")
        else:
            packed = gguf.quants.quantize(
                weight.detach().float().cpu().numpy(), gguf.GGMLQuantizationType[type_name]
            )
            blocks = torch.from_numpy(packed).to(weight.device)
        return cls(blocks, columns, type_name, weight.dtype)

    def restored(self, dtype: torch.dtype) -> Tensor:
        """The weight in `dtype`, as `GGUFLinear` restores it."""
        with quiet_imports():
            diffusers = importlib.import_module("diffusers.quantizers.gguf.utils")
        gguf = importlib.import_module("gguf")
        blocks = diffusers.GGUFParameter(self.blocks, quant_type=gguf.GGMLQuantizationType[self.type_name])
        restored: Tensor = diffusers.dequantize_gguf_tensor(blocks)
        return restored.to(dtype)


@GgufTensor.implements_torch_function([linear])
def _(func: Any, types: Any, args: tuple[Any, ...], kwargs: dict[str, Any] | None) -> Tensor:
    x, weight, bias = linear_arguments(args, kwargs)
    restored = weight.restored(x.dtype)
    return linear(x, restored, None if bias is None else bias.to(x.dtype))
