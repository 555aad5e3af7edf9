"""From what a caller passes (a card, its name, a cap, host RAM) to one `Device`."""

from __future__ import annotations

import math
from numbers import Real

from workbench._errors import CapError, UnknownNameError
from workbench._units import from_gib
from workbench.devices._calibrated import calibrated
from workbench.devices._catalogue import get
from workbench.devices._detect import cpu, this_machine
from workbench.devices._device import Device
from workbench.devices._typical import checked_cap, typical

DEFAULT_VRAM_GB = 12.0
"""Without a card and without a cap a plan is for a card of this size, the smallest that is common among those who ask."""


def resolve(
    device: Device | str | None = None,
    *,
    vram_gb: float | None = None,
    ram_gb: float | None = None,
    desktop_gb: float | None = None,
) -> Device:
    """The device to plan for, with the rates that were measured on it where it was calibrated.

    Args:
        device: a card, which is taken as it is, or its catalogue name; `"cpu"` is this machine's CPU, `"this"` its GPU; None means a
            typical card of `vram_gb`.
        vram_gb: the cap in GiB; None means all of the card.
        ram_gb: host RAM in GiB; None leaves it unlimited.
        desktop_gb: GiB that the desktop and other programs hold, within the card's memory or the cap; None means the card's default, of
            which a cap below the card's memory takes first what it takes away.

    Raises:
        UnknownNameError: no card of that name, or this machine has no GPU that the catalogue knows.
        CapError: a cap that is no positive number, or above the card's memory; a desktop that leaves nothing.
    """
    if device is None:
        chosen = calibrated(typical(DEFAULT_VRAM_GB if vram_gb is None else vram_gb))
    else:
        chosen = calibrated(_named(device)) if isinstance(device, str) else device
        if vram_gb is not None:
            chosen = chosen.capped(memory_bytes=from_gib(checked_cap("vram_gb", vram_gb)))
    if desktop_gb is not None:
        number = isinstance(desktop_gb, Real) and not isinstance(desktop_gb, bool)
        if not number or not math.isfinite(desktop_gb) or desktop_gb < 0:
            raise CapError(f"desktop_gb must be a number of GiB of at least 0, got {desktop_gb!r}")
        chosen = chosen.with_desktop(from_gib(float(desktop_gb)))
    if ram_gb is None:
        return chosen
    return chosen.with_ram(from_gib(checked_cap("ram_gb", ram_gb)))


def _named(name: str) -> Device:
    if name == "cpu":
        return cpu()
    if name != "this":
        return get(name)
    found = this_machine()
    if found is None:
        raise UnknownNameError(
            "device 'this' is this machine's GPU, and PyTorch sees none that the catalogue knows; its CPU is 'cpu'"
        )
    return found
