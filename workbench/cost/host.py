"""Host RAM: weights that wait there and their pinned copies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from workbench._units import GIB
from workbench.cost.residency import Placement, Residency, Weights

PROCESS_RAM_BYTES = round(0.4 * GIB)
"""Resident memory of a Python process that has imported torch and diffusers (0.39 GB, measured: torch 2.13, CPU build)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Waiting:
    """Where a component's weights wait, in bytes, while it does not compute and is not on the GPU."""

    ram: int = 0
    """Pageable host memory."""
    pinned: int = 0
    """Pinned host memory, as the pinned allocator rounds it."""
    disk: int = 0
    """Files."""

    @property
    def in_ram(self) -> int:
        """Host RAM of both kinds."""
        return self.ram + self.pinned


def waiting(held: Weights, placement: Placement) -> Waiting:
    """Where what is not always on the GPU waits.

    With a stream diffusers keeps every group in pinned memory and drops the original (`ModuleGroup._init_cpu_param_dict`), but for the
    group of what is outside the blocks, which has no stream; pinning late keeps the original, and pins one group at a time.
    """
    moving = held.total_bytes - held.idle_bytes(placement)
    if placement.mode == "resident":
        return Waiting()
    if placement.on_disk:
        return Waiting(disk=moving, pinned=_one_group_pinned(held, placement) if placement.stream else 0)
    if not placement.stream:
        return Waiting(ram=moving)
    if placement.pins_late:
        return Waiting(ram=moving, pinned=_one_group_pinned(held, placement))
    if placement.mode == "layers":
        return Waiting(pinned=held.pinned_bytes)
    pinned = sum(size for size, stays in _pinned_blocks(held, placement) if not stays)
    return Waiting(ram=moving - sum(held.groups(placement)), pinned=pinned)


def _pinned_blocks(held: Weights, placement: Placement) -> list[tuple[int, bool]]:
    return list(zip(held.blocks_pinned, held.stays(placement), strict=True))


def _one_group_pinned(held: Weights, placement: Placement) -> int:
    if placement.mode == "layers":
        # the pinned allocator rounds up to a power of two
        return 1 << max(0, held.leaf_window_bytes - 1).bit_length() if held.leaf_window_bytes else 0
    return max((size for size, stays in _pinned_blocks(held, placement) if not stays), default=0)


def host_ram(weights: Mapping[str, Weights], residency: Residency, frames_bytes: int = 0) -> int:
    """Host RAM at its highest while the pipeline runs or streams are set up: what waits there and the finished video. Loading comes
    before it (`loading`).

    Setting up a stream, diffusers pins copies of all blocks of a component while the originals are still there, component after
    component; layers are pinned one at a time. With the pinned allocator's rounding that comes to the 2.5-3 times the weights that its
    authors measured (diffusers pull request 13381).

    Args:
        frames_bytes: the finished video's frames (`frames.frames_ram_bytes`).
    """
    stays = [stay(held, residency.of(name)) for name, held in weights.items()]
    return PROCESS_RAM_BYTES + highest_ram(stays, frames_bytes)


@dataclass(frozen=True, kw_only=True, slots=True)
class Stay:
    """One component's part of the host RAM while a pipeline is set up and runs."""

    in_ram: int
    """What waits there."""
    before: int
    """What is there before its stream is set up."""
    copied: int
    """Pinned copies that are made while the originals are there; -1 where none are."""


def stay(held: Weights, placement: Placement) -> Stay:
    """A component's part, from its weights and where they are placed."""
    place = waiting(held, placement)
    return Stay(
        in_ram=place.in_ram,
        before=held.total_bytes if placement.mode != "resident" else 0,
        copied=place.pinned if _is_copied_whole(placement) else -1,
    )


def highest_ram(stays: Sequence[Stay], frames_bytes: int = 0) -> int:
    """`host_ram` without the process itself, from each component's part in the order in which they are set up."""
    highest = sum(part.in_ram for part in stays) + frames_bytes
    done, ahead = 0, sum(part.before for part in stays)
    for part in stays:
        if part.copied >= 0:
            highest = max(highest, done + ahead + part.copied)
        ahead -= part.before
        done += part.in_ram
    return highest


def _is_copied_whole(placement: Placement) -> bool:
    return (
        placement.mode == "blocks" and placement.stream and not placement.pins_late and not placement.on_disk
    )
