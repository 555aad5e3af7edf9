"""Which weights are in VRAM while a component computes."""

from __future__ import annotations

from collections.abc import Mapping

from workbench.cost.calllog import CallLog
from workbench.cost.residency import RESIDENT, Residency, Weights
from workbench.cost.turns import together


def as_placed(residency: Residency, log: CallLog) -> Residency:
    """The residency that a pipeline allows: components that it excludes from offloading stay on the GPU."""
    for name in log.never_offloaded:
        if residency.of(name).mode in ("whole", "leaves"):
            residency = residency.placed(name, RESIDENT)
    return residency


class Held:
    """Weights in VRAM, stage by stage, of one configuration."""

    def __init__(self, log: CallLog, weights: Mapping[str, Weights], residency: Residency) -> None:
        self._log, self._weights, self._residency = log, weights, as_placed(residency, log)
        self._stages: dict[str, dict[str, tuple[tuple[str, ...], ...]]] = {}
        self._idle = {name: held.idle_bytes(self._residency.of(name)) for name, held in weights.items()}

    def while_running(self, component: str, stage: str, *, reserved: bool = False) -> dict[str, int]:
        """Bytes of each component's weights while `component` computes: its own as it is placed, those that always stay, and of
        the whole ones those that have not left yet (if that differs from visit to visit of a stage, the most).

        Args:
            reserved: what the allocator holds for them instead of what is allocated.
        """
        own = self._weights[component].resident_bytes(self._residency.of(component), reserved=reserved)
        found = {
            name: self._weights[name].resident_bytes(self._residency.of(name), reserved=True)
            if reserved and self._residency.of(name).mode == "resident"
            else size
            for name, size in self._idle.items()
            if size
        } | {component: own}
        sets = self._sets(stage).get(component, ())
        beside = max(
            (self._whole(names, reserved) for names in sets), key=lambda s: sum(s.values()), default={}
        )
        return found | beside

    def _sets(self, stage: str) -> dict[str, tuple[tuple[str, ...], ...]]:
        if stage not in self._stages:
            self._stages[stage] = together(self._log, self._residency, stage)
        return self._stages[stage]

    def _whole(self, names: tuple[str, ...], reserved: bool) -> dict[str, int]:
        return {
            name: self._weights[name].reserved_bytes if reserved else self._weights[name].total_bytes
            for name in names
        }
