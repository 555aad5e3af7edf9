"""Which layers of a component are quantised, by name, shape and what the component's class says of itself."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear

from workbench.models._quiet import quiet_imports
from workbench.techniques._kinds import SVDQ_PRECISIONS, gguf_type
from workbench.techniques._quantization_choice import Choice
from workbench.techniques._torchao_four_bits import BLOCK
from workbench.techniques._torchao_gguf import block_of
from workbench.techniques._torchao_svdquant import GROUPS

with quiet_imports():
    from diffusers.hooks.layerwise_casting import DEFAULT_SKIP_MODULES_PATTERN

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
INT4_GROUP = 128
"""torchao's default for tinygemm."""


def layers_of(component: nn.Module, choice: Choice) -> tuple[list[Any], tuple[str, ...]]:
    """(layers to quantise, names of layers that are left out).

    What the packing itself cannot take (a shape, a dtype) is left out whatever is chosen.
    """
    types = (nn.Linear, *_CONVOLUTIONS) if choice.kind == "fp8_storage" else (nn.Linear,)
    is_left = _left_alone(component, choice)
    chosen: list[Any] = []
    touched: set[str] = set()
    skipped: dict[str, None] = {}
    for name, layer in component.named_modules():
        if isinstance(layer, types):
            if is_left(name, layer) or not _fits(layer, choice.kind):
                skipped[_family(name)] = None
            else:
                chosen.append(layer)
                touched.add(name.split(".")[0])
    # a part of which nothing is quantised is named as a whole
    return chosen, tuple({name if (top := name.split(".")[0]) in touched else top: None for name in skipped})


def _left_alone(component: nn.Module, choice: Choice) -> Callable[[str, nn.Module], bool]:
    """Whether a layer, by its name, is to stay as it is."""
    kept_in_fp32 = tuple(getattr(component, "_keep_in_fp32_modules", None) or ())
    own = getattr(component, "_skip_layerwise_casting_patterns", None)
    patterns = list(choice.skip)
    if choice.layers == "insensitive":
        patterns += [*DEFAULT_SKIP_MODULES_PATTERN, *(own or ())]
    # T5 asks its `wo` for the stored dtype and would cast to it; torchao's weights answer with the dtype they compute in.
    # diffusers' layerwise casting leaves these layers out whatever it is told (`ModelMixin.enable_layerwise_casting`).
    if choice.kind == "fp8_storage" or (choice.layers == "insensitive" and own is not None):
        patterns += kept_in_fp32
    searches = [re.compile(pattern) for pattern in patterns]
    # diffusers and transformers compare whole parts of a name here
    parts = frozenset(kept_in_fp32) if choice.layers == "configured" else frozenset()
    output = _output_embedding(component) if choice.layers == "configured" else None

    def is_left(name: str, layer: nn.Module) -> bool:
        if choice.layers != "insensitive" and isinstance(layer, NonDynamicallyQuantizableLinear):
            return True  # the projection of `nn.MultiheadAttention`, whose weight is read past the layer
        return (
            layer is output
            or not parts.isdisjoint(name.split("."))
            or any(search.search(name) for search in searches)
        )

    return is_left


def _output_embedding(component: nn.Module) -> nn.Module | None:
    """The layer from hidden states to words, which transformers never quantises (`get_keys_to_not_convert`); None without one."""
    find = getattr(component, "get_output_embeddings", None)
    found = find() if find is not None else None
    return found if isinstance(found, nn.Module) else None


def _family(name: str) -> str:
    """A layer's name without the numbers of blocks, so that equal layers are named once."""
    return re.sub(r"\.\d+(?=\.|$)", "", name)


def _fits(layer: Any, kind: str) -> bool:
    """Whether the kind can pack a weight of this shape and dtype."""
    rows, columns = (int(size) for size in layer.weight.shape[:2])
    if (type_name := gguf_type(kind)) is not None:
        return columns % block_of(type_name)[0] == 0
    match kind:
        case "nf4" | "nf4_double" | "fp4":
            return rows * columns % BLOCK == 0
        case "svdq_int4" | "svdq_fp4":
            return columns % GROUPS[SVDQ_PRECISIONS[kind]] == 0
        case "int4wo":
            return columns % INT4_GROUP == 0 and rows % 8 == 0 and layer.weight.dtype == torch.bfloat16
        case "fp8dq":  # torch._scaled_mm: both sides multiples of 16; scales per row give bf16 only
            return rows % 16 == 0 and columns % 16 == 0 and layer.weight.dtype == torch.bfloat16
        case _:
            return True
