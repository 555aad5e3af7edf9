"""Mode `group` of offloading on a real pipeline: calls diffusers' hooks, and undoes them. This file touches the GPU and the disk."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import safetensors.torch
import torch
from diffusers.hooks.group_offloading import ModuleGroup
from torch import nn

from workbench._errors import InputError, SettingsError
from workbench.cost.weigh import grouped_blocks
from workbench.techniques._grouping import Grouping
from workbench.techniques._placing import bring_back
from workbench.techniques._swapping import Swap, swap
from workbench.techniques._technique import Handle
from workbench.techniques._tensors import forget_hooks, modules_of, move, stores, with_registry

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

_GROUP_HOOKS = ("lazy_prefetch_group_offloading", "layer_execution_tracker", "group_offloading")
"""Names under which diffusers/hooks/group_offloading.py registers what it needs, outermost first."""


def place_groups(
    pipe: DiffusionPipeline,
    grouped: tuple[str, ...],
    device: torch.device,
    handle: Handle,
    grouping: Grouping,
) -> None:
    """Groups of weights of the named components at a time, everything else on the GPU.

    Raises:
        InputError: the folder of `disk` does not exist.
        SettingsError: a component that shall wait in files shares weights between its layers.
    """
    bring_back(pipe, handle)
    for name, module in modules_of(pipe).items():
        if name not in grouped:
            move(module, device)
            continue
        folder = _folder(grouping.disk, name, handle)
        owner = grouped_blocks(module)[0]
        if grouping.disk is not None:
            _check_untied(name, owner)
        handle.undoing(functools.partial(forget_hooks, owner, _GROUP_HOOKS, with_registry(owner)))
        if grouping.disk is not None:
            handle.undoing(functools.partial(_read_back, owner))
        if grouping.staying(name):
            how = Swap(
                device=device,
                stream=_stream(device) if grouping.stream else None,
                fetches_ahead=grouping.stream,
                low_cpu_mem_usage=grouping.low_cpu_mem_usage,
                disk=folder,
            )
            if not swap(module, grouping.staying(name), how):
                handle.did(
                    f"all blocks of {name} stay on {device}: it has no more than {grouping.resident_blocks}"
                )
        else:
            _group(module, owner, device, grouping, folder)


def _group(
    module: nn.Module, owner: nn.Module, device: torch.device, grouping: Grouping, folder: str | None
) -> None:
    from diffusers.hooks import apply_group_offloading

    options: dict[str, Any] = {
        "onload_device": device,
        "offload_device": torch.device("cpu"),
        "offload_type": grouping.offload_type,
        "num_blocks_per_group": grouping.blocks_per_group,
        "use_stream": grouping.stream,
        "low_cpu_mem_usage": grouping.low_cpu_mem_usage,
        "offload_to_disk_path": folder,
    }
    if callable(getattr(module, "enable_group_offload", None)):
        module.enable_group_offload(**options)
    else:
        _move_outside(module, owner, device)
        apply_group_offloading(owner, **options)


def _stream(device: torch.device) -> torch.Stream:
    return torch.Stream(device)


def _folder(disk: str | None, name: str, handle: Handle) -> str | None:
    """A new folder for one component's files. diffusers names a group's file by the group's place in its model, and takes a file of that
    name for the group's own: two components in one folder, or two runs, would be given each other's weights."""
    if disk is None:
        return None
    if not Path(disk).is_dir():
        raise InputError(f"disk of offload must be a folder that exists, got {disk!r}")
    folder = tempfile.TemporaryDirectory(prefix=f"{name}-", dir=disk)
    handle.undoing(folder.cleanup)
    return folder.name


def _check_untied(name: str, owner: nn.Module) -> None:
    """diffusers writes a group's file and empties its tensors, group after group: what a second group holds too is then lost."""
    seen: dict[int, str] = {}
    for path, store, key in stores(owner):
        first = seen.setdefault(id(store[key]), path)
        if first != path:
            raise SettingsError(f"disk of offload cannot take {name}: {first} and {path} are one tensor")


def _read_back(owner: nn.Module) -> None:
    """Reads the weights of groups back from their files: diffusers keeps them nowhere else, and has no way to be switched off."""
    for part in with_registry(owner):
        hook = part._diffusers_hook.get_hook("group_offloading")
        if hook is not None:
            _read(hook.group)


def _read(group: ModuleGroup) -> None:
    if group.offload_to_disk_path is None:
        return
    read = safetensors.torch.load_file(group.safetensors_file_path, device="cpu")
    for tensor, key in group.tensor_to_key.items():
        # a copy: the file, in whose pages these tensors are, goes away
        tensor.data = read[key].clone()


def _move_outside(module: nn.Module, owner: nn.Module, device: torch.device) -> None:
    """Moves what belongs to a module but not to the part of it that is offloaded."""
    inside = {id(store[key]) for _, store, key in stores(owner)}
    for _, store, key in stores(module):
        if id(store[key]) not in inside:
            store[key].data = store[key].data.to(device)
