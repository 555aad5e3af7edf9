"""The catalogue of cards that people own or rent: one tuple, looked up by name."""

from __future__ import annotations

import re
from typing import Final

from workbench._errors import UnknownNameError
from workbench.devices import _datacentre, _geforce, _geforce_reviews, _workstation
from workbench.devices._device import Device

ALL: Final[tuple[Device, ...]] = (
    *_geforce.CARDS,
    *_geforce_reviews.CARDS,
    *_workstation.CARDS,
    *_datacentre.CARDS,
)
_BY_NAME: Final = {device.name: device for device in ALL}


def _spelling(name: str) -> str:
    """What is left of a name when case, spaces, hyphens and the maker's words are taken out: one for "RTX 4090" and "rtx-4090"."""
    return re.sub(r"nvidia|geforce|[^a-z0-9]", "", name.lower())


_BY_SPELLING: Final = {_spelling(text): device for device in ALL for text in (device.title, device.name)}


def names() -> tuple[str, ...]:
    """The names that `get` knows, GeForce first, then workstation and data centre, each from old to new."""
    return tuple(_BY_NAME)


def get(name: str) -> Device:
    """The card of that name, or of a title like `"NVIDIA GeForce RTX 4090 24 GB"`; case, spaces and hyphens do not matter.

    Raises:
        UnknownNameError: there is none; the message offers the nearest names.
    """
    known_as = _BY_SPELLING.get(_spelling(name)) if isinstance(name, str) else None
    if known_as is not None:
        return known_as
    # "h100" and "rtx-3060" are short for something; spelling distance alone would offer "a100-40gb" and "rtx-3090" first.
    longer = [known for known in names() if known.startswith(f"{name}-".lower())]
    if longer:
        raise UnknownNameError(
            f"unknown device {name!r}: did you mean {', '.join(longer)}? ({len(names())} are known)"
        )
    raise UnknownNameError.of("device", name, names())
