"""Costs and plans made by hand, with round numbers: for tests of what shows them. Nothing here was predicted."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from workbench._units import from_gib
from workbench.cost import Cost, Price, Quality, QualityEffect, StageCost
from workbench.cost.price import required_vram_bytes
from workbench.devices import Device
from workbench.devices import get as get_device
from workbench.models import Workload
from workbench.search import Candidate, Plan
from workbench.techniques import Settings

if TYPE_CHECKING:
    import optuna

STAGES_GIB = {
    "text_encode": (10.5, 0.1, 0.2),
    "denoise": (2.7, 1.5, 0.25),
    "decode": (0.5, 4.4, 0.6),
}
"""Weights, activations and reserved but not allocated GiB by stage."""

_KINDS = {"matmul": 0.5, "attention": 0.3, "conv": 0.0, "memory": 0.15, "launch": 0.01, "transfer": 0.04}
_SECONDS = {"text_encode": 0.002, "denoise": 0.978, "decode": 0.02}


def fake_stage(name: str, gibs: tuple[float, float, float], seconds: float) -> StageCost:
    """A stage of (weights, activations, unallocated) GiB; its time is bounded by everything a little."""
    weights, activations, unallocated = map(from_gib, gibs)
    return StageCost(
        name=name,
        weights_bytes=weights,
        activations_bytes=activations,
        peak_allocated_bytes=weights + activations,
        peak_reserved_bytes=weights + activations + unallocated,
        binds={
            "decode": "vae.decoder.up_blocks.2: convolution",
            "denoise": "transformer.blocks.0.ffn: gelu",
        }.get(name, f"{name.removesuffix('_encode')}_encoder: embedding"),
        seconds=seconds,
        low_s=seconds / 1.6,
        high_s=seconds * 1.6,
        by_kind_s={kind: share * seconds for kind, share in _KINDS.items()},
    )


def fake_cost(
    settings: Mapping[str, Any] | None = None,
    *,
    seconds: float = 365.0,
    stages_gib: Mapping[str, tuple[float, float, float]] = STAGES_GIB,
    effects: Sequence[QualityEffect] = (),
    device: Device | str = "rtx-3060-12gb",
    host_ram_gib: float = 11.3,
    workload: Workload | None = None,
    notes: Sequence[str] = (),
) -> Cost:
    """A cost of round numbers, with the context, the desktop and the margin that a price has."""
    card = get_device(device) if isinstance(device, str) else device
    shares = {name: _SECONDS.get(name, 0.02) for name in stages_gib}
    stages = tuple(
        fake_stage(name, gibs, seconds * shares[name] / sum(shares.values()))
        for name, gibs in stages_gib.items()
    )
    allocated = max(stage.peak_allocated_bytes for stage in stages)
    reserved = max(stage.peak_reserved_bytes for stage in stages)
    price = Price(
        stages=stages,
        peak_allocated_bytes=allocated,
        peak_reserved_bytes=reserved,
        required_vram_bytes=required_vram_bytes(stages, card),
        host_ram_bytes=from_gib(host_ram_gib),
    )
    return Cost(
        workload=workload if workload is not None else Workload.for_model(),
        device=card,
        settings=dict(settings or {}),
        dtypes={"text_encoder": "bf16", "transformer": "bf16", "vae": "fp32"},
        price=price,
        quality=Quality(effects=tuple(effects)),
        versions={"workbench": "0.1.0", "torch": "2.13.0", "diffusers": "0.42.1"},
        notes=tuple(notes),
    )


def exact(technique: str) -> QualityEffect:
    """The effect of a technique that leaves the output as it is."""
    return QualityEffect(technique=technique, provenance="exact", loss_percent=0.0, metric="", source="")


def unknown(technique: str) -> QualityEffect:
    """The effect that nobody has measured."""
    return QualityEffect(technique=technique, provenance="unknown", loss_percent=None, metric="", source="")


def published(technique: str, loss_percent: float, metric: str = "PSNR") -> QualityEffect:
    """An effect that a paper states."""
    source = "a paper, table 2"
    return QualityEffect(
        technique=technique, provenance="published", loss_percent=loss_percent, metric=metric, source=source
    )


def fake_candidate(cost: Cost, caution: int = 0) -> Candidate:
    """A candidate of this cost, with the settings that the cost names."""
    return Candidate(settings=Settings.parse(dict(cost.settings)), cost=cost, caution=caution)


def fake_plan(front: Sequence[Candidate], *, best: int | None = 0, misses: Sequence[Candidate] = ()) -> Plan:
    """A plan of these candidates, fastest first.

    Args:
        best: which of the front is the best; ignored when there is no front.
        misses: what was priced and is not of the front; the first is the nearest miss when nothing fits.
    """
    found = bool(front) and best is not None
    shown = front[0] if front else misses[0]
    return Plan(
        workload=shown.cost.workload,
        device=shown.cost.device,
        best=front[best] if found and best is not None else None,
        front=tuple(front),
        nearest_miss=None if found else misses[0],
        study=_study([*front, *misses]),
        trials=len(front) + len(misses),
        seconds=2.4,
        ranking="the fastest that fits among plans of caution up to 3",
    )


def _study(candidates: Sequence[Candidate]) -> optuna.Study:
    """A finished study with one trial per candidate, as a search leaves it."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(directions=["minimize", "minimize"])
    for candidate in candidates:
        cost = candidate.cost
        study.add_trial(
            optuna.trial.create_trial(
                values=[cost.total_s, float(candidate.caution)],
                user_attrs={
                    "settings": json.dumps(dict(cost.settings)),
                    "required_vram_gib": cost.required_vram_bytes / 2**30,
                },
            )
        )
    return study
