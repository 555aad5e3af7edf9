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


_CUDA_ONLY: Final = "memory and time are traced with PyTorch's CUDA kernels (cuDNN, cuBLAS, FlashAttention and what they take)"
_ELSEWHERE: Final[tuple[tuple[str, str], ...]] = (
    (
        r"(amd|instinct|radeon)[a-z0-9]*|mi\d{3}[a-z0-9]*|rx\d{4}[a-z]*",
        f"AMD cards cannot be priced: {_CUDA_ONLY}, and those of ROCm (MIOpen, hipBLASLt, its own attention) take other memory and time, "
        "which nobody has compared. The figures of an MI300X (192 GB, 5.3 TB/s) alone would say nothing",
    ),
    (
        r"apple[a-z0-9]*|mps|m[1-9](pro|max|ultra)?",
        f"Apple silicon cannot be priced: {_CUDA_ONLY}, and Metal's (MPS) are others; its memory is the host's too",
    ),
)
"""Spellings of what people have and no row can stand for -> why."""


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
    for spelling, reason in _ELSEWHERE:
        if isinstance(name, str) and re.fullmatch(spelling, _spelling(name)):
            raise UnknownNameError(f"unknown device {name!r}: {reason}")
    # "h100" and "rtx-3060" are short for something; spelling distance alone would offer "a100-40gb" and "rtx-3090" first.
    longer = [known for known in names() if known.startswith(f"{name}-".lower())]
    if longer:
        raise UnknownNameError(
            f"unknown device {name!r}: did you mean {', '.join(longer)}? ({len(names())} are known)"
        )
    raise UnknownNameError.of("device", name, names())
