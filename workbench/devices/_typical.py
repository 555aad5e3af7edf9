"""`vram_gb=12` without a device: which card is meant."""

from __future__ import annotations

import math
from numbers import Real
from typing import Final

from workbench._errors import CapError
from workbench._units import from_gib, gib
from workbench.devices._catalogue import get
from workbench.devices._device import Device

# One card per size. Where several are common, the one that more people have or rent, by the judgement stated:
COMMON: Final = (
    "rtx-2060-6gb",
    "rtx-4060-8gb",
    "rtx-3080-10gb",
    "rtx-3060-12gb",  # before the faster RTX 4070: the long-time leader of the Steam hardware survey
    "rtx-4060-ti-16gb",  # before the RTX 4080 and the T4: the cheapest way to 16 GB, so the cautious answer on time
    "rtx-4090",  # before the RTX 3090: the 24 GB card of most published video-diffusion measurements and of cloud offers
    "rtx-5090",
    "a100-40gb",
    "l40s",  # before the RTX A6000: what clouds rent at 48 GB
    "h100-80gb",
    "h200",
    "b200",
)


def checked_cap(name: str, value: float) -> float:
    """A cap in GiB, as a float.

    Raises:
        CapError: the value is no positive finite number.
    """
    number = isinstance(value, Real) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or value <= 0:
        raise CapError(f"{name} must be a positive number of GiB, got {value!r}")
    if from_gib(float(value)) == 0:
        raise CapError(f"{name} must be at least one byte, got {value!r} GiB")
    return float(value)


def typical(vram_gb: float) -> Device:
    """A common card with that much memory; between two sizes the next larger card, capped to what was asked.

    `vram_gb=12` means a card sold as 12 GB, that is 12 GiB. The name of a capped card stays, so the output says which card
    the times are of; below the smallest size it is the smallest card, capped.

    Raises:
        CapError: `vram_gb` is no positive finite number, or is above the largest card.
    """
    asked_bytes = from_gib(checked_cap("vram_gb", vram_gb))
    for name in COMMON:
        device = get(name)
        if asked_bytes <= device.memory_bytes:
            return device.capped(memory_bytes=asked_bytes)
    largest = get(COMMON[-1])
    raise CapError(
        f"vram_gb={vram_gb!r} is above the {gib(largest.memory_bytes):g} GiB of {largest.name}, "
        "the largest card in the catalogue"
    )
