"""Layouts of results where devices differ from the meta device."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch._prims_common import suggest_memory_format


def as_on_a_device(func: Any, args: tuple[Any, ...], out: Any) -> Any:
    """The result of an op on meta tensors, laid out as CPUs and GPUs lay it out.

    A convolution of channels-last data makes channels-last data (ATen/native/ConvUtils.h, `cudnn_conv_suggest_memory_format` and
    `mkldnn_conv_use_channels_last`), which the meta device makes contiguous: a permutation that is free afterwards would be a copy.
    """
    if func is not torch.ops.aten.convolution.default:
        return out
    image, weight = args[:2]
    last = torch.channels_last if image.dim() == 4 else torch.channels_last_3d
    if image.dim() < 4 or last not in (suggest_memory_format(image), suggest_memory_format(weight)):
        return out
    made: Tensor = torch.empty(out.shape, dtype=out.dtype, device="meta", memory_format=last)
    return made
