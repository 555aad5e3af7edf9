"""Calls diffusers' offloading on a real pipeline and undoes it. This file touches the GPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from workbench.techniques._tensors import (
    drop_plain_forward,
    forget_hooks,
    modules_of,
    move,
    stores,
    with_registry,
)

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

Undo = Callable[[], None]

_GROUP_HOOKS = ("lazy_prefetch_group_offloading", "layer_execution_tracker", "group_offloading")
"""Names under which diffusers/hooks/group_offloading.py registers what it needs, outermost first."""


def onload_device() -> torch.device | None:
    """The GPU, or None on a machine without one."""
    return torch.device("cuda") if torch.cuda.is_available() else None


def bring_back(pipe: DiffusionPipeline) -> Undo:
    """Remembers where each component is; the result moves it back there."""
    before = {name: next(module.parameters()).device for name, module in modules_of(pipe).items()}

    def undo() -> None:
        for name, device in before.items():
            move(getattr(pipe, name), device)

    return undo


def whole_pipeline(pipe: DiffusionPipeline, device: torch.device) -> Undo:
    """Everything on the GPU."""
    for module in modules_of(pipe).values():
        move(module, device)
    return lambda: None


def by_component(pipe: DiffusionPipeline, device: torch.device) -> Undo:
    """One component at a time."""
    pipe.enable_model_cpu_offload(device=device)
    return lambda: _remove_accelerate_hooks(pipe)


def by_layer(pipe: DiffusionPipeline, device: torch.device) -> Undo:
    """One layer at a time."""
    pipe.enable_sequential_cpu_offload(device=device)
    return lambda: _remove_accelerate_hooks(pipe)


def by_group(
    pipe: DiffusionPipeline,
    device: torch.device,
    grouped: tuple[str, ...],
    blocks_per_group: int,
    stream: bool,
) -> Undo:
    """Groups of blocks of the named components at a time; everything else on the GPU."""
    from diffusers.hooks import apply_group_offloading

    options: dict[str, Any] = {
        "onload_device": device,
        "offload_device": torch.device("cpu"),
        "offload_type": "block_level",
        "num_blocks_per_group": blocks_per_group,
        "use_stream": stream,
    }
    hooked: list[tuple[nn.Module, frozenset[nn.Module]]] = []
    for name, module in modules_of(pipe).items():
        if name not in grouped:
            move(module, device)
            continue
        if callable(getattr(module, "enable_group_offload", None)):
            hooked.append((module, with_registry(module)))
            module.enable_group_offload(**options)
            continue
        owner = _block_owner(module)
        inside = {id(store[key]) for _, store, key in stores(owner)}
        for _, store, key in stores(module):
            if id(store[key]) not in inside:
                store[key].data = store[key].data.to(device)
        hooked.append((owner, with_registry(owner)))
        apply_group_offloading(owner, **options)

    def undo() -> None:
        for module, before in hooked:
            forget_hooks(module, _GROUP_HOOKS, before)

    return undo


def _block_owner(module: nn.Module) -> nn.Module:
    """The module whose child is the longest list of blocks: block-level offloading looks at direct children only."""
    owners = {
        owner: max(len(child) for child in owner.children() if isinstance(child, nn.ModuleList))
        for owner in module.modules()
        if any(isinstance(child, nn.ModuleList) for child in owner.children())
    }
    return max(owners, key=lambda owner: owners[owner]) if owners else module


def _remove_accelerate_hooks(pipe: DiffusionPipeline) -> None:
    pipe.remove_all_hooks()
    for module in modules_of(pipe).values():
        for part in module.modules():
            drop_plain_forward(part)
