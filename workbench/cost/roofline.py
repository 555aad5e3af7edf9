"""How long it takes: each op against the roofline of a device, and weights over the host link.

An op takes the longest of its arithmetic, its memory traffic and its launch (kernels queue up, so a launch is hidden behind a longer
kernel before it). Rates are the data sheet's dense ones times the device's efficiencies, which are stated assumptions until the device
is calibrated. The low bound of a stage is the data sheet itself (every efficiency 1: physics); the high bound lies as far above the
expectation, in ratio, as the low one lies below.
"""

from __future__ import annotations

from dataclasses import dataclass

from workbench.cost._trace import Op
from workbench.cost.calllog import OpCounts
from workbench.devices import Device

KINDS = ("matmul", "attention", "conv", "memory", "launch")


@dataclass(frozen=True, kw_only=True, slots=True)
class Seconds:
    """Seconds of compute, by what bounds each op."""

    by_kind: tuple[float, ...] = (0.0,) * len(KINDS)
    """Expected seconds of ops bound by each of `KINDS`."""
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
    """Time of a list of ops on a device."""
    by_kind = [0.0] * len(KINDS)
    low = 0.0
    for op, count in ops:
        if op.kind == "view":
            continue
        seconds, kind, least = _op_seconds(op, device)
        by_kind[KINDS.index(kind)] += seconds * count
        low += least * count
    return Seconds(by_kind=tuple(by_kind), low=low)


def _op_seconds(op: Op, device: Device) -> tuple[float, str, float]:
    """(expected seconds, what bounds it, seconds at the data sheet's rates)."""
    traffic = (op.read_bytes + op.write_bytes) / device.bandwidth_bytes_per_s
    arithmetic = op.flops / _rate(op, device) if op.flops else 0.0
    expected = {"memory": traffic / device.efficiencies["memory"], "launch": device.efficiencies["launch_s"]}
    if op.flops:
        expected[op.kind] = arithmetic / device.efficiencies[op.kind]
    bound = max(expected, key=lambda kind: expected[kind])
    return expected[bound], bound, max(traffic, arithmetic)


def _rate(op: Op, device: Device) -> float:
    """Dense FLOP/s of the unit that runs the op, by dtype.

    fp32 convolutions run on TF32 units where there are any (`torch.backends.cudnn.allow_tf32` is True by default; for matrix
    products the default is plain fp32). A dtype that the card has no unit for is computed in fp32.
    """
    rates = device.dense_flops
    dtype = op.dtype
    if dtype == "fp32" and op.kind == "conv":
        dtype = "tf32"
    return rates.get(dtype) or rates["fp32"]


def transfer_seconds(num_bytes: float, device: Device, *, pinned: bool) -> float:
    """Seconds to move bytes between host and device, one way."""
    efficiency = device.efficiencies["link_pinned" if pinned else "link_pageable"]
    return num_bytes / (device.link_bytes_per_s * efficiency)
