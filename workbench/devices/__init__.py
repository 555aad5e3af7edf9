"""GPUs that people own or rent, as data: memory, dense rates, host link, and where each number is from."""

from workbench.devices._calibrated import (
    Calibration,
    calibrated,
    calibration_file,
    load_calibration,
    machine_name,
    rates_of,
    remove_calibrations,
    save_calibration,
)
from workbench.devices._catalogue import get, names
from workbench.devices._corrections import Correction, corrections, kind_of
from workbench.devices._detect import cpu, this_machine
from workbench.devices._device import Device
from workbench.devices._resolve import DEFAULT_VRAM_GB, resolve
from workbench.devices._tables import Table, TimeBand
from workbench.devices._typical import typical

__all__ = [
    "DEFAULT_VRAM_GB",
    "Calibration",
    "Correction",
    "Device",
    "Table",
    "TimeBand",
    "calibrated",
    "calibration_file",
    "corrections",
    "cpu",
    "get",
    "kind_of",
    "load_calibration",
    "machine_name",
    "names",
    "rates_of",
    "remove_calibrations",
    "resolve",
    "save_calibration",
    "this_machine",
    "typical",
]
