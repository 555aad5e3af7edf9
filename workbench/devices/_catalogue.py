"""The catalogue of cards that people own or rent: one tuple, looked up by name."""

from __future__ import annotations

from typing import Final

from workbench._errors import UnknownNameError
from workbench.devices import _datacentre, _geforce, _workstation
from workbench.devices._device import Device

ALL: Final[tuple[Device, ...]] = (*_geforce.CARDS, *_workstation.CARDS, *_datacentre.CARDS)
_BY_NAME: Final = {device.name: device for device in ALL}


def names() -> tuple[str, ...]:
    """The names that `get` knows, GeForce first, then workstation and data centre, each from old to new."""
    return tuple(_BY_NAME)


def get(name: str) -> Device:
    """The card of that name.

    Raises:
        UnknownNameError: there is none; the message offers the nearest names.
    """
    if isinstance(name, str) and name in _BY_NAME:
        return _BY_NAME[name]
    # "h100" and "rtx-3060" are short for something; spelling distance alone would offer "a100-40gb" and "rtx-3090" first.
    longer = [known for known in names() if known.startswith(f"{name}-".lower())]
    if longer:
        raise UnknownNameError(
            f"unknown device {name!r}: did you mean {', '.join(longer)}? ({len(names())} are known)"
        )
    raise UnknownNameError.of("device", name, names())
