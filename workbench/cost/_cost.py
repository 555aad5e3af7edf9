"""`Cost`: the predicted memory, time and quality of one configuration, with the provenance of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from workbench._units import gib
from workbench.cost.margin import stage_margin
from workbench.cost.price import Price, StageCost, fit_probability
from workbench.devices import Device
from workbench.models import Workload


@dataclass(frozen=True, kw_only=True, slots=True)
class Distance:
    """How far a run's output is from that of the un-optimised run with the same seed: the middle clip, and the range over clips."""

    psnr_db: float
    """At most 100, for clips that differ by less than a byte shows."""
    psnr_low_db: float
    psnr_high_db: float
    ssim: float
    """1 for equal clips."""
    ssim_low: float
    ssim_high: float
    clips: int
    provenance: str
    """`measured on this model` or `measured on the miniature`; of a combination, the weaker of its parts'."""
    source: str
    """What was run."""
    predicted: bool = False
    """Whether it is worked out from the distances of several parts, instead of measured as it is."""

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class QualityEffect:
    """What one technique does to the output, and where that is known from."""

    technique: str
    provenance: str
    """`exact`, `published`, `measured on the miniature`, `measured on this model` or `unknown`."""
    loss_percent: float | None
    """None when unknown."""
    metric: str
    source: str
    distance: Distance | None = None
    """What was measured of it; None when nothing near it was."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Quality:
    """The effects of all techniques in use."""

    effects: tuple[QualityEffect, ...] = ()
    distance: Distance | None = None
    """Of all techniques together, predicted from what was measured of each; None unless all that are not exact are known."""

    @property
    def is_exact(self) -> bool:
        """Whether every technique leaves the output as it is, to rounding."""
        return all(effect.provenance == "exact" for effect in self.effects)

    @property
    def unknown(self) -> tuple[str, ...]:
        """Techniques whose effect nobody has measured."""
        return tuple(
            effect.technique
            for effect in self.effects
            if effect.loss_percent is None and effect.distance is None
        )

    @property
    def known_loss_percent(self) -> float:
        """Sum of the losses that are known; what is unknown is not in it."""
        return sum(effect.loss_percent for effect in self.effects if effect.loss_percent is not None)

    def to_json(self) -> dict[str, Any]:
        """Every number with its provenance; a loss is null when part of it is unknown."""
        effects = [
            {
                "technique": e.technique,
                "loss_percent": e.loss_percent,
                "metric": e.metric,
                "provenance": e.provenance,
                "source": e.source,
                "distance": None if e.distance is None else e.distance.to_json(),
            }
            for e in self.effects
        ]
        return {
            "exact": self.is_exact,
            "loss_percent": None
            if any(e.loss_percent is None for e in self.effects)
            else self.known_loss_percent,
            "known_loss_percent": self.known_loss_percent,
            "unknown": list(self.unknown),
            "distance": None if self.distance is None else self.distance.to_json(),
            "effects": effects,
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """What one configuration is predicted to cost. `to_json` is the contract of the command line's `--json`."""

    workload: Workload
    device: Device
    settings: Mapping[str, Any] = field(hash=False)
    """Settings JSON."""
    dtypes: Mapping[str, str] = field(hash=False)
    """Loading dtype of each component."""
    price: Price
    quality: Quality
    versions: Mapping[str, str] = field(hash=False)
    """Libraries that the prediction is of: another version's code may need another amount."""
    notes: tuple[str, ...] = ()
    """What the reader must know: assumptions, stand-ins, techniques that do nothing here."""

    @property
    def required_vram_bytes(self) -> int:
        """Reserved memory, CUDA context, what the desktop holds, and margin."""
        return self.price.required_vram_bytes

    @property
    def margin_bytes(self) -> int:
        """What is left free for a prediction that is too low."""
        used = self.price.peak_reserved_bytes + self.device.context_bytes + self.device.desktop_bytes
        return self.required_vram_bytes - used

    @property
    def fit_probability(self) -> float:
        """At least how likely the run fits the card's VRAM; `margin_basis` says by what it is judged."""
        return fit_probability(self.price.stages, self.device)

    @property
    def margin_basis(self) -> str:
        """Where margin and probability are from, in words."""
        return stage_margin(self.binds.name).basis

    @property
    def host_ram_bytes(self) -> int:
        """Host RAM at its highest."""
        return self.price.host_ram_bytes

    @property
    def total_s(self) -> float:
        """Expected seconds of the whole call."""
        return self.price.seconds[0]

    @property
    def fits(self) -> bool:
        """Whether the device's VRAM, and its host's RAM where that is known, are enough."""
        return self.missing_bytes == 0

    @property
    def missing_bytes(self) -> int:
        """By how much VRAM and host RAM together are exceeded; 0 when it fits."""
        vram = max(0, self.required_vram_bytes - self.device.memory_bytes)
        ram = max(0, self.host_ram_bytes - self.device.ram_bytes) if self.device.ram_bytes is not None else 0
        return vram + ram

    @property
    def binds(self) -> StageCost:
        """The stage that sets the peak."""
        return max(self.price.stages, key=lambda stage: stage.peak_reserved_bytes)

    def to_json(self) -> dict[str, Any]:
        """One JSON object: what `--json` prints; its keys are a contract."""
        expected, low, high = self.price.seconds
        return {
            "workload": self.workload.to_json(),
            "device": _device_json(self.device),
            "settings": dict(self.settings),
            "dtypes": dict(self.dtypes),
            "memory": {
                "peak_allocated_gib": gib(self.price.peak_allocated_bytes),
                "peak_reserved_gib": gib(self.price.peak_reserved_bytes),
                "required_vram_gib": gib(self.required_vram_bytes),
                "host_ram_gib": gib(self.host_ram_bytes),
                "host_ram": None if self.price.host_ram is None else self.price.host_ram.to_json(),
                "loading": [peak.to_json() for peak in self.price.loading],
                "peak_stage": self.price.peak_stage,
                "fits": self.fits,
                "fit_probability": self.fit_probability,
                "margin_gib": gib(self.margin_bytes),
                "margin_basis": self.margin_basis,
                "desktop_gib": gib(self.device.desktop_bytes),
                "stages": [_stage_memory_json(stage) for stage in self.price.stages],
                "whereabouts": [row.to_json() for row in self.price.timeline.rows()],
            },
            "time": {
                "total_s": expected,
                "low_s": low,
                "high_s": high,
                "basis": self.device.basis,
                "coverage": None if self.device.band is None else self.device.band.coverage,
                "stages": [_stage_time_json(stage) for stage in self.price.stages],
            },
            "quality": self.quality.to_json(),
            "notes": list(self.notes),
            "versions": dict(self.versions),
        }


def _device_json(device: Device) -> dict[str, Any]:
    return {
        "name": device.name,
        "title": device.title,
        "memory_gib": gib(device.memory_bytes),
        "context_gib": gib(device.context_bytes),
        "ram_gib": None if device.ram_bytes is None else gib(device.ram_bytes),
        "basis": device.basis,
    }


def _stage_memory_json(stage: StageCost) -> dict[str, Any]:
    return {
        "name": stage.name,
        "weights_gib": gib(stage.weights_bytes),
        "activations_gib": gib(stage.activations_bytes),
        "peak_allocated_gib": gib(stage.peak_allocated_bytes),
        "peak_reserved_gib": gib(stage.peak_reserved_bytes),
        "binds": stage.binds,
    }


def _stage_time_json(stage: StageCost) -> dict[str, Any]:
    return {
        "name": stage.name,
        "seconds": stage.seconds,
        "low_s": stage.low_s,
        "high_s": stage.high_s,
        "by_kind_s": dict(stage.by_kind_s),
    }
