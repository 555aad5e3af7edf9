"""What renting a card costs, as far as a dated offer is known. Prices of marketplaces move by tens of percent within weeks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

_RUNPOD: Final = (
    "lowest RunPod offer (community or interruptible where there is one) as of March 2026, quoted by deploybase.ai, "
    "'RunPod GPU pricing', 2026-03-10; on-demand offers of other clouds are up to twice that"
)
_LIST: Final[Mapping[str, float]] = {
    "rtx-3090": 0.22,
    "rtx-4090": 0.34,
    "l4": 0.44,
    "l40": 0.69,
    "rtx-5090": 0.69,
    "l40s": 0.79,
    "a100-80gb": 1.39,
    "h100-80gb": 2.69,
    "h200": 3.59,
    "b200": 5.98,
}

RENTS: Final[Mapping[str, tuple[float, str]]] = {name: (usd, _RUNPOD) for name, usd in _LIST.items()}
"""Name -> (US dollars an hour for one card, the offer and its date). A card that is missing is one whose rent we do not know."""
