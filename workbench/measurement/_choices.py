"""What is to be measured, in whatever form it is given: settings, profiles, plans, their files; made into named settings of one model."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from workbench._errors import InputError
from workbench.cost import Cost
from workbench.measurement._job import job_of
from workbench.models import ModelSpec, Workload
from workbench.profiles import Profile
from workbench.search import Candidate, Plan
from workbench.search._words import LIBRARY_DEFAULTS, describe_settings
from workbench.techniques import ALL, Settings

BASELINE: Final = "baseline"
"""What the configuration is called that the others are compared with."""

Given = Settings | Mapping[str, Any] | Profile | Plan | Candidate | Cost | str | Path | None
"""One configuration: settings, a profile, a plan (its best), one of its candidates, a cost, JSON text, the path of a file with settings or
a profile; None means the pipeline as it is."""

_NO_SIZE: Final = dict.fromkeys(("frames", "height", "width", "steps", "guidance"))


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """One configuration to measure."""

    name: str
    settings: Mapping[str, Any] = field(hash=False)
    """Settings JSON, as they are applied to this model."""
    profile: str = ""
    """Name of the profile that they are of."""
    notes: tuple[str, ...] = ()
    """What differs from what was given."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Read:
    """What was given, read, before the model is known."""

    name: str
    settings: Settings
    profile: Profile | None = None
    workload: Workload | None = None
    """What it was chosen for, if it says so."""


class Choices:
    """The baseline and the candidates as given, read once; `of` fits them to a model."""

    def __init__(self, candidates: object, baseline: Given) -> None:
        """Reads them.

        Args:
            candidates: one configuration, a sequence of them, or a mapping of names to them (`_is_names` tells it from settings).

        Raises:
            InputError: something of it is no configuration.
        """
        self._baseline = replace(_read(baseline, ""), name=BASELINE)
        self._candidates = _with_own_names(_named(candidates))

    @property
    def planned_model(self) -> str | None:
        """The model that the first of them that says so was chosen for."""
        return next((read.workload.model for read in self._all if read.workload is not None), None)

    def workload(self, spec: ModelSpec, asked: Mapping[str, Any]) -> Workload:
        """What every configuration makes: what is asked for, then what the first of them for this model was chosen for, then the native.

        Raises:
            WorkloadError: the model cannot make this.
        """
        planned = [read.workload for read in self._all if read.workload is not None]
        chosen = next((workload for workload in planned if workload.model == spec.name), None)
        base: dict[str, Any] = {}
        if chosen is not None:
            base = {name: getattr(chosen, name) for name in (*_NO_SIZE, "guidance_2", "fps")}
            if "guidance" in asked:
                base["guidance_2"] = None  # both experts use the guidance that is asked for
        return Workload.for_model(spec, **{**base, **asked})

    def of(self, spec: ModelSpec) -> tuple[Choice, tuple[Choice, ...]]:
        """The baseline and the candidates for a model.

        Raises:
            ProfileError: a profile is for another pipeline class.
        """
        return _fitted(self._baseline, spec), tuple(_fitted(read, spec) for read in self._candidates)

    @property
    def _all(self) -> Iterable[_Read]:
        return (*self._candidates, self._baseline)


def _fitted(read: _Read, spec: ModelSpec) -> Choice:
    if read.profile is None:
        return Choice(name=read.name, settings=read.settings.to_json())
    job = job_of(spec, read.profile, _NO_SIZE)
    # which video is made is said once, for all of them; here only what the techniques are matters
    notes = tuple(note for note in job.notes if "videos at once" not in note)
    return Choice(name=read.name, settings=job.settings.to_json(), profile=read.profile.name, notes=notes)


def _named(candidates: object) -> list[_Read]:
    if candidates is None:
        return []
    if isinstance(candidates, Mapping) and _is_names(candidates):
        return [_read(given, str(name)) for name, given in candidates.items()]
    if isinstance(candidates, Sequence) and not isinstance(candidates, str):
        return [_read(given, "") for given in candidates]
    return [_read(candidates, "")]


def _is_names(given: Mapping[Any, Any]) -> bool:
    """Whether a mapping is of names to configurations: no key is a technique, and no value can be a technique's parameters.

    So that a mistyped technique is an unknown technique, and not a configuration of that name.
    """
    techniques = {technique.id for technique in ALL}

    def is_configuration(value: object) -> bool:
        if isinstance(value, Mapping):
            return bool(value) and set(value) <= techniques
        return value is None or isinstance(value, (Settings, Profile, Plan, Candidate, Cost, str, Path))

    return bool(given) and not set(given) & techniques and all(map(is_configuration, given.values()))


def _read(given: object, name: str) -> _Read:
    """One configuration; without a name it is called after its profile or what it does."""
    if isinstance(given, Plan):
        if given.best is None:
            raise InputError("this plan has nothing that fits: pass one of its candidates, or settings")
        given = given.best
    if isinstance(given, Candidate):
        given = given.cost
    if isinstance(given, Cost):
        settings = Settings.parse(given.settings)
        return _Read(name=name or _words(settings), settings=settings, workload=given.workload)
    if isinstance(given, (str, Path)):
        given = _of_text(given)
    if isinstance(given, Profile):
        return _Read(
            name=name or given.name,
            settings=Settings.parse(given.settings),
            profile=given,
            workload=given.workload,
        )
    if given is None or isinstance(given, (Settings, Mapping)):
        settings = Settings.parse(given)
        return _Read(name=name or _words(settings), settings=settings)
    raise InputError(
        f"a configuration must be settings, a profile, a plan, a candidate, a cost or the path of a file, got a {type(given).__name__}"
    )


def _of_text(given: str | Path) -> Profile | Settings:
    """A profile if the file is one, else settings: a file of theirs, or JSON text."""
    if isinstance(given, str) and given.lstrip().startswith("{"):
        return Settings.parse(given)
    try:
        data = json.loads(Path(given).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return Settings.parse(given)  # which says what is wrong with it
    if isinstance(data, dict) and "type" in data:
        return Profile.load(given)
    return Settings.parse(given)


def _words(settings: Settings) -> str:
    return describe_settings(settings.to_json()) if settings.techniques else LIBRARY_DEFAULTS


def _with_own_names(reads: Sequence[_Read]) -> list[_Read]:
    """Each under a name of its own: what is measured again under the same name is counted."""
    seen: dict[str, int] = {BASELINE: 1}
    named = []
    for read in reads:
        seen[read.name] = seen.get(read.name, 0) + 1
        count = seen[read.name]
        named.append(read if count == 1 else replace(read, name=f"{read.name} ({count})"))
    return named
