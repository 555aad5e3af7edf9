"""How long the GPU waits for weights that come while a component computes: a small simulation of a pass through its groups.

diffusers' group offloading works as a pipeline of two stages, whose steps `pass_seconds` follows (`GroupOffloadingHook.pre_forward`,
`ModuleGroup.onload_` and `offload_`): before a group computes, the CPU waits until its weights are there, starts the copy of the next
group on a stream of its own, and launches; after it, the CPU waits for the compute before it drops the weights. One copy at a time, one
group ahead. What has to be read from a file or copied to pinned memory first is done by the CPU before it launches, so nothing hides it.
Without a stream a group comes from pageable memory, computes, and goes back, one after the other.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

from workbench.cost.residency import Placement, Weights
from workbench.cost.roofline import Seconds
from workbench.devices import Device

DISK_BYTES_PER_S = 3.5e9
"""Sequential reading where the device does not say: assumed, the data sheet's figure of an NVMe drive on PCIe 3.0 x4 (Samsung 970 EVO
Plus and 970 Pro: up to 3,500 MB/s). A SATA drive's link carries 0.6e9 at most (6 Gbit/s, 8 of 10 bits are data)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rates:
    """Bytes per second of each way that weights take."""

    pinned: float
    """Host to device from pinned memory."""
    pageable: float
    """Between host and device, pageable memory, either direction."""
    pinning: float
    """From pageable to pinned memory, by the CPU."""
    disk: float
    """From a file."""

    @classmethod
    def expected(cls, device: Device) -> Rates:
        """What is reached. A pageable copy is a copy to pinned memory and a transfer, which overlap: copying alone is not slower."""
        pageable = device.link_bytes_per_s * device.efficiencies["link_pageable"]
        return cls(
            pinned=device.link_bytes_per_s * device.efficiencies["link_pinned"],
            pageable=pageable,
            pinning=pageable,
            disk=device.disk_bytes_per_s or DISK_BYTES_PER_S,
        )

    @classmethod
    def best(cls, device: Device) -> Rates:
        """What the link allows; pinning and files are then free, for their data may be in the CPU's caches."""
        link = device.link_bytes_per_s
        return cls(pinned=link, pageable=link, pinning=float("inf"), disk=float("inf"))


@functools.lru_cache(maxsize=4096)
def stalls(
    held: Weights,
    placement: Placement,
    once: Seconds,
    passes: int,
    count: int,
    is_first: bool,
    device: Device,
) -> tuple[float, float]:
    """(expected, low) seconds that the GPU waits for weights during `count` calls of a component that is not placed whole.

    Args:
        once: compute of one call.
        passes: how often a call goes through the weights.
        is_first: whether the component's first call of the run is among them: a stream fetches nothing ahead in it, for the order of
            the groups is still to be found out (`LazyPrefetchGroupOffloadingHook`).
    """
    shares = _Shares.of(once, passes)
    expected = _waiting(held, placement, shares, Rates.expected(device), once.expected / passes)
    low = _waiting(held, placement, shares, Rates.best(device), once.low / passes)
    number = passes * count
    cold = 1 if is_first and placement.stream else 0
    return (
        expected[0] * (number - cold) + expected[1] * cold,
        low[0] * (number - cold) + low[1] * cold,
    )


@dataclass(frozen=True, slots=True)
class _Shares:
    """How a pass's compute is spread over its layers."""

    attention: float
    """The part that is attention, which runs between two layers and hides only one of their fetches."""

    @classmethod
    def of(cls, once: Seconds, passes: int) -> _Shares:
        attention = once.by_kind[1]
        return cls(attention / once.expected if once.expected else 0.0)


def _waiting(
    held: Weights, placement: Placement, shares: _Shares, rates: Rates, compute: float
) -> tuple[float, float]:
    """Seconds of waiting in (a pass, the first pass)."""
    if placement.mode == "leaves":
        # accelerate brings weights from pageable memory and drops them; nothing goes back
        every = (held.total_bytes - held.unmoved_bytes) / rates.pageable
        return every, every
    if not placement.stream:
        moved = (held.total_bytes - held.idle_bytes(placement)) / rates.pageable
        # what waits in a file is read for each pass and dropped after it; what waits in memory is copied back to it
        every = moved + moved * rates.pageable / rates.disk if placement.on_disk else 2 * moved
        return every, every
    slots, alone = _slots(held, placement, shares, compute)
    fetches = [size / rates.pinned for size, _ in slots]
    ahead = [_preparing(size, placement, rates) for size, _ in slots]
    every = pass_seconds(fetches, [seconds for _, seconds in slots], ahead) - compute
    first = sum(fetches) + sum(ahead)
    # the group of what is outside the blocks has no stream: it comes and goes by itself
    around = alone / rates.pageable
    around += alone / rates.disk if placement.on_disk else around
    return max(0.0, every) + around, first + around


def _preparing(size: int, placement: Placement, rates: Rates) -> float:
    """Seconds of the CPU before the copy of a group can start."""
    reading = size / rates.disk if placement.on_disk else 0.0
    return reading + (size / rates.pinning if placement.on_disk or placement.pins_late else 0.0)


def _slots(
    held: Weights, placement: Placement, shares: _Shares, compute: float
) -> tuple[list[tuple[int, float]], int]:
    """(bytes, seconds of compute until the next one is due) of each group that is fetched ahead, and the bytes of what is not.

    A slot of no bytes in front is the compute before the first group. The compute of a pass is taken to be in the blocks, by their bytes.
    """
    if placement.mode == "layers":
        return _layer_slots(held, shares, compute), 0
    total = sum(held.blocks)
    slots: list[tuple[int, float]] = [(0, 0.0)]
    for size, stays in zip(held.blocks, held.stays(placement), strict=True):
        seconds = compute * size / total if total else 0.0
        if stays:
            slots[-1] = (slots[-1][0], slots[-1][1] + seconds)
        else:
            slots.append((size, seconds))
    return slots, 0 if placement.resident_blocks else held.other_bytes


def _layer_slots(held: Weights, shares: _Shares, compute: float) -> list[tuple[int, float]]:
    """Layers as they are registered, each computing as long as its bytes say; in each block one of them is followed by the attention.

    Their sizes matter: only the layer before it hides a layer's fetch, so that a large one behind a small one is waited for, even where
    all compute together takes longer than all fetches.
    """
    layers = held.layers or (held.total_bytes,)
    number, total = len(layers), max(1, sum(layers))
    blocks = max(1, len(held.blocks))
    attention = compute * shares.attention / blocks
    with_attention = {number * block // blocks for block in range(blocks)}
    dense = compute * (1 - shares.attention)
    return [
        (size, dense * size / total + (attention if k in with_attention else 0.0))
        for k, size in enumerate(layers)
    ]


def pass_seconds(fetches: Sequence[float], computes: Sequence[float], preparing: Sequence[float]) -> float:
    """Seconds of one pass through groups of which the next one is fetched while one computes.

    Args:
        fetches: seconds of each group's copy.
        computes: seconds that each computes.
        preparing: seconds of the CPU before each copy starts.
    """
    if not fetches:
        return 0.0
    now = preparing[0]
    there = now + fetches[0]
    for k, compute in enumerate(computes):
        now = max(now, there)
        if k + 1 < len(fetches):
            now += preparing[k + 1]
            there = now + fetches[k + 1]
        now += compute
    return now
