"""bitsandbytes' 4-bit weights as torchao tensors: normal float (NF4) and float (FP4), scales plain or quantised again.

A weight is cut into blocks of 64 that share a scale, the largest magnitude among them. With double quantisation the scales themselves,
less their mean, are stored in 8 bits, in blocks of 256 with a scale each. Unpacking follows `dequantize_4bit` of bitsandbytes 0.50: the
scales are restored first, and live until the weight is. A prediction takes the same steps, so its temporaries are those of a run.
"""

from __future__ import annotations

import functools
import importlib
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear

from workbench.models._quiet import quiet_imports
from workbench.techniques._torchao_tensors import linear_arguments

with quiet_imports():
    from torchao.utils import TorchAOBaseTensor

BLOCK = 64
"""Weights that share a scale; the default of bitsandbytes, whose layout this is: two weights per byte, the first in the high half."""
SCALE_BLOCK = 256
"""Scales that share a scale, where they are quantised again."""

NF4_CODE = (
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453,
    -0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0,
    0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
)  # fmt: skip
"""The 16 values of 4-bit normal float: QLoRA (Dettmers et al. 2023, arXiv 2305.14314), appendix E."""
FP4_CODE = tuple(sign * twelfths / 12 for sign in (1, -1) for twelfths in (0, 0.0625, 8, 12, 4, 6, 2, 3))
"""The 16 values of bitsandbytes' FP4 (`get_4bit_type`): a sign, two bits of exponent, one of mantissa; zero is there twice."""
CODES = {"nf4": NF4_CODE, "fp4": FP4_CODE}


@functools.cache
def scale_code() -> tuple[float, ...]:
    """The 256 values of bitsandbytes' signed dynamic 8-bit type, ascending (Dettmers et al. 2022, arXiv 2110.02861, section 1.3).

    Seven decades; each has twice the values of the one below, at the middles of equal parts of [0.1, 1].
    """
    values = [0.0, 1.0]
    for decade in range(7):
        edges = torch.linspace(0.1, 1, 2**decade + 1, dtype=torch.float32)
        middles = (edges[:-1] + edges[1:]) / 2 * 10.0 ** (decade - 6)
        values += [*middles.tolist(), *(-middles).tolist()]
    return tuple(sorted(values))


@torch.library.custom_op("workbench::quantize_4bit", mutates_args=())
def quantize_4bit(weight: Tensor, code: str) -> tuple[Tensor, Tensor]:
    """(packed weights, scales in fp32) of a weight whose size is a multiple of `BLOCK`."""
    if weight.is_cuda:
        importlib.import_module("bitsandbytes")  # registers the kernel
        packed, absmax = torch.ops.bitsandbytes.quantize_4bit(weight, BLOCK, code, torch.uint8)
        return packed.flatten(), absmax
    blocks = weight.float().view(-1, BLOCK)
    absmax = blocks.abs().amax(dim=1)
    nearest = _nearest(blocks, absmax, CODES[code]).view(-1, 2)
    return nearest[:, 0] << 4 | nearest[:, 1], absmax


@quantize_4bit.register_fake
def _(weight: Tensor, code: str) -> tuple[Tensor, Tensor]:
    count = weight.numel()
    return weight.new_empty(count // 2, dtype=torch.uint8), weight.new_empty(
        count // BLOCK, dtype=torch.float32
    )


@torch.library.custom_op("workbench::quantize_scales", mutates_args=())
def quantize_scales(scales: Tensor) -> tuple[Tensor, Tensor]:
    """(scales in 8 bits, the scale of each `SCALE_BLOCK` of them)."""
    if scales.is_cuda:
        importlib.import_module("bitsandbytes")
        code = torch.tensor(scale_code(), device=scales.device)
        packed, largest = torch.ops.bitsandbytes.quantize_blockwise(scales, code, SCALE_BLOCK)
        return packed, largest
    count = scales.numel()
    padded = torch.nn.functional.pad(scales, (0, -count % SCALE_BLOCK)).view(-1, SCALE_BLOCK)
    largest = padded.abs().amax(dim=1)
    return _nearest(padded, largest, scale_code()).flatten()[:count].clone(), largest


@quantize_scales.register_fake
def _(scales: Tensor) -> tuple[Tensor, Tensor]:
    blocks = -(-scales.numel() // SCALE_BLOCK)
    return scales.new_empty(scales.numel(), dtype=torch.uint8), scales.new_empty(blocks, dtype=torch.float32)


@torch.library.custom_op("workbench::dequantize_4bit", mutates_args=())
def dequantize_4bit(
    packed: Tensor, absmax: Tensor, rows: int, columns: int, code: str, dtype: torch.dtype
) -> Tensor:
    """The weight that was packed, [rows, columns] in `dtype`; `code` is a key of `CODES`."""
    if packed.is_cuda:
        importlib.import_module("bitsandbytes")  # registers the kernel
        return torch.ops.bitsandbytes.dequantize_4bit(
            packed.view(-1, 1), absmax, BLOCK, code, [rows, columns], dtype
        )
    halves = torch.stack((packed >> 4, packed & 15), dim=-1)
    values = torch.tensor(CODES[code], device=packed.device)[halves.flatten().long()].view(
        -1, BLOCK
    ) * absmax.unsqueeze(1)
    return values.view(rows, columns).to(dtype)


@dequantize_4bit.register_fake
def _(packed: Tensor, absmax: Tensor, rows: int, columns: int, code: str, dtype: torch.dtype) -> Tensor:
    return packed.new_empty(rows, columns, dtype=dtype)


@torch.library.custom_op("workbench::dequantize_scales", mutates_args=())
def dequantize_scales(scales: Tensor, scale_of_scales: Tensor) -> Tensor:
    """Scales in 8 bits as fp32, without the mean that was taken off them."""
    code = torch.tensor(scale_code(), device=scales.device)
    if scales.is_cuda:
        importlib.import_module("bitsandbytes")
        return torch.ops.bitsandbytes.dequantize_blockwise(
            scales, scale_of_scales, code, SCALE_BLOCK, torch.float32
        )
    return code[scales.long()] * scale_of_scales.repeat_interleave(SCALE_BLOCK)[: scales.numel()]


@dequantize_scales.register_fake
def _(scales: Tensor, scale_of_scales: Tensor) -> Tensor:
    return scales.new_empty(scales.shape, dtype=torch.float32)


class FourBitTensor(TorchAOBaseTensor):
    """A weight in 4 bits: 4.5 bits per weight with its scales, 4.127 with scales that are quantised again."""

    tensor_data_names = ["packed", "absmax"]  # noqa: RUF012  # read by TorchAOBaseTensor, which wants lists
    tensor_attribute_names = ["rows", "columns", "code", "dtype"]  # noqa: RUF012
    optional_tensor_data_names = ["scale_of_scales", "offset"]  # noqa: RUF012

    def __new__(
        cls,
        packed: Tensor,
        absmax: Tensor,
        rows: int,
        columns: int,
        code: str,
        dtype: torch.dtype,
        scale_of_scales: Tensor | None = None,
        offset: Tensor | None = None,
    ) -> FourBitTensor:
        return torch.Tensor._make_wrapper_subclass(cls, (rows, columns), dtype=dtype, device=packed.device)

    def __init__(
        self,
        packed: Tensor,
        absmax: Tensor,
        rows: int,
        columns: int,
        code: str,
        dtype: torch.dtype,
        scale_of_scales: Tensor | None = None,
        offset: Tensor | None = None,
    ) -> None:
        self.packed, self.absmax = packed, absmax
        self.scale_of_scales, self.offset = scale_of_scales, offset
        self.rows, self.columns, self.code = rows, columns, code

    @classmethod
    def of(cls, weight: Tensor, code: str, *, double: bool = False) -> FourBitTensor:
        """Packs a weight [rows, columns] whose size is a multiple of `BLOCK`."""
        packed, absmax = quantize_4bit(weight.detach(), code)
        shape = weight.shape[0], weight.shape[1]
        if not double:
            return cls(packed, absmax, *shape, code, weight.dtype)
        offset = absmax.mean()
        scales, largest = quantize_scales(absmax - offset)
        return cls(packed, scales, *shape, code, weight.dtype, largest, offset)

    def restored(self, dtype: torch.dtype) -> Tensor:
        """The weight in `dtype`."""
        absmax = self.absmax
        if self.scale_of_scales is not None:
            absmax = dequantize_scales(self.absmax, self.scale_of_scales)
            absmax += self.offset
        return dequantize_4bit(self.packed, absmax, self.rows, self.columns, self.code, dtype)


def _nearest(blocks: Tensor, largest: Tensor, values: tuple[float, ...]) -> Tensor:
    """The index among `values` that is nearest to each number, in uint8, after division by its block's largest magnitude."""
    scaled = blocks / largest.clamp_min(torch.finfo(torch.float32).tiny).unsqueeze(1)
    ascending = sorted(set(values))
    index_of = torch.tensor(
        [values.index(value) for value in ascending], dtype=torch.uint8, device=blocks.device
    )
    code = torch.tensor(ascending, device=blocks.device)
    found = torch.bucketize(scaled, (code[1:] + code[:-1]) / 2)
    return index_of[found]


@FourBitTensor.implements_torch_function([linear])
def _(func: Any, types: Any, args: tuple[Any, ...], kwargs: dict[str, Any] | None) -> Tensor:
    x, weight, bias = linear_arguments(args, kwargs)
    return linear(x, weight.restored(x.dtype), bias)
