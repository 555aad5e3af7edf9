"""From what a caller passes (a card, its name, a cap, host RAM) to one `Device`."""

from __future__ import annotations

from workbench._units import from_gib
from workbench.devices._catalogue import get
from workbench.devices._device import Device
from workbench.devices._typical import checked_cap, typical

DEFAULT_VRAM_GB = 12.0
"""Without a card and without a cap a plan is for a card of this size, the smallest that is common among those who ask."""


def resolve(
    device: Device | str | None = None, *, vram_gb: float | None = None, ram_gb: float | None = None
) -> Device:
    """The device to plan for.

    Args:
        device: a card or its catalogue name; None means a typical card of `vram_gb`.
        vram_gb: the cap in GiB; None means all of the card.
        ram_gb: host RAM in GiB; None leaves it unlimited.

    Raises:
        UnknownNameError: no card of that name.
        CapError: a cap that is no positive number, or above the card's memory.
    """
    if device is None:
        chosen = typical(DEFAULT_VRAM_GB if vram_gb is None else vram_gb)
    else:
        chosen = get(device) if isinstance(device, str) else device
        if vram_gb is not None:
            chosen = chosen.capped(memory_bytes=from_gib(checked_cap("vram_gb", vram_gb)))
    if ram_gb is None:
        return chosen
    return chosen.with_ram(from_gib(checked_cap("ram_gb", ram_gb)))
