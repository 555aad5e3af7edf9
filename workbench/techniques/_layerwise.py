"""Layerwise casting that can be undone: weights wait in a small dtype and are cast for the time of their layer's forward.

diffusers' hook casts back after the forward, which costs a second kernel and gives every weight a new storage each time, and it refuses
to be removed. This one keeps the small tensor while the cast copy is in use, so the result is the same bit for bit, and puts the originals
back. It is registered under diffusers' own name, so that `model.dtype` and group offloading know about it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from diffusers.hooks.hooks import HookRegistry
from diffusers.hooks.layerwise_casting import LayerwiseCastingHook
from torch import Tensor, nn

from workbench.techniques._tensors import forget_hooks, kept, put_back, with_registry

NAME = "layerwise_casting"
"""diffusers/models/modeling_utils.py looks the hook up by this name."""


class StoredSmallHook(LayerwiseCastingHook):
    """Keeps a layer's parameters in `storage_dtype`, and hands its forward copies in `compute_dtype`."""

    def __init__(self, storage_dtype: torch.dtype, compute_dtype: torch.dtype) -> None:
        LayerwiseCastingHook.__init__(self, storage_dtype, compute_dtype, non_blocking=False)
        self._originals: dict[str, Tensor] = {}
        self._stored: dict[str, Tensor] = {}

    def initialize_hook(self, module: nn.Module) -> nn.Module:
        """Casts the parameters to the storage dtype."""
        for name, parameter in module._parameters.items():
            if parameter is not None:
                self._originals[name] = kept(parameter.data)
                parameter.data = parameter.data.to(self.storage_dtype)
        return module

    def deinitalize_hook(self, module: nn.Module) -> nn.Module:
        """Puts the original parameters back. (The name is diffusers'.)"""
        for name, original in self._originals.items():
            put_back(module._parameters, name, original)
        return module

    def pre_forward(
        self, module: nn.Module, *args: Any, **kwargs: Any
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Makes the copies to compute with."""
        for name, parameter in module._parameters.items():
            if parameter is not None:
                self._stored[name] = parameter.data
                parameter.data = parameter.data.to(self.compute_dtype)
        return args, kwargs

    def post_forward(self, module: nn.Module, output: Any) -> Any:
        """Drops them."""
        for name, stored in self._stored.items():
            module._parameters[name].data = stored
        self._stored.clear()
        return output


def store_small(layer: nn.Module, storage_dtype: torch.dtype) -> Callable[[], None]:
    """Hooks a layer, which computes in the dtype that it has now; the result takes the hook off again."""
    before = with_registry(layer)
    compute_dtype = next(layer.parameters()).dtype
    HookRegistry.check_if_exists_or_initialize(layer).register_hook(
        StoredSmallHook(storage_dtype, compute_dtype), NAME
    )
    return lambda: forget_hooks(layer, (NAME,), before)
