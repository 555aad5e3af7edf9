"""The benchmarks: for every class of ops a few sizes, from next to nothing upwards, in the forms in which real models use them.

Outputs are allocated anew each time, as in a model: on a CPU the first touch of fresh memory is a good part of what a large op costs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

Work = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Series:
    """Benchmarks of one kind in ascending cost; once one takes too long, those after it are left out."""

    name: str
    makers: tuple[Callable[[], Work], ...]
    """Each makes its inputs, and gives what is to be timed."""


def filled(shape: Sequence[int], dtype: torch.dtype, device: str) -> Tensor:
    """A tensor of random numbers, repeated so that a large one is made fast."""
    numel = math.prod(shape)
    few = torch.randn(min(numel, 2**16), device=device).to(dtype)
    return few.repeat(-(-numel // few.numel()))[:numel].view(*shape)


def all_series(device: str, dtypes: Sequence[torch.dtype], largest_bytes: int) -> Iterator[Series]:
    """Every benchmark.

    Args:
        device: `"cpu"` or `"cuda"`.
        dtypes: what to measure in; the first is fp32.
        largest_bytes: no tensor is made larger than this.
    """
    for dtype in dtypes:
        yield from _products(device, dtype)
        yield from _attentions(device, dtype)
        yield from _convolutions(device, dtype)
        yield from _memory(device, dtype, largest_bytes)


def _series(name: str, dtype: torch.dtype, makers: Sequence[Callable[[], Work]]) -> Series:
    return Series(f"{name} {str(dtype).removeprefix('torch.')}", tuple(makers))


def _bound(function: Callable[..., Any], *sizes: Any) -> Callable[[], Work]:
    return lambda: function(*sizes)


_FLOPS_CPU = (1e6, 1e7, 1e8, 1e9, 1e10)
_FLOPS_GPU = (1e8, 1e9, 1e10, 1e11, 1e12, 1e13)


def _flops(device: str) -> tuple[float, ...]:
    return _FLOPS_CPU if device == "cpu" else _FLOPS_GPU


def _products(device: str, dtype: torch.dtype) -> Iterator[Series]:
    """Linear layers of a width, over as many tokens as make up the FLOPs."""

    def linear(tokens: int, width: int) -> Work:
        x, weight, bias = (filled(s, dtype, device) for s in ((tokens, width), (width, width), (width,)))
        return lambda: F.linear(x, weight, bias)

    widths = (16, 64, 256, 1024) if device == "cpu" else (64, 256, 1024, 4096)
    yield _series("matmul, smallest", dtype, [_bound(linear, 8, 8)])
    for width in widths:
        tokens = [round(flops / (2 * width * width)) for flops in _flops(device)]
        yield _series(f"matmul {width}", dtype, [_bound(linear, m, width) for m in tokens if m >= width])


def _attentions(device: str, dtype: torch.dtype) -> Iterator[Series]:
    """Self-attention over long sequences by head size, and over very short ones (time steps of each pixel)."""

    def attend(batch: int, heads: int, length: int, head_dim: int) -> Work:
        # as models have it: heads are cut from the width of each token
        shape = (batch, length, heads, head_dim)
        q, k, v = (filled(shape, dtype, device).transpose(1, 2) for _ in range(3))
        return lambda: F.scaled_dot_product_attention(q, k, v)

    yield _series("attention, smallest", dtype, [_bound(attend, 1, 1, 8, 8)])
    lengths = (70, 130, 270, 530, 1050, 2100, 4200) if device == "cpu" else (512, 1024, 4096, 16384, 32768)
    heads = 4 if device == "cpu" else 16
    for head_dim in (32, 64, 128):
        makers = [_bound(attend, 1, heads, n, head_dim) for n in lengths if n >= head_dim]
        yield _series(f"attention {head_dim}", dtype, makers)
    for length in (5, 16):
        makers = [_bound(attend, batch, 4, length, 32) for batch in (16, 256, 4096)]
        yield _series(f"attention over {length}", dtype, makers)


def _convolutions(device: str, dtype: torch.dtype) -> Iterator[Series]:
    """Kernels of 3 in every direction, padded, by the number of channels."""

    def flat(channels: int, size: int, groups: int = 1) -> Work:
        x = filled((1, channels, size, size), dtype, device)
        weight = filled((channels, channels // groups, 3, 3), dtype, device)
        return lambda: F.conv2d(x, weight, padding=1, groups=groups)

    def solid(channels: int, frames: int, size: int, batch: int) -> Work:
        x = filled((batch, channels, frames, size, size), dtype, device)
        weight = filled((channels, channels, 3, 3, 3), dtype, device)
        return lambda: F.conv3d(x, weight, padding=1)

    def narrow(channels: int, out_channels: int, frames: int, size: int) -> Work:
        x = filled((1, channels, frames, size, size), dtype, device)
        weight = filled((out_channels, channels, 3, 3, 3), dtype, device)
        return lambda: F.conv3d(x, weight)

    channels = (4, 16, 64, 256) if device == "cpu" else (32, 128, 512)
    yield _series("conv2d, smallest", dtype, [_bound(flat, 4, 4)])
    for c in channels:
        sizes = [round(math.sqrt(flops / (18 * c * c))) for flops in _flops(device)]
        yield _series(f"conv2d {c}", dtype, [_bound(flat, c, n) for n in sizes if 4 <= n <= 2048])
    yield _series("conv_depthwise, smallest", dtype, [_bound(flat, 8, 4, 8)])
    yield _series("conv_depthwise", dtype, [_bound(flat, 64, n, 64) for n in (16, 64, 128, 256)])
    # batch 2 takes oneDNN on a CPU, a small batch of 1 does not (see `_opclass`)
    yield _series("conv3d, smallest", dtype, [_bound(solid, 4, 1, 4, 2)])
    for c in channels:
        sizes = [round(math.sqrt(flops / (54 * c * c * 4 * 2))) for flops in _flops(device)]
        yield _series(f"conv3d {c}", dtype, [_bound(solid, c, 4, n, 2) for n in sizes if 4 <= n <= 1024])
    if device == "cpu" and dtype == torch.float32:
        yield _series("conv3d_small, smallest", dtype, [_bound(narrow, 4, 4, 3, 4)])
        for c, frames, sides in ((4, 6, (8, 32, 96)), (16, 11, (8, 32, 96)), (64, 5, (8, 16, 32, 56))):
            makers = [_bound(narrow, max(16, c), c, frames, n) for n in sides]
            yield _series(f"conv3d_small {c}", dtype, makers)


def _memory(device: str, dtype: torch.dtype, largest_bytes: int) -> Iterator[Series]:
    """Everything that only moves or maps numbers, by bytes."""
    sizes = [2**k for k in (9, 14, 16, 18, 20, 22, 24, 26, 28) if 2**k * dtype.itemsize <= largest_bytes]
    other = torch.bfloat16 if dtype == torch.float32 else torch.float32

    def of(numel: int, width: int = 256) -> Tensor:
        return filled((numel // width, width), dtype, device)

    def two(numel: int) -> Work:
        x, y = of(numel), of(numel)
        return lambda: x + y

    def picture(numel: int) -> Tensor:
        side = max(1, round(math.sqrt(numel / 128)))
        return filled((1, 32, 4 * side, side), dtype, device)

    def joined(numel: int) -> Work:
        x, y = of(numel), of(numel)
        return lambda: torch.cat([x, y], dim=-1)

    def gathered(numel: int) -> Work:
        x = of(numel)
        rows = torch.arange(x.shape[0] - 1, -1, -1, device=device)
        return lambda: x.index_select(0, rows)

    def mapped(function: Callable[[Tensor], object]) -> Callable[[int], Work]:
        def make(numel: int) -> Work:
            x = of(numel)
            return lambda: function(x)

        return make

    def pictured(function: Callable[[Tensor], object]) -> Callable[[int], Work]:
        def make(numel: int) -> Work:
            x = picture(numel)
            return lambda: function(x)

        return make

    ops: dict[str, Callable[[int], Work]] = {
        "elementwise": two,
        "gelu": mapped(lambda x: F.gelu(x, approximate="tanh")),
        "activation": mapped(F.silu),
        "norm": mapped(lambda x: F.layer_norm(x, (256,))),
        "group_norm": pictured(lambda x: F.group_norm(x, 32)),
        "softmax": mapped(lambda x: F.softmax(x, dim=-1)),
        "reduction": mapped(lambda x: x.mean(-1, keepdim=True)),
        "vector_norm": pictured(
            lambda x: torch.linalg.vector_norm(x.view(1, 16, -1, x.shape[-1]), 2, 1, True)
        ),
        "copy": joined,
        "permute": mapped(lambda x: x.view(x.shape[0] // 2, 2, 4, 64).transpose(1, 2).contiguous()),
        "cast": mapped(lambda x: x.to(other)),
        "gather": gathered,
        "upsample": pictured(lambda x: F.interpolate(x, scale_factor=2.0, mode="nearest-exact")),
        "random": mapped(torch.randn_like),
        "fill": mapped(torch.zeros_like),
    }
    for name, make in ops.items():
        yield _series(f"memory.{name}", dtype, [_bound(make, n) for n in sizes if n >= 512])
