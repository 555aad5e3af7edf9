"""GPUs that people own or rent, as data: memory, dense rates, host link, and where each number is from."""

from workbench.devices._catalogue import get, names
from workbench.devices._detect import cpu, this_machine
from workbench.devices._device import Device
from workbench.devices._resolve import DEFAULT_VRAM_GB, resolve
from workbench.devices._typical import typical

__all__ = ["DEFAULT_VRAM_GB", "Device", "cpu", "get", "names", "resolve", "this_machine", "typical"]
