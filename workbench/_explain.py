"""`explain`: what is alive at the peak of each stage, tensor by tensor, and the cheapest changes that lower it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench._errors import SettingsError
from workbench._estimate import Predictor, collector_paused
from workbench.cost import Cost
from workbench.cost.held import Held
from workbench.cost.price import workspace_bytes
from workbench.devices import Device, resolve
from workbench.models import ModelSpec, Workload
from workbench.search._explanation import Change, Explanation, Part, StagePeak
from workbench.search.caution import caution
from workbench.search.space import Space
from workbench.techniques import Settings

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

    from workbench.cost.alive import Moment


def explain(
    workload: Workload | ModelSpec | str | Path | DiffusionPipeline | None = None,
    settings: Settings | Mapping[str, Any] | str | None = None,
    device: Device | str | None = None,
    *,
    frames: int | None = None,
    height: int | None = None,
    width: int | None = None,
    steps: int | None = None,
    guidance: float | None = None,
    batch: int | None = None,
    vram_gb: float | None = None,
    ram_gb: float | None = None,
    desktop_gb: float | None = None,
) -> Explanation:
    """Says what is alive at the peak of each stage, and which single change lowers the peak at the least price.

    The pipeline is rehearsed anew (seconds): what is kept on disk has the size of a peak, not its parts.

    Args:
        workload: what to make; a model means its native workload, None the default model's.
        settings: techniques by id, as for `estimate`.
        device: a card or its name; None means a typical card of `vram_gb`.
        frames: and the others up to `batch`: instead of the native values, where `workload` is a model.
        vram_gb: a cap in GiB.
        ram_gb: host RAM in GiB; None means unlimited.
        desktop_gb: GiB that the desktop and other programs hold on the card, within `vram_gb`; None means the card's default: 0 on
            data-centre cards, 0.4 on those with a display, of which a `vram_gb` below a given `device` takes first what it takes away.

    Raises:
        InputError: something of this is wrong; the message says what, which value, and what is allowed.
    """
    workload = Workload.of(
        workload, frames=frames, height=height, width=width, steps=steps, guidance=guidance, batch=batch
    )
    chosen, asked = (
        resolve(device, vram_gb=vram_gb, ram_gb=ram_gb, desktop_gb=desktop_gb),
        Settings.parse(settings),
    )
    predictor = Predictor(workload)
    with collector_paused():
        cost = predictor.cost(asked, chosen)
        stages = _Peaks(predictor, asked, chosen).stages()
        changes = sorted(
            _changes(predictor, asked, chosen, cost), key=lambda change: (change.caution, change.cost.total_s)
        )
    return Explanation(cost=cost, stages=stages, changes=tuple(changes))


class _Peaks:
    """Finds the fullest moment of each stage of one configuration."""

    def __init__(self, predictor: Predictor, settings: Settings, device: Device) -> None:
        self._predictor, self._settings, self._device = predictor, settings, device
        spec = predictor.spec
        weights = {name: predictor.weights(settings, name) for name in spec.component_names()}
        self._on_gpu = Held(predictor.log(settings), weights, settings.residency(spec))

    def stages(self) -> tuple[StagePeak, ...]:
        from workbench.cost.alive import moments

        rehearsing = self._predictor.rehearsing(self._settings)
        fullest: dict[str, StagePeak] = {}
        for moment in moments(*rehearsing.named()):
            peak = self._during(moment) if moment.key is not None else self._between(moment)
            if moment.stage not in fullest or peak.num_bytes > fullest[moment.stage].num_bytes:
                fullest[moment.stage] = peak
        return tuple(fullest.values())

    def _during(self, moment: Moment) -> StagePeak:
        """While the call runs that the pipeline makes at this moment."""
        from workbench.cost.alive import alive_at_peak

        assert moment.key is not None
        component = moment.key.partition(":")[0]
        kernel = self._settings.attention_kernel(self._device)
        trace = self._predictor.trace(self._settings, component, moment.key, kernel)
        tensors = [
            ("workspace" if tensor.op.startswith("workspace") else "activations", tensor)
            for tensor in alive_at_peak(trace, moment)
        ]
        before = set(map(id, moment.tensors))
        parts = _grouped(
            (
                "pipeline" if id(tensor) in before else category,
                _within(component, tensor, before),
                tensor.op,
                tensor.num_bytes,
            )
            for category, tensor in tensors
        )
        scratch = Part(
            category="workspace",
            component="",
            path="",
            op="cuBLAS",
            count=1,
            num_bytes=workspace_bytes(self._device),
        )
        return _stage_peak(moment.stage, component, [*self._held(component, moment.stage), *parts, scratch])

    def _between(self, moment: Moment) -> StagePeak:
        """Between calls: the weights that the stage's calls leave there at most, and what the pipeline holds."""
        log = self._predictor.log(self._settings)
        names = {c.component for stage in log.stages if stage.name == moment.stage for c in stage.calls}
        held = max(
            (self._held(name, moment.stage) for name in sorted(names)),
            key=lambda parts: sum(part.num_bytes for part in parts),
            default=[],
        )
        parts = _grouped(("pipeline", t.path, t.op, t.num_bytes) for t in moment.tensors)
        return _stage_peak(moment.stage, "", [*held, *parts])

    def _held(self, running: str, stage: str) -> list[Part]:
        return [
            Part(category="weights", component=name, path=name, op="", count=1, num_bytes=size)
            for name, size in self._on_gpu.while_running(running, stage).items()
        ]


def _within(component: str, tensor: Any, before: set[int]) -> str:
    """The tensor's path from the pipeline on; a call's trace has paths of its own."""
    if id(tensor) in before:
        return str(tensor.path)
    return f"{component}.{tensor.path}" if tensor.path else component


def _grouped(tensors: Iterator[tuple[str, str, str, int]]) -> list[Part]:
    """Parts of (category, path, op, bytes): tensors that one op of one module made, together."""
    sizes: dict[tuple[str, str, str], list[int]] = {}
    for category, path, op, num_bytes in tensors:
        sizes.setdefault((category, path, op), []).append(num_bytes)
    return [
        Part(
            category=category,
            component=path.partition(".")[0],
            path=path,
            op=op,
            count=len(held),
            num_bytes=sum(held),
        )
        for (category, path, op), held in sizes.items()
    ]


def _stage_peak(stage: str, during: str, parts: list[Part]) -> StagePeak:
    kept = sorted((part for part in parts if part.num_bytes), key=lambda part: -part.num_bytes)
    return StagePeak(stage=stage, during=during, parts=tuple(kept))


def _changes(predictor: Predictor, settings: Settings, device: Device, cost: Cost) -> Iterator[Change]:
    """Every single choice of the search space that lowers the required VRAM of these settings."""
    space = Space.of(predictor.spec, predictor.workload, device, blocks=predictor.num_blocks())
    idle, given = space.settings_of(space.plain).to_json(), settings.to_json()
    tried = {settings}
    for name, choices in space.dimensions.items():
        for choice in choices[1:]:
            changed = space.settings_of(space.at(name, choice)).to_json()
            for technique, parameters in changed.items():
                if parameters in (idle.get(technique), given.get(technique)):
                    continue
                try:
                    other = settings.with_(technique, parameters)
                    if other in tried:
                        continue
                    tried.add(other)
                    lower = predictor.cost(other, device)
                except SettingsError:
                    continue
                if lower.required_vram_bytes < cost.required_vram_bytes:
                    careful = caution(other.to_json(), predictor.workload.steps)
                    yield Change(
                        technique=technique,
                        parameters=parameters,
                        settings=other,
                        cost=lower,
                        caution=careful,
                    )
