"""A device: what a GPU (or this machine's CPU) has of memory, rates and host link, and where each number is from."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from workbench._errors import CapError, InputError
from workbench._units import format_gib
from workbench.devices._corrections import Correction, kind_of
from workbench.devices._tables import Table, TimeBand

ARCHITECTURES: Final = ("cpu", "volta", "turing", "ampere", "ada", "hopper", "blackwell")
BASES: Final = ("catalogue", "calibrated")
DTYPES: Final = ("fp32", "tf32", "fp16", "bf16", "int8", "fp8", "fp4")
FRACTIONS: Final = ("matmul", "attention", "conv", "memory", "link_pinned", "link_pageable")
EFFICIENCIES: Final = (*FRACTIONS, "launch_s")
FORMAT: Final = 2
"""Of a device's JSON. 1 had no number, no tables, no band and no rent; it is still read."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Device:
    """One GPU with its host link and host RAM; every rate is theoretical, `efficiencies` say what is reached."""

    name: str
    """Catalogue name, `"rtx-3060-12gb"`."""

    title: str
    """The vendor's name for people, `"NVIDIA GeForce RTX 3060 12 GB"`."""

    architecture: str
    """One of `"volta"`, `"turing"`, `"ampere"`, `"ada"`, `"hopper"`, `"blackwell"`, `"cpu"`."""

    compute_capability: tuple[int, int] | None
    """CUDA compute capability, `(8, 6)`; None for a CPU."""

    memory_bytes: int
    """Total memory as sold: a 12 GB card has 12 * 2**30 bytes. Lower after `capped`."""

    bandwidth_bytes_per_s: float
    """Theoretical bandwidth of the device's own memory."""

    dense_flops: Mapping[str, float] = field(hash=False)
    """Operations per second by dtype, dense (never the 2:4-sparsity figure), accumulating in FP32 (int8: INT32).

    A missing key means that the card has no such unit: no bf16 and tf32 before Ampere, no fp8 before Ada.
    `"fp32"` is the ordinary (non-tensor) rate.
    """

    link_bytes_per_s: float
    """Host to device, theoretical, one way."""

    link_label: str
    """Name of the host link, `"PCIe 4.0 x16"`."""

    ram_bytes: int | None = None
    """Host RAM; None means unknown, so it limits nothing."""

    disk_bytes_per_s: float | None = None
    """Reading of large files in the machine; None means unknown (`cost/transfers.py` says what is then assumed)."""

    context_bytes: int
    """Memory taken before the first tensor: `unavailable_bytes` + CUDA context + kernels loaded on first use."""

    unavailable_bytes: int = 0
    """The part of `context_bytes` that the driver and ECC keep: memory as sold minus what CUDA reports as total."""

    desktop_bytes: int = 0
    """What the desktop and other programs hold of the memory while a run goes on: a default of the catalogue, a measurement of this machine
    (`this_machine`), or the caller's word (`with_desktop`)."""

    efficiencies: Mapping[str, float] = field(hash=False)
    """Fractions of the theoretical rates that are reached, 0 to 1, for `matmul`, `attention`, `conv` (of `dense_flops`),
    `memory` (of the bandwidth), `link_pinned` and `link_pageable` (of the link); and `launch_s`, the seconds that one
    kernel launch takes in eager PyTorch."""

    basis: str = "catalogue"
    """`"catalogue"`: efficiencies are assumptions; `"calibrated"`: they were measured on this device."""

    tables: Mapping[str, Table] = field(default_factory=dict, hash=False)
    """Fractions that depend on more than the kind of op, by its class and dtype, `"matmul.bf16"` (the names: `cost/_opclass.py`): measured
    on a calibrated device; in the catalogue for the few classes that have a public measurement. What has no table takes the one number
    of `efficiencies`."""

    band: TimeBand | None = None
    """How far predicted times were from measured ones on this device; None where nothing was measured."""

    corrections: Mapping[str, Correction] = field(default_factory=dict, hash=False)
    """What real jobs measured over what the rates alone predict, by kind of stage (`denoise`, `decode`); none until there were some."""

    rent_usd_per_hour: float | None = None
    """What renting one costs, in US dollars; `sources` has the offer and its date. None means unknown."""

    sources: Mapping[str, str] = field(hash=False)
    """Field (or `field.key`) to where its number is from: document, how it was read, how it was derived."""

    def __post_init__(self) -> None:
        # Own copies, so that a caller's dict cannot change a catalogue row behind its back.
        object.__setattr__(self, "dense_flops", dict(self.dense_flops))
        object.__setattr__(self, "efficiencies", dict(self.efficiencies))
        object.__setattr__(self, "sources", dict(self.sources))
        object.__setattr__(self, "tables", dict(self.tables))
        object.__setattr__(self, "corrections", dict(self.corrections))
        self._check_words()
        self._check_memory()
        self._check_rates()

    def _check_words(self) -> None:
        for name in ("name", "title", "link_label"):
            value = getattr(self, name)
            if not isinstance(value, str) or not value:
                raise InputError(f"device {name} must be a non-empty text, got {value!r}")
        if self.architecture not in ARCHITECTURES:
            raise InputError(
                f"architecture of {self.name} must be one of {', '.join(ARCHITECTURES)}, got {self.architecture!r}"
            )
        if self.basis not in BASES:
            raise InputError(f"basis of {self.name} must be one of {', '.join(BASES)}, got {self.basis!r}")

    def _check_memory(self) -> None:
        _check_whole(self.name, "memory_bytes", self.memory_bytes, minimum=1)
        _check_whole(self.name, "context_bytes", self.context_bytes, minimum=0)
        _check_whole(self.name, "unavailable_bytes", self.unavailable_bytes, minimum=0)
        _check_whole(self.name, "desktop_bytes", self.desktop_bytes, minimum=0)
        if self.ram_bytes is not None:
            _check_whole(self.name, "ram_bytes", self.ram_bytes, minimum=1)
        if self.unavailable_bytes > self.context_bytes:
            raise InputError(
                f"unavailable_bytes of {self.name} is part of context_bytes and must be <= {self.context_bytes}, "
                f"got {self.unavailable_bytes}"
            )

    def _check_rates(self) -> None:
        _check_rate(self.name, "bandwidth_bytes_per_s", self.bandwidth_bytes_per_s)
        _check_rate(self.name, "link_bytes_per_s", self.link_bytes_per_s)
        if self.disk_bytes_per_s is not None:
            _check_rate(self.name, "disk_bytes_per_s", self.disk_bytes_per_s)
        _check_keys(self.name, "dense_flops", self.dense_flops, required=("fp32",), allowed=DTYPES)
        for dtype, rate in self.dense_flops.items():
            _check_rate(self.name, f"dense_flops[{dtype!r}]", rate)
        _check_keys(self.name, "efficiencies", self.efficiencies, required=EFFICIENCIES, allowed=EFFICIENCIES)
        for key in FRACTIONS:
            if not 0 < self.efficiencies[key] <= 1:
                raise InputError(
                    f"efficiencies[{key!r}] of {self.name} must be above 0 and at most 1, "
                    f"got {self.efficiencies[key]!r}"
                )
        if self.rent_usd_per_hour is not None:
            _check_rate(self.name, "rent_usd_per_hour", self.rent_usd_per_hour, per="dollars an hour")
        if not 0 <= self.efficiencies["launch_s"] < 1:
            raise InputError(
                f"efficiencies['launch_s'] of {self.name} must be seconds from 0 to below 1, "
                f"got {self.efficiencies['launch_s']!r}"
            )

    def correction(self, stage: str) -> float:
        """The factor by which times of a stage, predicted by the rates alone, are to be multiplied."""
        found = self.corrections.get(kind_of(stage))
        return 1.0 if found is None else found.factor

    def capped(self, *, memory_bytes: int) -> Device:
        """This device with less memory, as another program or `set_per_process_memory_fraction` would leave it.

        The name stays. A cap takes first what the driver keeps anyway, then what the desktop holds, so capping by less than both changes
        nothing for the user: what can be filled is min(cap, what CUDA reports as total minus the desktop) minus the context.

        Raises:
            CapError: the cap is no positive whole number of bytes, or is above this device's memory.
        """
        if isinstance(memory_bytes, bool) or not isinstance(memory_bytes, int) or memory_bytes <= 0:
            raise CapError(f"a memory cap must be a positive whole number of bytes, got {memory_bytes!r}")
        if memory_bytes > self.memory_bytes:
            raise CapError(
                f"a memory cap of {format_gib(memory_bytes)} is above the {format_gib(self.memory_bytes)} of "
                f"{self.name} ({self.title})"
            )
        if memory_bytes == self.memory_bytes:
            return self
        taken = self.memory_bytes - memory_bytes
        unavailable = max(0, self.unavailable_bytes - taken)
        desktop = max(0, self.desktop_bytes - max(0, taken - self.unavailable_bytes))
        note = (
            f"capped to {format_gib(memory_bytes)} by the caller; uncapped: {format_gib(self.memory_bytes)}"
        )
        return dataclasses.replace(
            self,
            memory_bytes=memory_bytes,
            context_bytes=self.context_bytes - self.unavailable_bytes + unavailable,
            unavailable_bytes=unavailable,
            desktop_bytes=desktop,
            sources={**self.sources, "memory_bytes": note},
        )

    def with_ram(self, ram_bytes: int | None) -> Device:
        """This device in a machine with that much host RAM; None means unknown, so that it limits nothing.

        Raises:
            CapError: `ram_bytes` is neither None nor a positive whole number of bytes.
        """
        if ram_bytes is not None and (
            isinstance(ram_bytes, bool) or not isinstance(ram_bytes, int) or ram_bytes <= 0
        ):
            raise CapError(f"ram_bytes must be a positive whole number of bytes, or None, got {ram_bytes!r}")
        return dataclasses.replace(self, ram_bytes=ram_bytes)

    def with_desktop(self, desktop_bytes: int, *, source: str = "given by the caller") -> Device:
        """This device with that much of its memory held by the desktop and other programs.

        Raises:
            CapError: `desktop_bytes` is no whole number of bytes of at least 0, or nothing of the memory would be left.
        """
        if isinstance(desktop_bytes, bool) or not isinstance(desktop_bytes, int) or desktop_bytes < 0:
            raise CapError(
                f"desktop_bytes must be a whole number of bytes of at least 0, got {desktop_bytes!r}"
            )
        if desktop_bytes >= self.memory_bytes:
            raise CapError(
                f"the desktop's {format_gib(desktop_bytes)} must be less than the {format_gib(self.memory_bytes)} of {self.name}"
            )
        sources = {**self.sources, "desktop_bytes": source}
        return dataclasses.replace(self, desktop_bytes=desktop_bytes, sources=sources)

    def to_json(self) -> dict[str, Any]:
        """All fields as plain JSON values; `from_json` gives an equal device back."""
        data: dict[str, Any] = {item.name: getattr(self, item.name) for item in dataclasses.fields(self)}
        for key in ("dense_flops", "efficiencies", "sources"):
            data[key] = dict(data[key])
        data["tables"] = {key: table.to_json() for key, table in self.tables.items()}
        data["corrections"] = {key: one.to_json() for key, one in self.corrections.items()}
        data["band"] = None if self.band is None else self.band.to_json()
        if self.compute_capability is not None:
            data["compute_capability"] = list(self.compute_capability)
        return {"format": FORMAT, **data}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Device:
        """The device that `to_json` wrote.

        Raises:
            InputError: a field is missing, unknown, or holds a value that no device can have.
        """
        if not isinstance(data, Mapping):
            raise InputError(f"a device must be a JSON object, got {type(data).__name__}")
        if data.get("format", 1) not in (1, FORMAT):
            raise InputError(f"a device's JSON must be of format 1 or {FORMAT}, got {data['format']!r}")
        data = {name: value for name, value in data.items() if name != "format"}
        known = [item.name for item in dataclasses.fields(cls)]
        optional = (
            *("ram_bytes", "unavailable_bytes", "desktop_bytes", "disk_bytes_per_s", "basis"),
            *("tables", "band", "corrections", "rent_usd_per_hour"),
        )
        missing = [name for name in known if name not in data and name not in optional]
        unknown = [str(name) for name in data if name not in known]
        if missing or unknown:
            raise InputError(
                f"a device's JSON must have the fields {', '.join(known)}; "
                f"missing: {', '.join(missing) or 'none'}; unknown: {', '.join(unknown) or 'none'}"
            )
        for key in ("dense_flops", "efficiencies", "sources", "tables", "corrections"):
            if not isinstance(data.get(key, {}), Mapping):
                raise InputError(f"{key} of a device must be a JSON object, got {data[key]!r}")
        fields = dict(data)
        fields["tables"] = {key: Table.from_json(table) for key, table in data.get("tables", {}).items()}
        given = data.get("corrections", {})
        fields["corrections"] = {key: Correction.from_json(one) for key, one in given.items()}
        fields["band"] = None if data.get("band") is None else TimeBand.from_json(data["band"])
        fields["compute_capability"] = _read_capability(data["compute_capability"])
        return cls(**fields)


def _read_capability(value: Any) -> tuple[int, int] | None:
    if value is None:
        return None
    if isinstance(value, list | tuple) and len(value) == 2 and all(type(part) is int for part in value):
        return (value[0], value[1])
    raise InputError(f"compute_capability of a device must be two whole numbers or null, got {value!r}")


def _check_whole(device: str, name: str, value: object, *, minimum: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
        raise InputError(f"{name} of {device} must be a whole number of bytes >= {minimum}, got {value!r}")


def _check_rate(device: str, name: str, value: object, per: str = "per second") -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or value <= 0:  # type: ignore[arg-type, operator]
        raise InputError(f"{name} of {device} must be a positive finite number {per}, got {value!r}")


def _check_keys(
    device: str, name: str, value: Mapping[str, float], *, required: tuple[str, ...], allowed: tuple[str, ...]
) -> None:
    missing = [key for key in required if key not in value]
    unknown = [str(key) for key in value if key not in allowed]
    if missing or unknown:
        raise InputError(
            f"{name} of {device} may have the keys {', '.join(allowed)} and needs {', '.join(required)}; "
            f"missing: {', '.join(missing) or 'none'}; unknown: {', '.join(unknown) or 'none'}"
        )
