"""From settings to outlines: thousands a second, because what a technique means for a component is worked out once."""

from __future__ import annotations

from dataclasses import dataclass, field

from workbench._errors import SettingsError
from workbench._estimate import Predictor
from workbench.cost import CallLog, Residency
from workbench.cost.allocator import DEFAULT_OPTIONS, AllocatorOptions
from workbench.cost.frames import frames_ram_bytes
from workbench.cost.outline import Composer, Form, Outline
from workbench.devices import Device
from workbench.techniques import AbstractTechnique, Settings


@dataclass(slots=True)
class _Known:
    """What one technique does, asked for once."""

    technique: AbstractTechnique
    number: int
    """Equal techniques share it, unequal ones do not."""
    parts: dict[str, int]
    """For each component that it rewrites, a number that techniques share which do the same to it."""
    changes_calls: bool
    places: bool
    allocates: bool
    sets_dtypes: bool
    refusals: dict[tuple[int, ...], str | None] = field(default_factory=dict)
    """Why it does not apply, by the numbers of the techniques that set dtypes."""


class Outlines:
    """Outlines of one workload's settings on one device. Equal to what `Predictor.cost` says of the same settings."""

    def __init__(self, predictor: Predictor, device: Device) -> None:
        self.predictor, self.device = predictor, device
        self.count = 0
        """Outlines that were composed."""
        self._composer = Composer(device, predictor.compute(device))
        self._names = predictor.spec.component_names()
        self._by_id: dict[int, tuple[AbstractTechnique, _Known]] = {}
        self._known: dict[AbstractTechnique, _Known] = {}
        self._numbers: dict[AbstractTechnique, int] = {}
        self._logs: dict[tuple[int, ...], tuple[CallLog, int]] = {}
        self._forms: dict[tuple[str, tuple[int, ...], tuple[int, ...], AllocatorOptions], Form | str] = {}
        self._residencies: dict[tuple[int, ...], Residency] = {}

    def of(self, settings: Settings) -> Outline:
        """The outline of these settings.

        Raises:
            SettingsError: a technique does not apply to this model or device.
        """
        self.count += 1
        used = [self._what(technique) for technique in settings.techniques]
        self._check(used)
        changing = tuple([known.number for known in used if known.changes_calls])
        if changing not in self._logs:
            self._logs[changing] = self._log(settings)
        log, frames = self._logs[changing]
        options = settings.allocator_options() if any(known.allocates for known in used) else DEFAULT_OPTIONS
        forms: dict[str, Form] = {}
        for name in self._names:
            own = tuple([known.parts[name] for known in used if name in known.parts])
            key = (name, changing, own, options)
            if key not in self._forms:
                self._forms[key] = self._form(settings, log, name)
            form = self._forms[key]
            if isinstance(form, str):
                raise SettingsError(form)
            forms[name] = form
        placing = tuple([known.number for known in used if known.places])
        if placing not in self._residencies:
            self._residencies[placing] = settings.residency(self.predictor.spec)
        return self._composer.outline(log, forms, self._residencies[placing], frames)

    def _what(self, technique: AbstractTechnique) -> _Known:
        # a search uses the same few objects again and again, and to compare them takes longer than all the rest
        seen = self._by_id.get(id(technique))
        if seen is None:
            if technique not in self._known:
                self._known[technique] = self._asked(technique)
            seen = self._by_id[id(technique)] = (technique, self._known[technique])
        return seen[1]

    def _asked(self, technique: AbstractTechnique) -> _Known:
        kind, rewritten = type(technique), technique.rewrites(self.predictor.spec)
        return _Known(
            technique=technique,
            number=self._number(technique),
            parts={name: self._number(technique.narrowed(name)) for name in rewritten},
            changes_calls=technique.changes_calls,
            places=kind.residency is not AbstractTechnique.residency,
            allocates=kind.allocator_options is not AbstractTechnique.allocator_options,
            sets_dtypes=kind.dtypes is not AbstractTechnique.dtypes,
        )

    def _number(self, technique: AbstractTechnique) -> int:
        return self._numbers.setdefault(technique, len(self._numbers))

    def _check(self, used: list[_Known]) -> None:
        """`Settings.check`: whether a technique applies is a matter of itself and of the dtypes."""
        setting = [known for known in used if known.sets_dtypes]
        under = tuple([known.number for known in setting])
        for known in used:
            if under not in known.refusals:
                techniques = dict.fromkeys((*(other.technique for other in setting), known.technique))
                try:
                    Settings(tuple(techniques)).check(self.predictor.spec, self.device)
                    known.refusals[under] = None
                except SettingsError as error:
                    known.refusals[under] = str(error)
            refusal = known.refusals[under]
            if refusal is not None:
                raise SettingsError(refusal)

    def _log(self, settings: Settings) -> tuple[CallLog, int]:
        predictor = self.predictor
        log = predictor.log(settings)
        return log, frames_ram_bytes(log.video, predictor.workload.batch, predictor.spec.pipeline_class)

    def _form(self, settings: Settings, log: CallLog, component: str) -> Form | str:
        """One component under the settings, or the sentence that refuses them."""
        predictor, kernel = self.predictor, settings.attention_kernel(self.device)
        try:
            calls = {
                key: predictor.summary(settings, component, key, kernel)
                for key, owner in log.keys().items()
                if owner == component
            }
            weights = predictor.weights(settings, component)
            loaded = predictor.loaded(settings, component)
        except SettingsError as error:
            return str(error)
        return Form(weights=weights, loaded=loaded, calls=calls)
