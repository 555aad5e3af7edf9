"""What is known of the quality of settings, from the best source there is for each technique."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from workbench.cost import Quality, QualityEffect
from workbench.models import ModelSpec, Workload
from workbench.quality._model import ON_THIS_MODEL, Loss, combined, of_technique
from workbench.quality._parts import parts_of
from workbench.quality._records import Ceiling, QualityRecords, shipped
from workbench.quality._sensitivity import Sensitivity, scans_of
from workbench.techniques import AbstractTechnique, Quantization, Settings

_MINIATURE = "miniature"


def quality_of(settings: Settings, spec: ModelSpec, workload: Workload) -> Quality:
    """Each technique's effect with its provenance, and the distance of all together where all of them are known.

    A technique's own statement (`exact`, a published loss) stands beside what was measured: on the model itself where its layers were
    scanned, else on the miniature.

    Raises:
        InputError: a scan of this user's cannot be read.
    """
    known = _Known(spec, workload, shipped(), scans_of(spec) if settings.get("quantization") else ())
    losses = [
        None if technique.effect().provenance == "exact" else known.loss(technique)
        for technique in settings.techniques
    ]
    effects = tuple(
        _effect(technique, loss) for technique, loss in zip(settings.techniques, losses, strict=True)
    )
    found = [loss for loss in losses if loss is not None]
    is_whole = bool(found) and len(found) == sum(effect.provenance != "exact" for effect in effects)
    return Quality(effects=effects, distance=known.together(found).distance() if is_whole else None)


@dataclasses.dataclass(frozen=True, slots=True)
class _Known:
    """The records that are of use for one model and workload."""

    spec: ModelSpec
    workload: Workload
    records: QualityRecords | None
    scans: Sequence[Sensitivity]

    def loss(self, technique: AbstractTechnique) -> Loss | None:
        """The loss of one technique; None if part of it is unknown."""
        if not isinstance(technique, Quantization) or not self.scans:
            return self._recorded(technique)
        losses = []
        for component in technique.chosen:
            part = technique.narrowed(component)
            loss = self._scanned(part) or self._recorded(part)
            if loss is None:
                return None
            losses.append(loss)
        return self.together(losses)

    def together(self, losses: Sequence[Loss]) -> Loss:
        """All losses at once; a single one as it is."""
        if len(losses) == 1:
            return losses[0]
        found = combined(losses, self._ceiling())
        told = self.records.about.get("held_out") if self.records is not None else None
        if told is None or not found.predicted:
            return found
        off = f"{told['psnr_median_abs_error_db']:.1f} dB off in the middle of {told['combinations']} others"
        return dataclasses.replace(
            found, source=f"{found.source}; together by their sum in mean square, {off}"
        )

    def _ceiling(self) -> Ceiling:
        """Where distances end: the records say, or a scan of several seeds, or a picture and its negative."""
        if self.records is not None:
            return self.records.ceiling
        apart = [scan.unrelated for scan in self.scans if scan.unrelated is not None]
        return ((10 ** (-apart[0][0] / 10),), (1 - apart[0][1],)) if apart else ((1.0,), (2.0,))

    def _scanned(self, technique: Quantization) -> Loss | None:
        """What a scan of the one network that this technique names says."""
        ((component, choice),) = technique.chosen.items()
        scan = next((scan for scan in self.scans if scan.component == component), None)
        if scan is None or choice.layers != "insensitive":
            return None
        found = scan.kinds.get(choice.kind)
        share = scan.share(choice.kind, choice.skip) if choice.skip else 1.0
        if found is None or not found.psnr_db or share is None:
            return None
        clips = f"{len(found.psnr_db)} clip{'s' * (len(found.psnr_db) > 1)}"
        part = (
            "" if share == 1.0 else f", of which {share:.0%} by the layers' shares of the prediction's error"
        )
        return Loss(
            mse=tuple(share * 10 ** (-psnr / 10) for psnr in found.psnr_db),
            dssim=tuple(share * (1 - ssim) for ssim in found.ssim),
            provenance=ON_THIS_MODEL,
            source=f"workbench.sensitivity of {scan.facts.get('created_at', 'an unknown day')}: {clips}{part}",
            predicted=share < 1.0,
        )

    def _recorded(self, technique: AbstractTechnique) -> Loss | None:
        """What the miniature's records say."""
        if self.records is None:
            return None
        found = of_technique(technique, self.spec, self.workload, self.records)
        if found is None:
            return None
        if self.spec.name == _MINIATURE:
            return dataclasses.replace(found, provenance=ON_THIS_MODEL)
        # what happened to change nothing on the miniature (a cache below its threshold, a network without such layers) is unknown elsewhere
        changed = any(found.mse) or not parts_of(technique, self.spec, self.workload)
        return found if changed else None


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
