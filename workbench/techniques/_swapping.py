"""Block swap: some blocks of a denoiser stay on the GPU, the others come for their forward, by diffusers' own hooks.

diffusers offloads all blocks of a model or none (huggingface/diffusers#10999 asks for some). Its hooks do not mind, though: a block
without one stays where it is, and the chain in which each block fetches the next one is found out from the blocks that have a hook.
This file touches the GPU.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from diffusers.hooks.group_offloading import (
    _GROUP_ID_LAZY_LEAF,
    GroupOffloadingConfig,
    GroupOffloadingType,
    ModuleGroup,
    _apply_group_offloading_hook,
    _apply_lazy_group_offloading_hook,
)
from torch import nn

from workbench.cost.residency import spread
from workbench.cost.weigh import grouped_blocks


@dataclass(frozen=True, kw_only=True, slots=True)
class Swap:
    """Where blocks go, and how."""

    device: torch.device
    stream: torch.Stream | None
    fetches_ahead: bool
    """Whether a block fetches the next one before it computes; with a stream, this takes no time of the compute."""
    low_cpu_mem_usage: bool
    disk: str | None

    def config(self, module: nn.Module) -> GroupOffloadingConfig:
        """The same in diffusers' words."""
        return GroupOffloadingConfig(
            onload_device=self.device,
            offload_device=torch.device("cpu"),
            offload_type=GroupOffloadingType.BLOCK_LEVEL,
            non_blocking=False,
            record_stream=False,
            low_cpu_mem_usage=self.low_cpu_mem_usage,
            num_blocks_per_group=1,
            offload_to_disk_path=self.disk,
            stream=self.stream,
            exclude_kwargs=getattr(module, "_skip_keys", None),
        )


def swapped_blocks(module: nn.Module, staying: int) -> list[nn.Module]:
    """The blocks of a model that move when `staying` of them stay."""
    _, blocks = grouped_blocks(module)
    return [block for block, stays in zip(blocks, spread(len(blocks), staying), strict=True) if not stays]


def swap(module: nn.Module, staying: int, how: Swap) -> int:
    """Puts everything but the blocks that move on the GPU, and hooks on these.

    Returns:
        how many blocks move.
    """
    moving = swapped_blocks(module, staying)
    _move_around(module, frozenset(moving), how.device)
    config = how.config(module)
    groups = [_group([block], block, config, f"swapped_{k}") for k, block in enumerate(moving)]
    for block, group in zip(moving, groups, strict=True):
        _apply_group_offloading_hook(block, group, config=config)
    if how.fetches_ahead and moving:
        # a group of nothing: its hook on the model itself fetches the first block when the forward begins
        nothing = _group([], module, config, _GROUP_ID_LAZY_LEAF)
        _apply_lazy_group_offloading_hook(module, nothing, config=config)
    return len(moving)


def _group(
    modules: list[nn.Module], leader: nn.Module, config: GroupOffloadingConfig, name: str
) -> ModuleGroup:
    return ModuleGroup(
        modules=modules,
        offload_device=config.offload_device,
        onload_device=config.onload_device,
        offload_leader=leader,
        onload_leader=leader,
        non_blocking=config.non_blocking,
        stream=config.stream if modules else None,
        record_stream=config.record_stream,
        low_cpu_mem_usage=config.low_cpu_mem_usage,
        onload_self=True,
        offload_to_disk_path=config.offload_to_disk_path if modules else None,
        group_id=name,
    )


def _move_around(module: nn.Module, moving: frozenset[nn.Module], device: torch.device) -> None:
    """Moves everything of a module but these parts of it."""
    if module in moving:
        return
    if moving.isdisjoint(module.modules()):
        nn.Module.to(module, device)
        return
    module._apply(lambda tensor: tensor.to(device), recurse=False)
    for child in module.children():
        _move_around(child, moving, device)
