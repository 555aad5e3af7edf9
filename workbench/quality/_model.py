"""How single techniques' losses make that of a combination.

Errors of different origin point in different directions of the space of clips, so their mean squares add; and no error is larger than the
distance to an unrelated clip of the same prompt (another seed's), towards which sums saturate: 1 - e/S is the product of the (1 - e_i/S).
The same holds to first order for 1 - SSIM, which for small errors is their mean square beside the local variance. Nothing here is fitted
to combinations; `studies/miniature_quality` holds it against some.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from workbench.cost import Distance
from workbench.models import ModelSpec, Workload
from workbench.quality._parts import parts_of
from workbench.quality._records import Ceiling, QualityRecords
from workbench.techniques import AbstractTechnique, Settings


@dataclass(frozen=True, slots=True)
class Loss:
    """Distances from the un-optimised run by clip, and where they are from."""

    mse: tuple[float, ...]
    dssim: tuple[float, ...]
    provenance: str
    source: str
    predicted: bool = False
    """Whether it is worked out from several losses."""

    def distance(self) -> Distance | None:
        """The middle clip and the range; None if nothing differs."""
        if not any(self.mse):
            return None
        psnr = [_psnr(value) for value in self.mse]
        ssim = [1.0 - value for value in self.dssim]
        return Distance(
            psnr_db=_median(psnr),
            psnr_low_db=min(psnr),
            psnr_high_db=max(psnr),
            ssim=_median(ssim),
            ssim_low=min(ssim),
            ssim_high=max(ssim),
            clips=len(psnr),
            provenance=self.provenance,
            source=self.source,
            predicted=self.predicted,
        )


def of_technique(
    technique: AbstractTechnique, spec: ModelSpec, workload: Workload, records: QualityRecords
) -> Loss | None:
    """The loss of one technique; None if part of it is not in the records."""
    parts = parts_of(technique, spec, workload)
    if parts is None:
        return None
    points = [records.read(part) for part in parts]
    found = [point for point in points if point is not None]
    if len(found) < len(points):
        return None
    none = (0.0,) * len(records.scenes)
    return combined(
        [Loss(none, none, records.provenance, records.source)]
        + [Loss(point.mse, point.dssim, records.provenance, records.source) for point in found],
        records.ceiling,
    )


def combined(losses: Sequence[Loss], ceiling: Ceiling) -> Loss:
    """All losses together, clip by clip. Losses over other clips than the ceiling's are taken by rank: the mildest with the mildest."""
    count = len(ceiling[0])
    if any(len(loss.mse) != count for loss in losses):
        losses = [_ranked(loss, count) for loss in losses]
        ceiling = tuple(sorted(ceiling[0])), tuple(sorted(ceiling[1]))
    sources = dict.fromkeys(loss.source for loss in losses)
    return Loss(
        mse=_saturating([loss.mse for loss in losses], ceiling[0]),
        dssim=_saturating([loss.dssim for loss in losses], ceiling[1]),
        provenance=max((loss.provenance for loss in losses), key=_WEAKER.index),
        source="; ".join(sources),
        predicted=sum(any(loss.mse) for loss in losses) > 1 or any(loss.predicted for loss in losses),
    )


ON_THIS_MODEL, ON_THE_MINIATURE = "measured on this model", "measured on the miniature"
_WEAKER = (ON_THIS_MODEL, ON_THE_MINIATURE)
"""From the surest on: a combination is as sure as its least sure part."""


def predicted(
    settings: Settings, spec: ModelSpec, workload: Workload, records: QualityRecords
) -> Loss | None:
    """The loss of settings from records of their techniques; None if the records do not have one of them."""
    losses = [
        of_technique(technique, spec, workload, records)
        for technique in settings.techniques
        if technique.effect().provenance != "exact"
    ]
    known = [loss for loss in losses if loss is not None]
    if not known or len(known) < len(losses):
        return None
    return combined(known, records.ceiling)


def _saturating(rows: Sequence[Sequence[float]], ceilings: Sequence[float]) -> tuple[float, ...]:
    """Sums, clip by clip, that no sum lifts above its ceiling; a single loss stays what was measured, even above it."""
    found = []
    for values, ceiling in zip(zip(*rows, strict=True), ceilings, strict=True):
        largest = max(values)
        left = math.prod(1.0 - min(value / ceiling, 1.0) for value in values) if ceiling > 0 else 0.0
        found.append(max(largest, ceiling * (1.0 - left)))
    return tuple(found)


def _ranked(loss: Loss, count: int) -> Loss:
    """The same loss as that of `count` clips, sorted."""

    def at_ranks(values: Sequence[float]) -> tuple[float, ...]:
        ordered = sorted(values)
        return tuple(ordered[round(rank * (len(ordered) - 1) / max(count - 1, 1))] for rank in range(count))

    return Loss(at_ranks(loss.mse), at_ranks(loss.dssim), loss.provenance, loss.source)


def _psnr(mse: float) -> float:
    """In dB; clips that no byte tells apart are 100 dB apart here, since JSON has no infinity."""
    return min(100.0, -10.0 * math.log10(mse)) if mse > 0 else 100.0


def _median(values: Sequence[float]) -> float:
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
