"""Calibrations on disk: one JSON file for each device that was measured, read whenever that device is planned for. Touches the disk.

A file belongs to a card by its catalogue name, wherever it is planned for; the file of the CPU only counts on the machine with that CPU.
"""

from __future__ import annotations

import dataclasses
import json
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from workbench._errors import InputError
from workbench._files import replacing
from workbench.devices._device import Device

FORMAT: Final = 1
"""Of a calibration file."""
FOLDER_VARIABLE: Final = "WORKBENCH_CONFIG_DIR"
"""Environment variable that moves the folder."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibration:
    """What was measured of a device, when, with what, and how well it predicts."""

    device: Device
    """With `basis="calibrated"`: its rates, tables and band are measurements."""
    created_at: str
    """ISO 8601, UTC."""
    seconds: float
    """How long it took."""
    machine: str
    """Processor and number of threads."""
    noise: float
    """Median over the benchmarks of (slowest - fastest) / median of their rounds: above 0.2 other work disturbed it."""
    versions: Mapping[str, str]
    """Of torch and of whatever else ran."""
    samples: tuple[Mapping[str, Any], ...] = ()
    """Every benchmark: class, dtype, size, width, seconds."""
    checks: tuple[Mapping[str, Any], ...] = ()
    """Blocks of real models that nothing was fitted to, and later real jobs: name, predicted and measured seconds."""

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        names = [item.name for item in dataclasses.fields(self)]
        data = {name: getattr(self, name) for name in names}
        data |= {"device": self.device.to_json(), "versions": dict(self.versions)}
        data |= {name: [dict(row) for row in data[name]] for name in ("samples", "checks")}
        return {"format": FORMAT, **data}

    @classmethod
    def from_json(cls, data: Any) -> Calibration:
        """The inverse of `to_json`.

        Raises:
            InputError: a field is missing or unknown, or the format is another one.
        """
        known = [item.name for item in dataclasses.fields(cls)]
        if not isinstance(data, Mapping) or data.get("format") != FORMAT:
            raise InputError(f"a calibration must be a JSON object of format {FORMAT}")
        fields = {name: value for name, value in data.items() if name != "format"}
        if set(fields) != set(known):
            raise InputError(
                f"a calibration must have the fields {', '.join(known)}, got {', '.join(fields)}"
            )
        fields |= {"device": Device.from_json(fields["device"])}
        fields |= {name: tuple(fields[name]) for name in ("samples", "checks")}
        return cls(**fields)


def calibration_folder() -> Path:
    """`$WORKBENCH_CONFIG_DIR/devices`, or `diffusion-workbench/devices` in `$XDG_CONFIG_HOME` (`~/.config`)."""
    if chosen := os.environ.get(FOLDER_VARIABLE):
        return Path(chosen).expanduser() / "devices"
    base = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(base) / "diffusion-workbench" / "devices"


def calibration_file(name: str) -> Path:
    """Where the calibration of the device of that name is or would be."""
    return calibration_folder() / f"{name}.json"


def save_calibration(calibration: Calibration) -> Path:
    """Writes a calibration, from then on used for its device; the file appears complete or not at all."""
    path = calibration_file(calibration.device.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(calibration.to_json(), indent=1), encoding="utf-8")
    return path


def load_calibration(name: str) -> Calibration | None:
    """The calibration of the device of that name; None if there is none, or it is of another machine's CPU.

    Raises:
        InputError: the file cannot be read as one.
    """
    path = calibration_file(name)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InputError(f"the calibration {path} cannot be read: {error}") from error
    try:
        found = Calibration.from_json(json.loads(text))
    except (ValueError, TypeError) as error:
        raise InputError(
            f"{path} is no calibration ({error}): run `workbench calibrate` again, or `workbench calibrate --reset`"
        ) from error
    return None if name == "cpu" and found.machine != machine_name() else found


def remove_calibrations() -> tuple[Path, ...]:
    """Deletes every calibration of this user; the paths that were deleted."""
    paths = tuple(sorted(calibration_folder().glob("[!.]*.json")))
    for path in paths:
        path.unlink(missing_ok=True)
    return paths


def calibrated(device: Device) -> Device:
    """The device with the rates that were measured on it, if they were; its memory and host RAM stay as they are.

    Raises:
        InputError: there is a calibration that cannot be read.
    """
    if device.basis == "calibrated":
        return device
    found = load_calibration(device.name)
    if found is None:
        return device
    measured = found.device
    kept = ("memory_bytes", "ram_bytes", "context_bytes", "unavailable_bytes")
    sources = {**measured.sources, **{key: device.sources[key] for key in kept if key in device.sources}}
    return dataclasses.replace(measured, **{key: getattr(device, key) for key in kept}, sources=sources)


def rates_of(device: Device) -> str:
    """Names all that times on a device depend on: two devices with one such name take the same time for the same ops."""
    return f"{device.name} {device.basis} {device.sources.get('calibration', '')}"


def machine_name() -> str:
    """The processor of this machine and how many threads it runs."""
    return f"{_processor()}, {os.cpu_count() or 1} threads"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
