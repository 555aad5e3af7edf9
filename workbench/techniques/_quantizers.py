"""Quantises the layers of a component, on the meta device as on a real one, and undoes it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from workbench.cost._recorder import Recorder
from workbench.models._quiet import quiet_imports
from workbench.techniques._kinds import KINDS, SVDQ_PRECISIONS, gguf_type
from workbench.techniques._layerwise import store_small
from workbench.techniques._quantization_choice import Choice
from workbench.techniques._quantized_layers import INT4_GROUP, layers_of
from workbench.techniques._technique import Handle
from workbench.techniques._tensors import kept
from workbench.techniques._torchao_four_bits import FourBitTensor
from workbench.techniques._torchao_gguf import GgufTensor
from workbench.techniques._torchao_svdquant import SvdqTensor
from workbench.techniques._torchao_tensors import BitsandbytesInt8Tensor

with quiet_imports():
    import torchao.quantization as torchao
    from torchao.float8.inference import Float8MMConfig
    from torchao.quantization.quantize_.workflows import (
        Float8Tensor,
        Int4TilePackedTo4dTensor,
        Int8Tensor,
        QuantizeTensorToFloat8Kwargs,
        QuantizeTensorToInt8Kwargs,
    )

Undo = Callable[[], None]

_PER_ROW = torchao.PerRow()


def quantize(component: nn.Module, choice: Choice, handle: Handle) -> str:
    """Quantises a component in place; the handle puts each layer's weight back.

    Returns:
        What was done, for a report.
    """
    kind = choice.kind
    chosen, skipped = layers_of(component, choice)
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


def packing_bytes(shape: torch.Size, dtype: torch.dtype, kind: str) -> int:
    """The most that packing a weight takes beside it, the packed form included: traced, as the kernels of the kind's library do it.

    What is packed on the CPU alone (GGUF), by one kernel that cannot be traced (`int4wo`), or by a cast (`fp8_storage`) counts as it
    is stored.
    """
    weight = torch.empty(shape, dtype=dtype, device="meta")
    if kind == "fp8_storage":
        return weight.numel()
    recorder = Recorder()
    with torch.no_grad(), recorder:
        packed = _packed(weight, kind)
    del packed
    return recorder.trace(kind).peak()


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
        case "nf4" | "fp4":
            return FourBitTensor.of(weight, kind)
        case "nf4_double":
            return FourBitTensor.of(weight, "nf4", double=True)
        case "bnb8":
            return BitsandbytesInt8Tensor.of(weight)
        case "svdq_int4" | "svdq_fp4":
            return SvdqTensor.laid_out(weight, SVDQ_PRECISIONS[kind])
    if (type_name := gguf_type(kind)) is not None:
        return GgufTensor.of(weight, type_name)
    raise AssertionError(f"no quantiser for {kind}")


def _int4(weight: Tensor) -> Tensor:
    """torchao's tinygemm layout. Its packing runs on CUDA only; without weights the layout is laid out by hand."""
    if not weight.is_meta:
        packed = Int4TilePackedTo4dTensor.from_hp(weight.to("cuda"), [1, INT4_GROUP])
        return packed.to(weight.device)
    rows, columns = weight.shape
    padded = -(-columns // 1024) * 1024  # torchao pads to what the kernel reads at once
    return Int4TilePackedTo4dTensor(
        qdata=torch.empty(rows // 8, padded // 128, 32, 4, dtype=torch.int32, device="meta"),
        scale_and_zero=torch.empty(padded // INT4_GROUP, rows, 2, dtype=torch.bfloat16, device="meta"),
        block_size=[1, INT4_GROUP],
        shape=weight.shape,
    )
