"""From benchmark samples to a device's rates and tables. Pure: no torch, no clock."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Final

from workbench._errors import InputError
from workbench.cost.roofline import rate_key
from workbench.devices import Device, Table

_LEAST_ABOVE_FIXED: Final = 1.5
"""A sample says something of a rate if it takes this much longer than the smallest one of its class."""
_NUMBERS: Final = {
    "matmul": "matmul",
    "attention": "attention",
    "conv2d": "conv",
    "conv3d": "conv",
    "memory.elementwise": "memory",
}
"""Class -> the single efficiency of a device that stands for it where a table is missing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """One benchmark: an op of this class, dtype, work and width takes so many seconds."""

    group: str
    """Class of the op (`cost/_opclass.py`)."""
    dtype: str
    work: float
    """FLOPs, or bytes read and written where nothing is computed."""
    width: float
    """Its narrowest dimension."""
    seconds: float

    def __post_init__(self) -> None:
        if not (self.work > 0 and self.width > 0 and self.seconds > 0):
            raise InputError(f"a sample's work, width and seconds must be positive, got {self!r}")

    @property
    def computes(self) -> bool:
        """Whether `work` counts FLOPs."""
        return not self.group.startswith("memory.")

    @property
    def kind(self) -> str:
        """The kind of op, as `Op.kind` says it."""
        return "conv" if self.group.startswith("conv") else self.group.partition(".")[0]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return dataclasses.asdict(self)


def fitted(
    base: Device,
    samples: Sequence[Sample],
    *,
    launch_s: float,
    links: Mapping[str, float] | None = None,
    source: str,
) -> Device:
    """The device with the rates and tables that the samples show.

    A theoretical rate stays unless more than it was measured (on a CPU there is none, so the highest measured one stands for it).

    Args:
        base: memory, name and whatever was not measured.
        launch_s: seconds of the host for each op, beside what the op itself takes.
        links: measured bytes per second of `link_pinned` and `link_pageable`.
        source: what to say of the measured numbers.

    Raises:
        InputError: no fp32 product, or no elementwise op of fp32, is among the samples.
    """
    groups: dict[tuple[str, str], list[Sample]] = defaultdict(list)
    for sample in samples:
        groups[sample.group, sample.dtype].append(sample)
    for needed in (("matmul", "fp32"), ("memory.elementwise", "fp32")):
        if needed not in groups:
            raise InputError(f"a calibration needs samples of {needed[0]} in {needed[1]}")
    fixed = {key: _fixed_seconds(members) for key, members in groups.items()}
    device = _with_rates(base, samples, fixed)
    tables = {
        f"{group}.{dtype}": _table(members, fixed[group, dtype], device)
        for (group, dtype), members in groups.items()
    }
    efficiencies = {**device.efficiencies, **_numbers(tables, groups), "launch_s": launch_s}
    for name, rate in (links or {}).items():
        efficiencies[name] = min(1.0, rate / device.link_bytes_per_s)
    changed = {key for key in efficiencies if efficiencies[key] != device.efficiencies[key]}
    sources = {**device.sources, **{f"efficiencies.{key}": source for key in changed}, "calibration": source}
    if device.bandwidth_bytes_per_s != base.bandwidth_bytes_per_s:
        sources["bandwidth_bytes_per_s"] = source
    for dtype, rate in device.dense_flops.items():
        if rate != base.dense_flops.get(dtype):
            sources[f"dense_flops.{dtype}"] = source
    return dataclasses.replace(
        device, tables=tables, efficiencies=efficiencies, sources=sources, basis="calibrated"
    )


def _fixed_seconds(members: Iterable[Sample]) -> float:
    """What the fastest sample takes: the smallest one, whose work is next to nothing, unless it was disturbed."""
    return min(0.5, *(sample.seconds for sample in members))


def _telling(members: Sequence[Sample], fixed_s: float) -> list[Sample]:
    """The samples that say something of a rate: those well above the fixed time, else the largest one."""
    above = [sample for sample in members if sample.seconds >= _LEAST_ABOVE_FIXED * fixed_s]
    return above or [max(members, key=lambda sample: sample.work)]


def _rate(sample: Sample, fixed_s: float) -> float:
    """Work per second; of a sample that is all fixed time, over its whole time."""
    left = sample.seconds - fixed_s
    return sample.work / (left if left > 0.2 * sample.seconds else sample.seconds)


def _with_rates(base: Device, samples: Sequence[Sample], fixed: Mapping[tuple[str, str], float]) -> Device:
    """The device with the highest rates seen, where they are above the theoretical ones, or there are none (a CPU)."""
    on_cpu = base.architecture == "cpu"
    flops: dict[str, float] = {} if on_cpu else dict(base.dense_flops)
    bandwidth = 0.0 if on_cpu else base.bandwidth_bytes_per_s
    groups: dict[tuple[str, str], list[Sample]] = defaultdict(list)
    for sample in samples:
        groups[sample.group, sample.dtype].append(sample)
    for key, members in groups.items():
        best = max(_rate(sample, fixed[key]) for sample in _telling(members, fixed[key]))
        first = members[0]
        if not first.computes:
            bandwidth = max(bandwidth, best)
            continue
        dtype = rate_key(first.kind, first.dtype, base)
        if on_cpu or dtype in flops:
            flops[first.dtype if on_cpu else dtype] = max(
                flops.get(first.dtype if on_cpu else dtype, 0.0), best
            )
    known = {
        dtype: rate
        for dtype, rate in flops.items()
        if dtype in ("fp32", "tf32", "fp16", "bf16", "int8", "fp8", "fp4")
    }
    return dataclasses.replace(base, dense_flops=known, bandwidth_bytes_per_s=bandwidth)


def _table(members: Sequence[Sample], fixed_s: float, device: Device) -> Table:
    """The fractions of the device's rate that one class of ops reaches, by size and width."""
    first = members[0]
    rate = device.bandwidth_bytes_per_s
    if first.computes:
        rate = device.dense_flops[rate_key(first.kind, first.dtype, device)]
    rows: dict[float, dict[float, list[float]]] = defaultdict(lambda: defaultdict(list))
    for sample in _telling(members, fixed_s):
        rows[sample.width][sample.work].append(min(1.0, _rate(sample, fixed_s) / rate))
    sizes = sorted({size for row in rows.values() for size in row})
    fractions = []
    for width in sorted(rows):
        own = {size: median(values) for size, values in rows[width].items()}
        line = Table(sizes=tuple(sorted(own)), fractions=(tuple(own[size] for size in sorted(own)),))
        fractions.append(tuple(line.fraction(size) for size in sizes))
    return Table(sizes=tuple(sizes), widths=tuple(sorted(rows)), fractions=tuple(fractions), fixed_s=fixed_s)


def _numbers(
    tables: Mapping[str, Table], groups: Mapping[tuple[str, str], Sequence[Sample]]
) -> dict[str, float]:
    """The single efficiencies: what the largest and widest op of each class reaches, in the fastest dtype."""
    found: dict[str, float] = {}
    for group, dtype in groups:
        name = _NUMBERS.get(group if group in _NUMBERS else group.partition(".")[0])
        if name is not None:
            reached = tables[f"{group}.{dtype}"].fractions[-1][-1]
            found[name] = max(found.get(name, 0.0), reached) if name != "memory" else reached
    return found
