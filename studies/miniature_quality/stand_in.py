"""int4wo without its CUDA kernel: the same layers with weights rounded as torchao rounds them, computed in the network's own dtype.

The kernel multiplies bf16 by the restored weight; what is missing here is its rounding to bf16: the rows of dtype show that.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from workbench.models._quiet import quiet_imports
from workbench.techniques._quantization_choice import Choice
from workbench.techniques._quantized_layers import INT4_GROUP, layers_of

KIND = "int4wo"
_LARGEST = 15


def split(settings: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """(settings that run here, components whose weights are to be rounded beside them)."""
    chosen = settings.get("quantization", {})
    rounded = tuple(name for name, kind in chosen.items() if kind == KIND)
    left = {name: kind for name, kind in chosen.items() if name not in rounded}
    others = {name: value for name, value in settings.items() if name != "quantization"}
    return {**others, **({"quantization": left} if left else {})}, rounded


@contextmanager
def rounded(module: torch.nn.Module) -> Iterator[int]:
    """A network whose weights are what int4wo restores, then the originals again; gives the number of layers."""
    # which layers are chosen is decided as for int8wo: int4wo itself asks for bf16 weights, which only its kernel needs
    layers = [
        layer
        for layer in layers_of(module, Choice(kind="int8wo"))[0]
        if layer.weight.shape[1] % INT4_GROUP == 0 and layer.weight.shape[0] % 8 == 0
    ]
    originals = [layer.weight.data for layer in layers]
    for layer in layers:
        layer.weight.data = restored(layer.weight.data)
    try:
        yield len(layers)
    finally:
        for layer, original in zip(layers, originals, strict=True):
            layer.weight.data = original


def restored(weight: torch.Tensor) -> torch.Tensor:
    """A weight after torchao's rounding to four bits in groups of 128, in its own dtype (`Int4TilePackedTo4dTensor.from_hp`)."""
    with quiet_imports():
        from torchao.quantization import quant_primitives as primitives

    half, block = weight.to(torch.bfloat16), (1, INT4_GROUP)
    scale, zero = primitives._choose_qparams_affine_tinygemm(
        half,
        mapping_type=primitives.MappingType.ASYMMETRIC,
        block_size=block,
        target_dtype=torch.int32,
        quant_min=0,
        quant_max=_LARGEST,
        scale_dtype=half.dtype,
        zero_point_dtype=half.dtype,
    )
    packed = primitives._quantize_affine_tinygemm(
        half, block, scale, zero, torch.int32, quant_min=0, quant_max=_LARGEST
    )
    plain = primitives._dequantize_affine_tinygemm(
        packed,
        block,
        scale,
        zero,
        torch.int32,
        quant_min=0,
        quant_max=_LARGEST,
        output_dtype=torch.bfloat16,
    )
    return plain.to(weight.dtype)
