"""Where a component's weights are while the pipeline runs.

A `Placement` says how a component's weights reach the GPU; which technique asked for it is not known here. What each mode holds in
VRAM and moves over the host link follows the libraries that implement it:

- `resident`  all weights stay on the GPU.
- `whole`     all weights come when the component is called and leave when the component after it in the pipeline's own sequence is
              (accelerate's `cpu_offload_with_hook`, diffusers' `enable_model_cpu_offload`): `turns.py` follows that sequence.
- `leaves`    each module's own weights come for its forward and are dropped after it (accelerate's `cpu_offload`).
- `blocks`    groups of `blocks_per_group` blocks come together (diffusers' group offloading, `block_level`); with `stream` the next
              group is fetched while this one computes, so two groups are on the GPU. Modules outside the block lists come as one
              group. Of `resident_blocks` blocks, and then of what is outside the blocks too, the weights stay on the GPU.
- `layers`    each layer is such a group (`leaf_level`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from workbench.cost._trace import round_up

Mode = Literal["resident", "whole", "leaves", "blocks", "layers"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Placement:
    """How one component's weights reach the GPU."""

    mode: Mode = "resident"
    blocks_per_group: int = 1
    """Blocks that move together; `blocks` only."""
    stream: bool = False
    """Whether the next group is fetched while this one computes; `blocks` and `layers` only."""
    pins_late: bool = False
    """Whether a group is copied to pinned memory each time that it is fetched, instead of once for all; with `stream` only."""
    on_disk: bool = False
    """Whether groups wait in files instead of host RAM; `blocks` and `layers` only."""
    resident_blocks: int = 0
    """Blocks that stay on the GPU, spread evenly among the others; `blocks` only."""


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
    """Most weights that are there at once when each module's own come for its forward: a layer's and those of the modules around it."""
    blocks: tuple[int, ...]
    """Bytes of each block that group offloading finds, in order of execution; empty if the component has none."""
    num_tensors: int
    blocks_pinned: tuple[int, ...] = ()
    """What a copy of each block in pinned host memory takes."""
    outside_bytes: int = 0
    """Weights outside the part that group offloading is given, which stay on the GPU: `blocks` and `layers` only."""
    leaf_window_bytes: int = 0
    """As `largest_layer_bytes`, with the next layer's weights beside them."""
    largest_layer_bytes: int = 0
    """As `largest_leaf_bytes`, of the part that group offloading is given, and with buffers."""
    unmoved_bytes: int = 0
    """Buffers that `leaves` puts on the GPU for good."""
    layers: tuple[int, ...] = ()
    """Bytes of each module with weights of its own in that part, in the order in which they are registered."""

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Weights:
        """The inverse of `to_json`."""
        lists = {name: tuple(data[name]) for name in ("blocks", "blocks_pinned", "layers")}
        return cls(**{**data, **lists})

    @property
    def num_layers(self) -> int:
        """Modules with weights of their own in the part that group offloading is given."""
        return len(self.layers)

    @property
    def other_bytes(self) -> int:
        """Weights that are offloaded with the blocks but belong to none."""
        return max(0, self.total_bytes - sum(self.blocks) - self.outside_bytes)

    def groups(self, placement: Placement) -> tuple[int, ...]:
        """Bytes of each group of blocks that moves, in order; blocks that stay are in none."""
        moving = [size for size, stays in zip(self.blocks, self.stays(placement), strict=True) if not stays]
        step = placement.blocks_per_group
        return tuple(sum(moving[start : start + step]) for start in range(0, len(moving), step))

    def stays(self, placement: Placement) -> tuple[bool, ...]:
        """Of each block, whether it stays on the GPU."""
        return spread(len(self.blocks), placement.resident_blocks)

    def idle_bytes(self, placement: Placement) -> int:
        """What stays on the GPU while the component does not compute; of `whole`, what `turns.py` says comes on top."""
        if placement.mode == "resident":
            return self.total_bytes
        if placement.mode == "leaves":
            return self.unmoved_bytes
        if placement.mode == "whole":
            return 0
        if not placement.resident_blocks:
            return self.outside_bytes
        staying = sum(size for size, stays in zip(self.blocks, self.stays(placement), strict=True) if stays)
        return self.outside_bytes + self.other_bytes + staying

    def resident_bytes(self, placement: Placement, *, reserved: bool = False) -> int:
        """The most of these weights that is on the GPU while the component computes.

        Args:
            reserved: what the allocator holds for them instead of what is allocated.
        """
        if placement.mode in ("resident", "whole"):
            return self.reserved_bytes if reserved else self.total_bytes
        return self.idle_bytes(placement) + self.passing_bytes(placement, reserved=reserved)

    def passing_bytes(self, placement: Placement, *, reserved: bool = False) -> int:
        """The most that is on the GPU only while the component computes, unless it is placed whole.

        Args:
            reserved: what the allocator holds for it instead of what is allocated.
        """
        held = self._passing_bytes(placement)
        return round_up(held, _SEGMENT_BYTES) if reserved else held

    def _passing_bytes(self, placement: Placement) -> int:
        if placement.mode == "leaves":
            return self.largest_leaf_bytes
        if placement.mode == "layers":
            return self.leaf_window_bytes if placement.stream else self.largest_layer_bytes
        groups, window = self.groups(placement), 2 if placement.stream else 1
        most = max((sum(groups[k : k + window]) for k in range(len(groups))), default=0)
        # the group of the rest stays for the whole forward, the others pass by: one at a time, two with a stream
        return most + (0 if placement.resident_blocks else self.other_bytes)


def spread(number: int, staying: int) -> tuple[bool, ...]:
    """Of each of `number` blocks, whether it stays when `staying` of them do, as evenly spread as can be.

    The first ones move: the fetch of the next block that moves then has as many blocks' compute to hide behind everywhere. mmgp's
    `tune_preloading` spreads them too.
    """
    staying = min(staying, number)
    return tuple((k + 1) * staying // number > k * staying // number for k in range(number))


_SEGMENT_BYTES = 2 * 2**20
"""Large requests are reserved in multiples of this (CUDACachingAllocator.cpp, `kRoundLarge`)."""
