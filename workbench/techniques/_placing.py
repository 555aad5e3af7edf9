"""Calls diffusers' offloading on a real pipeline and undoes it. This file touches the GPU."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import torch

from workbench.techniques._technique import Handle
from workbench.techniques._tensors import (
    drop_plain_forward,
    modules_of,
    move,
    stores,
)

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline


def onload_device() -> torch.device | None:
    """The GPU, or None on a machine without one."""
    return torch.device("cuda") if torch.cuda.is_available() else None


def place(pipe: DiffusionPipeline, mode: str, device: torch.device, handle: Handle) -> None:
    """Modes `none`, `model` and `sequential`; the handle brings every component back to where it is now."""
    bring_back(pipe, handle)
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


def bring_back(pipe: DiffusionPipeline, handle: Handle) -> None:
    """Has the handle bring every component back to where it is now."""
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


def _remove_accelerate_hooks(pipe: DiffusionPipeline) -> None:
    pipe.remove_all_hooks()
    for module in modules_of(pipe).values():
        for part in module.modules():
            drop_plain_forward(part)
