"""How long it takes: each op against the roofline of a device, and weights over the host link.

An op takes the longer of its arithmetic and its memory traffic. What is reached of the rates is one number per kind on a device of the
catalogue, a stated assumption; on a calibrated one it is a table by kind, dtype, size and narrowest dimension. On a GPU kernels queue up
while the host issues the next ones, so a call takes the longer of its kernels and its launches; a CPU does both itself, one after
the other. The low bound of a stage is the data sheet itself (every efficiency 1: physics); `_band.py` makes bounds of it.
"""

from __future__ import annotations

from dataclasses import dataclass

from workbench.cost._opclass import SCATTERED, classify
from workbench.cost._trace import Op
from workbench.cost.calllog import OpCounts
from workbench.devices import Device, Table

KINDS = ("matmul", "attention", "conv", "memory", "launch")


@dataclass(frozen=True, kw_only=True, slots=True)
class Seconds:
    """Seconds of compute, by what bounds each op."""

    by_kind: tuple[float, ...] = (0.0,) * len(KINDS)
    """Expected seconds of ops bound by each of `KINDS`; `launch` is what launching them adds."""
    low: float = 0.0
    """Seconds that the data sheet allows."""

    @property
    def expected(self) -> float:
        """Expected seconds, all kinds together."""
        return sum(self.by_kind)

    def __add__(self, other: Seconds) -> Seconds:
        kinds = tuple(a + b for a, b in zip(self.by_kind, other.by_kind, strict=True))
        return Seconds(by_kind=kinds, low=self.low + other.low)

    def times(self, count: int) -> Seconds:
        """The same work `count` times."""
        return Seconds(by_kind=tuple(s * count for s in self.by_kind), low=self.low * count)


def compute_seconds(ops: OpCounts, device: Device) -> Seconds:
    """Time of the ops of one call on a device."""
    by_kind = dict.fromkeys(KINDS, 0.0)
    low, num_launches = 0.0, 0
    for op, count in ops:
        if op.kind == "view":
            continue
        seconds, kind, least = _op_seconds(op, device)
        by_kind[kind] += seconds * count
        low += least * count
        num_launches += count
    launches = num_launches * device.efficiencies["launch_s"]
    work = sum(by_kind.values())
    by_kind["launch"] = launches if device.architecture == "cpu" else max(0.0, launches - work)
    return Seconds(by_kind=tuple(by_kind.values()), low=low)


def _op_seconds(op: Op, device: Device) -> tuple[float, str, float]:
    """(expected seconds without the launch, what bounds it, seconds at the data sheet's rates)."""
    group, work, width = classify(op, on_cpu=device.architecture == "cpu")
    if not group:
        return 0.0, "memory", 0.0
    traffic = (op.read_bytes + op.write_bytes) / device.bandwidth_bytes_per_s
    if not op.flops:
        table = _table(device, group, op.dtype)
        moving = traffic / device.efficiencies["memory"]
        if table is None:
            return moving, "memory", traffic
        seconds = table.seconds(work, width, device.bandwidth_bytes_per_s)
        # addresses are worked out while data moves
        return max(seconds, moving) if group == SCATTERED else seconds, "memory", traffic
    rate = device.dense_flops[rate_key(op.kind, op.dtype, device)]
    arithmetic = op.flops / rate
    least = max(traffic, arithmetic)
    table = _table(device, group, op.dtype)
    if (
        table is not None and device.architecture == "cpu"
    ):  # whose caches feed small products: the table has all of it
        return table.seconds(work, width, rate), op.kind, least
    computing = (
        arithmetic / device.efficiencies[op.kind] if table is None else table.seconds(work, width, rate)
    )
    moving = traffic / device.efficiencies["memory"]
    return (moving, "memory", least) if moving > computing else (computing, op.kind, least)


def _table(device: Device, group: str, dtype: str) -> Table | None:
    """The device's table for a class of ops: of its dtype, else of the class, else of the class above it."""
    tables = device.tables
    if not tables:
        return None
    while group:
        found = tables.get(f"{group}.{dtype}") or tables.get(group)
        if found is not None:
            return found
        group = group.rpartition(".")[0]
    return None


def rate_key(kind: str, dtype: str, device: Device) -> str:
    """The key of `Device.dense_flops` for the unit that runs ops of a kind and dtype.

    fp32 convolutions run on TF32 units where there are any (`torch.backends.cudnn.allow_tf32` is True by default; for matrix
    products the default is plain fp32). A dtype that the card has no unit for is computed in fp32.
    """
    if dtype == "fp32" and kind == "conv":
        dtype = "tf32"
    return dtype if dtype in device.dense_flops else "fp32"


def transfer_seconds(num_bytes: float, device: Device, *, pinned: bool) -> float:
    """Seconds to move bytes between host and device, one way."""
    efficiency = device.efficiencies["link_pinned" if pinned else "link_pageable"]
    return num_bytes / (device.link_bytes_per_s * efficiency)
