"""Where a component's weights are while the pipeline runs.

A `Placement` says how a component's weights reach the GPU; which technique asked for it is not known here. What each mode holds in
VRAM and moves over the host link follows the libraries that implement it:

- `resident`  all weights stay on the GPU.
- `whole`     all weights come when the component is called and leave when the next one is (accelerate's `cpu_offload_with_hook`,
              diffusers' `enable_model_cpu_offload`): on the GPU only one such component at a time.
- `leaves`    each leaf module's weights come for its own forward and are dropped after it (accelerate's `cpu_offload`).
- `blocks`    groups of `blocks_per_group` blocks come together (diffusers' group offloading); with `stream` the next group is
              fetched while this one computes, so two groups are on the GPU. Modules outside the block lists come as one group.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from workbench.cost._trace import round_up

Mode = Literal["resident", "whole", "leaves", "blocks"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Placement:
    """How one component's weights reach the GPU."""

    mode: Mode = "resident"
    blocks_per_group: int = 1
    """Blocks that move together; `blocks` only."""
    stream: bool = False
    """Whether the next group is fetched while this one computes; `blocks` only."""


RESIDENT = Placement()


@dataclass(frozen=True, kw_only=True, slots=True)
class Residency:
    """The placement of every component; one that is not named is resident."""

    placements: Mapping[str, Placement] = field(default_factory=dict, hash=False)

    def of(self, component: str) -> Placement:
        """The placement of a component."""
        return self.placements.get(component, RESIDENT)

    def placed(self, component: str, placement: Placement) -> Residency:
        """The same, with one component placed otherwise."""
        return Residency(placements={**self.placements, component: placement})


@dataclass(frozen=True, kw_only=True, slots=True)
class Weights:
    """The weights of one component, in true stored bytes (a quantised tensor counts its packed data and scales)."""

    total_bytes: int
    """Sum over storages, each rounded up to the allocator's 512 bytes."""
    reserved_bytes: int
    """What the caching allocator reserves when they are loaded one by one."""
    pinned_bytes: int
    """What a copy in pinned host memory takes: PyTorch's pinned allocator rounds each request up to a power of two
    (aten/src/ATen/core/CachingHostAllocator.h)."""
    largest_leaf_bytes: int
    """Weights of the largest module without children."""
    blocks: tuple[int, ...]
    """Bytes of each repeated block, in order of execution; empty if the component has no block list."""
    num_tensors: int

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Weights:
        """The inverse of `to_json`."""
        return cls(**{**data, "blocks": tuple(data["blocks"])})

    @property
    def other_bytes(self) -> int:
        """Weights outside the blocks."""
        return self.total_bytes - sum(self.blocks)

    def groups(self, blocks_per_group: int) -> tuple[int, ...]:
        """Bytes of each group that moves together; the weights outside the blocks are a group of their own, first."""
        grouped = [
            sum(self.blocks[start : start + blocks_per_group])
            for start in range(0, len(self.blocks), blocks_per_group)
        ]
        return tuple(size for size in (self.other_bytes, *grouped) if size)

    def resident_bytes(self, placement: Placement, *, reserved: bool = False) -> int:
        """The most of these weights that is on the GPU while the component computes.

        Args:
            reserved: what the allocator holds for them instead of what is allocated.
        """
        if placement.mode in ("resident", "whole"):
            return self.reserved_bytes if reserved else self.total_bytes
        if placement.mode == "leaves":
            held = self.largest_leaf_bytes
        else:
            groups = self.groups(placement.blocks_per_group)
            # the group of the rest stays for the whole forward, the others pass by: one at a time, two with a stream
            passing = groups[1:] if self.blocks and self.other_bytes else groups
            window = 2 if placement.stream else 1
            most = max((sum(passing[k : k + window]) for k in range(len(passing))), default=0)
            held = most + (self.other_bytes if self.blocks else 0)
        return round_up(held, _SEGMENT_BYTES) if reserved else held


_SEGMENT_BYTES = 2 * 2**20
"""Large requests are reserved in multiples of this (CUDACachingAllocator.cpp, `kRoundLarge`)."""
