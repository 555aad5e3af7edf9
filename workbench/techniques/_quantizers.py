"""Quantises the layers of a component, on the meta device as on a real one, and undoes it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from workbench.models._quiet import quiet_imports
from workbench.techniques._kinds import KINDS
from workbench.techniques._layerwise import store_small
from workbench.techniques._technique import Handle
from workbench.techniques._tensors import kept
from workbench.techniques._torchao_tensors import NF4_BLOCK, BitsandbytesInt8Tensor, Nf4Tensor

with quiet_imports():
    import torchao.quantization as torchao
    from diffusers.hooks.layerwise_casting import DEFAULT_SKIP_MODULES_PATTERN
    from torchao.float8.inference import Float8MMConfig
    from torchao.quantization.quantize_.workflows import (
        Float8Tensor,
        Int4TilePackedTo4dTensor,
        Int8Tensor,
        QuantizeTensorToFloat8Kwargs,
        QuantizeTensorToInt8Kwargs,
    )

Undo = Callable[[], None]

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_INT4_GROUP = 128
"""torchao's default for tinygemm."""
_PER_ROW = torchao.PerRow()


def quantize(component: nn.Module, kind: str, handle: Handle) -> str:
    """Quantises a component in place; the handle puts each layer's weight back.

    Returns:
        What was done, for a report.
    """
    chosen, skipped = _layers(component, kind)
    laid_out: dict[tuple[torch.Size, torch.dtype], Any] = {}
    for layer in chosen:
        if kind == "fp8_storage":
            handle.undoing(store_small(layer, torch.float8_e4m3fn))
        else:
            handle.undoing(_replace_weight(layer, _packed_like(layer.weight, kind, laid_out)))
    if not chosen:
        return f"{kind} changed nothing, there is no layer that it can pack"
    left = f"; left as they are: {', '.join(skipped)}" if skipped else ""
    return f"{len(chosen)} layers hold {KINDS[kind].title}{left}"


def _replace_weight(layer: Any, packed: Tensor) -> Undo:
    original = layer.weight
    layer.weight = nn.Parameter(packed, requires_grad=False)
    original.data = kept(original.data)

    def undo() -> None:
        if not original.is_meta:
            original.data = original.data.to(layer.weight.device)
        layer.weight = original

    return undo


def _layers(component: nn.Module, kind: str) -> tuple[list[Any], tuple[str, ...]]:
    """(layers to quantise, names of linear layers that are left out)."""
    patterns = [
        *DEFAULT_SKIP_MODULES_PATTERN,
        *(getattr(component, "_skip_layerwise_casting_patterns", None) or ()),
    ]
    # T5 asks its `wo` for the stored dtype and would cast to it; torchao's weights answer with the dtype they compute in
    if kind == "fp8_storage" or getattr(component, "_skip_layerwise_casting_patterns", None) is not None:
        patterns += getattr(component, "_keep_in_fp32_modules", None) or ()
    types = (nn.Linear, *_CONVOLUTIONS) if kind == "fp8_storage" else (nn.Linear,)
    chosen: list[Any] = []
    touched: set[str] = set()
    skipped: dict[str, None] = {}
    for name, layer in component.named_modules():
        if isinstance(layer, types):
            if any(re.search(pattern, name) for pattern in patterns) or not _fits(layer, kind):
                skipped[_family(name)] = None
            else:
                chosen.append(layer)
                touched.add(name.split(".")[0])
    # a part of which nothing is quantised is named as a whole
    return chosen, tuple({name if (top := name.split(".")[0]) in touched else top: None for name in skipped})


def _family(name: str) -> str:
    """A layer's name without the numbers of blocks, so that equal layers are named once."""
    return re.sub(r"\.\d+(?=\.|$)", "", name)


def _fits(layer: Any, kind: str) -> bool:
    """Whether the kind can pack a weight of this shape and dtype."""
    rows, columns = layer.weight.shape[:2]
    match kind:
        case "nf4":
            return rows * columns % NF4_BLOCK == 0
        case "int4wo":
            return columns % _INT4_GROUP == 0 and rows % 8 == 0 and layer.weight.dtype == torch.bfloat16
        case "fp8dq":  # torch._scaled_mm: both sides multiples of 16; scales per row give bf16 only
            return rows % 16 == 0 and columns % 16 == 0 and layer.weight.dtype == torch.bfloat16
        case _:
            return True


def _packed_like(weight: Tensor, kind: str, laid_out: dict[tuple[torch.Size, torch.dtype], Any]) -> Tensor:
    """The quantised weight; one without data is laid out once per shape, and again in new storages."""
    if not weight.is_meta:
        return _packed(weight, kind)
    key = (weight.shape, weight.dtype)
    if key not in laid_out:
        laid_out[key] = _packed(weight, kind)
    return laid_out[key]._apply_fn_to_data(_alike)


def _alike(part: Tensor) -> Tensor:
    """`torch.empty_like`, which on the meta device goes through Python and takes ten times as long."""
    return torch.empty_strided(part.shape, part.stride(), dtype=part.dtype, device=part.device)


def _packed(weight: Tensor, kind: str) -> Tensor:
    """The quantised weight, on the device of the original."""
    match kind:
        case "int8wo":
            return Int8Tensor.from_hp(weight, _PER_ROW)
        case "int8dq":
            return Int8Tensor.from_hp(
                weight, _PER_ROW, act_quant_kwargs=QuantizeTensorToInt8Kwargs(granularity=_PER_ROW)
            )
        case "fp8wo":
            return Float8Tensor.from_hp(weight, granularity=_PER_ROW)
        case "fp8dq":
            return Float8Tensor.from_hp(
                weight,
                granularity=_PER_ROW,
                mm_config=Float8MMConfig(use_fast_accum=True),
                act_quant_kwargs=QuantizeTensorToFloat8Kwargs(granularity=_PER_ROW),
            )
        case "int4wo":
            return _int4(weight)
        case "nf4":
            return Nf4Tensor.of(weight)
        case "bnb8":
            return BitsandbytesInt8Tensor.of(weight)
    raise AssertionError(f"no quantiser for {kind}")


def _int4(weight: Tensor) -> Tensor:
    """torchao's tinygemm layout. Its packing runs on CUDA only; without weights the layout is laid out by hand."""
    if not weight.is_meta:
        packed = Int4TilePackedTo4dTensor.from_hp(weight.to("cuda"), [1, _INT4_GROUP])
        return packed.to(weight.device)
    rows, columns = weight.shape
    padded = -(-columns // 1024) * 1024  # torchao pads to what the kernel reads at once
    return Int4TilePackedTo4dTensor(
        qdata=torch.empty(rows // 8, padded // 128, 32, 4, dtype=torch.int32, device="meta"),
        scale_and_zero=torch.empty(padded // _INT4_GROUP, rows, 2, dtype=torch.bfloat16, device="meta"),
        block_size=[1, _INT4_GROUP],
        shape=weight.shape,
    )
