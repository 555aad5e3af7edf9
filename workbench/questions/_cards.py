"""`cards`: which card is enough for a workload, and which makes a clip cheapest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench._errors import InputError
from workbench._estimate import Predictor, collector_paused
from workbench.devices import Device, names
from workbench.devices import resolve as resolve_device
from workbench.models import DEFAULT_MODEL, ModelSpec
from workbench.questions._asked import Asked, Tell, silent
from workbench.questions._fastest import Found, fastest
from workbench.search.caution import TOLERATED
from workbench.techniques import Settings

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline


@dataclass(frozen=True, kw_only=True, slots=True)
class CardRow:
    """One card and the best plan on it."""

    device: Device
    found: Found

    @property
    def seconds(self) -> float | None:
        """Expected seconds of a clip; None when nothing meets the limits."""
        return None if self.found.best is None else self.found.best.cost.total_s

    @property
    def rent_usd_per_hour(self) -> float | None:
        """What the card is rented for, as its row in the catalogue says; None when that is unknown."""
        return self.device.rent_usd_per_hour

    @property
    def usd_per_clip(self) -> float | None:
        """Rent for the expected seconds of one clip: the call itself, without loading; None when unknown."""
        if self.seconds is None or self.rent_usd_per_hour is None:
            return None
        return self.seconds / 3600 * self.rent_usd_per_hour

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        best, miss = self.found.best, self.found.miss
        shown = best if best is not None else miss
        return {
            "device": self.device.name,
            "memory_gib": self.device.memory_bytes / 2**30,
            "fits": best is not None,
            "binds": self.found.binds,
            "total_s": None if shown is None else shown.cost.total_s,
            "required_vram_gib": None if shown is None else shown.cost.required_vram_bytes / 2**30,
            "host_ram_gib": None if shown is None else shown.cost.host_ram_bytes / 2**30,
            "caution": None if shown is None else shown.caution,
            "settings": None if shown is None else shown.settings.to_json(),
            "rent_usd_per_hour": self.rent_usd_per_hour,
            "usd_per_clip": self.usd_per_clip,
        }


@dataclass(frozen=True, kw_only=True, repr=False)
class Cards:
    """The cards for a workload. Shows itself as a table, in a terminal and in a notebook."""

    asked: Asked
    rows: tuple[CardRow, ...]
    """By memory, then by time: those on which something meets the limits before those on which nothing does, at equal memory."""

    @property
    def good(self) -> tuple[CardRow, ...]:
        """Those on which something meets the limits."""
        return tuple(row for row in self.rows if row.found.best is not None)

    @property
    def smallest(self) -> CardRow | None:
        """The card of least memory that is enough, the fastest of that size."""
        return next(iter(self.good), None)

    @property
    def fastest(self) -> CardRow | None:
        """The card that makes a clip soonest."""
        return min(self.good, key=lambda row: row.seconds or 0.0, default=None)

    @property
    def cheapest(self) -> CardRow | None:
        """The rented card that makes a clip for least; None when no rent is known."""
        priced = [row for row in self.good if row.usd_per_clip is not None]
        return min(priced, key=lambda row: row.usd_per_clip or 0.0, default=None)

    def to_json(self) -> dict[str, Any]:
        """One JSON object: what `--json` prints."""
        named = {"smallest": self.smallest, "fastest": self.fastest, "cheapest": self.cheapest}
        return {
            **self.asked.to_json(),
            **{name: None if row is None else row.device.name for name, row in named.items()},
            "cards": [row.to_json() for row in self.rows],
        }

    def __repr__(self) -> str:
        from workbench.questions._cards_report import cards_report
        from workbench.search._render_text import render_report

        return render_report(cards_report(self))

    def _repr_html_(self) -> str:
        from workbench.questions._cards_report import cards_report
        from workbench.search._render_html import render_report

        return render_report(cards_report(self))


def cards(
    model: ModelSpec | str | Path | DiffusionPipeline = DEFAULT_MODEL,
    *,
    devices: Sequence[Device | str] | None = None,
    frames: int | None = None,
    height: int | None = None,
    width: int | None = None,
    steps: int | None = None,
    guidance: float | None = None,
    batch: int | None = None,
    ram_gb: float | None = None,
    desktop_gb: float | None = None,
    max_seconds: float | None = None,
    min_quality: float | None = None,
    max_caution: int | None = TOLERATED,
    pin: Settings | Mapping[str, Any] | None = None,
    forbid: Sequence[str] = (),
    tell: Tell = silent,
) -> Cards:
    """Plans one workload on every card: which is the smallest that is enough, the fastest, and the cheapest to rent per clip.

    Args:
        devices: cards or their names; None means the whole catalogue.
        ram_gb, desktop_gb: host RAM of every machine, and what its desktop holds on the card, as in `plan`.
        max_seconds, min_quality, max_caution, pin, forbid: as in `fit`.
        tell: called with a card's name when it is looked at.

    Raises:
        InputError: something of this is wrong; the message says what, which value, and what is allowed.
    """
    size = {"frames": frames, "height": height, "width": width}
    asked = Asked.of(
        model,
        size | {"steps": steps, "guidance": guidance, "batch": batch},
        max_seconds=max_seconds,
        min_quality=min_quality,
        max_caution=max_caution,
        pin=pin,
        forbid=forbid,
    )
    chosen: list[Device | str] = list(names() if devices is None else devices)
    if not chosen:
        raise InputError("cards needs at least one device, got none")
    predictor = Predictor(asked.workload)
    rows = []
    with collector_paused():
        for device in (resolve_device(card, ram_gb=ram_gb, desktop_gb=desktop_gb) for card in chosen):
            tell(device.name)
            rows.append(CardRow(device=device, found=_found(predictor, device, asked)))
    return Cards(asked=asked, rows=tuple(sorted(rows, key=_place)))


def _found(predictor: Predictor, device: Device, asked: Asked) -> Found:
    """The best plan on a card; none where what is pinned cannot act on it."""
    from workbench._errors import SettingsError

    try:
        return fastest(predictor, device, asked.limits, asked.pins)
    except SettingsError:
        asked.pins.check(predictor.spec, None)  # what cannot act on the model itself is the caller's mistake
        return Found(best=None, miss=None, binds="what is pinned")


def _place(row: CardRow) -> tuple[int, bool, float, str]:
    seconds = row.seconds
    return (row.device.memory_bytes, seconds is None, seconds or 0.0, row.device.name)
