"""Calls diffusers' offloading on a real pipeline and undoes it. This file touches the GPU."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from workbench.techniques._technique import Handle
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

_GROUP_HOOKS = ("lazy_prefetch_group_offloading", "layer_execution_tracker", "group_offloading")
"""Names under which diffusers/hooks/group_offloading.py registers what it needs, outermost first."""


def onload_device() -> torch.device | None:
    """The GPU, or None on a machine without one."""
    return torch.device("cuda") if torch.cuda.is_available() else None


def place(pipe: DiffusionPipeline, mode: str, device: torch.device, handle: Handle) -> None:
    """Modes `none`, `model` and `sequential`; the handle brings every component back to where it is now."""
    _bring_back(pipe, handle)
    if mode == "none":
        for module in modules_of(pipe).values():
            move(module, device)
        return
    handle.undoing(functools.partial(_put_objects_back, _objects(pipe)))
    handle.undoing(lambda: _remove_accelerate_hooks(pipe))
    if mode == "model":
        pipe.enable_model_cpu_offload(device=device)
    else:
        pipe.enable_sequential_cpu_offload(device=device)


def place_groups(
    pipe: DiffusionPipeline,
    grouped: tuple[str, ...],
    device: torch.device,
    handle: Handle,
    *,
    blocks_per_group: int,
    stream: bool,
) -> None:
    """Mode `group`: groups of blocks of the named components at a time, everything else on the GPU."""
    from diffusers.hooks import apply_group_offloading

    _bring_back(pipe, handle)
    options: dict[str, Any] = {
        "onload_device": device,
        "offload_device": torch.device("cpu"),
        "offload_type": "block_level",
        "num_blocks_per_group": blocks_per_group,
        "use_stream": stream,
    }
    for name, module in modules_of(pipe).items():
        if name not in grouped:
            move(module, device)
        elif callable(getattr(module, "enable_group_offload", None)):
            handle.undoing(functools.partial(forget_hooks, module, _GROUP_HOOKS, with_registry(module)))
            module.enable_group_offload(**options)
        else:
            owner = _block_owner(module)
            _move_outside(module, owner, device)
            handle.undoing(functools.partial(forget_hooks, owner, _GROUP_HOOKS, with_registry(owner)))
            apply_group_offloading(owner, **options)


def _bring_back(pipe: DiffusionPipeline, handle: Handle) -> None:
    for module in modules_of(pipe).values():
        handle.undoing(functools.partial(move, module, next(module.parameters()).device))


def _objects(pipe: DiffusionPipeline) -> list[tuple[dict[str, Any], str, Any]]:
    return [
        (store, key, store[key]) for module in modules_of(pipe).values() for _, store, key in stores(module)
    ]


def _put_objects_back(before: list[tuple[dict[str, Any], str, Any]]) -> None:
    """accelerate leaves other `Parameter` objects with the same data behind, which unties tied weights."""
    for store, key, original in before:
        store[key] = original


def _move_outside(module: nn.Module, owner: nn.Module, device: torch.device) -> None:
    """Moves what belongs to a module but not to the part of it that is offloaded."""
    inside = {id(store[key]) for _, store, key in stores(owner)}
    for _, store, key in stores(module):
        if id(store[key]) not in inside:
            store[key].data = store[key].data.to(device)


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
