"""A denoiser's layers as one pass meets them: the bytes of each and the compute until the next one is due."""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry


class _Slots(TorchDispatchMode):
    """Counts floating-point operations from layer to layer."""

    def __init__(self) -> None:
        super().__init__()
        self.layers: list[tuple[int, Counter[str]]] = [(0, Counter())]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        count = flop_registry.get(func._overloadpacket)
        if count is not None:
            kind = "attention" if "attention" in str(func) else "dense"
            self.layers[-1][1][kind] += count(*args, **(kwargs or {}), out_val=out)
        return out


@torch.no_grad()
def slots(module: nn.Module, inputs: dict[str, torch.Tensor], compute_s: float) -> list[tuple[int, float]]:
    """(bytes, seconds of compute until the next layer is due) of each layer with weights, in the order of a pass; in front, what comes
    before the first one. Compute is spread by floating-point operations.
    """
    mode = _Slots()

    def begins(layer: nn.Module, *_: Any) -> None:
        size = sum(p.nbytes for p in layer.parameters(recurse=False))
        mode.layers.append((size, Counter()))

    hooks = [
        layer.register_forward_pre_hook(begins)
        for layer in module.modules()
        if next(layer.parameters(recurse=False), None) is not None
    ]
    try:
        with mode:
            module(**inputs)
    finally:
        for hook in hooks:
            hook.remove()
    total = sum(sum(counts.values()) for _, counts in mode.layers)
    return [(size, compute_s * sum(counts.values()) / total) for size, counts in mode.layers]
