"""What is known of the quality of settings, from the best source there is for each technique."""

from __future__ import annotations

from workbench.cost import Quality, QualityEffect
from workbench.models import ModelSpec, Workload
from workbench.quality._model import Loss, combined, of_technique
from workbench.quality._parts import parts_of
from workbench.quality._records import QualityRecords, shipped
from workbench.techniques import AbstractTechnique, Settings

_MINIATURE = "miniature"
MEASURED_HERE = "measured on this model"


def quality_of(settings: Settings, spec: ModelSpec, workload: Workload) -> Quality:
    """Each technique's effect with its provenance, and the distance of all together where all of them are known.

    A technique's own statement (`exact`, a published loss) stands beside what was measured on the model itself or on the miniature.
    """
    records = shipped()
    losses = [
        None if technique.effect().provenance == "exact" else _loss(technique, spec, workload, records)
        for technique in settings.techniques
    ]
    effects = tuple(
        _effect(technique, loss) for technique, loss in zip(settings.techniques, losses, strict=True)
    )
    known = [loss for loss in losses if loss is not None]
    inexact = sum(effect.provenance != "exact" for effect in effects)
    is_whole = records is not None and known and len(known) == inexact
    whole = combined(known, records) if is_whole and records is not None else None
    return Quality(effects=effects, distance=None if whole is None else whole.distance())


def _loss(
    technique: AbstractTechnique, spec: ModelSpec, workload: Workload, records: QualityRecords | None
) -> Loss | None:
    if records is None:
        return None
    found = of_technique(technique, spec, workload, records)
    if found is None or spec.name != _MINIATURE:
        # what happened to change nothing on the miniature (a cache below its threshold, a network without such layers) is unknown elsewhere
        changed = found is not None and (any(found.mse) or not parts_of(technique, spec, workload))
        return found if changed else None
    return Loss(found.mse, found.dssim, MEASURED_HERE, found.source)


def _effect(technique: AbstractTechnique, loss: Loss | None) -> QualityEffect:
    said = technique.effect()
    distance = None if loss is None else loss.distance()
    is_silent = said.loss_percent is None and distance is not None
    return QualityEffect(
        technique=technique.id,
        provenance=distance.provenance if distance is not None and is_silent else said.provenance,
        loss_percent=said.loss_percent,
        metric=said.metric,
        source=distance.source if distance is not None and is_silent else said.source,
        distance=distance,
    )
