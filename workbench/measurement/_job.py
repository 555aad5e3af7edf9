"""What `generate` is to do, settled before anything is loaded: model, workload, settings, and what a reader must know of the choice."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench._errors import InputError, ProfileError, RehearsalError
from workbench._estimate import estimate
from workbench._units import format_gib
from workbench.cost import Cost
from workbench.devices import Device
from workbench.measurement._video import checked_mp4
from workbench.models import ModelSpec, Workload
from workbench.profiles import Profile
from workbench.techniques import Settings


@dataclass(frozen=True, kw_only=True, slots=True)
class Take:
    """What the video shows, and where it goes."""

    video: Path
    """Its file, ending in `.mp4`; the record is beside it, ending in `.nc`."""
    prompt: str
    negative_prompt: str | None
    """None means the one that predictions are made with."""
    seed: int
    """Of the initial noise, from 0 to 2**64 - 1: what `torch.Generator.manual_seed` takes."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "video", checked_mp4(self.video))
        if not isinstance(self.prompt, str) or not self.prompt.strip():
            raise InputError(f"prompt must be a non-empty text, got {self.prompt!r}")
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or not 0 <= self.seed < 2**64:
            raise InputError(f"seed must be a whole number from 0 to 2**64 - 1, got {self.seed!r}")

    @property
    def record(self) -> Path:
        """The file of the record."""
        return self.video.with_suffix(".nc")


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """One generation, ready to be loaded, predicted and run."""

    spec: ModelSpec
    profile: Profile | None
    """As it is applied: with the settings below."""
    workload: Workload
    settings: Settings
    notes: tuple[str, ...]
    """What differs from the profile, one sentence each."""

    @property
    def steps(self) -> int:
        """Denoising steps that run: the settings' if they say, else the workload's."""
        count: int = self.settings.to_json().get("steps", {}).get("count", self.workload.steps)
        return count

    def predicted(self, device: Device | None) -> tuple[Cost | None, tuple[str, ...]]:
        """The prediction for a device, and sentences on it: why there is none, or that memory is short."""
        if device is None:
            return None, ("no prediction: the catalogue does not know this GPU",)
        settings, left_out = _acting(self.settings, self.spec, device)
        try:
            cost = estimate(self.workload, settings, device)
        except (InputError, RehearsalError) as error:
            return None, (f"no prediction for {device.name}: {error}",)
        if cost.fits:
            return cost, left_out
        short = f"the prediction is {format_gib(cost.missing_bytes)} above the memory of {device.name}"
        return cost, (*left_out, short)


def _acting(settings: Settings, spec: ModelSpec, device: Device) -> tuple[Settings, tuple[str, ...]]:
    """What of the settings acts on a CPU, where applying the rest does nothing but say so; and sentences on what is left out.

    On a GPU all settings act, or the prediction refuses them.
    """
    if device.architecture != "cpu":
        return settings, ()
    left_out = []
    for name, value in settings.with_("offload", None).to_json().items():
        if _acts(spec, device, name, value):
            continue
        by_component = set(value) <= set(spec.component_names())
        kept = {
            key: one for key, one in value.items() if by_component and _acts(spec, device, name, {key: one})
        }
        settings = settings.with_(name, kept or None)
        gone = (
            [f"{value[key]} of {key}" for key in value if key not in kept] if by_component else [str(value)]
        )
        left_out.append(f"the prediction is without {name} {', '.join(gone)}, which does not act on a CPU")
    return settings.with_("offload", None), tuple(left_out)


def _acts(spec: ModelSpec, device: Device, name: str, value: dict[str, Any]) -> bool:
    """Whether a technique with these parameters can act."""
    try:
        Settings.parse({name: value}).check(spec, device)
    except InputError:
        return False
    return True


def job_of(spec: ModelSpec, profile: Profile | None, given: Mapping[str, int | float | None]) -> Job:
    """Settles what is made.

    Args:
        given: frames, height, width, steps and guidance as the caller wants them; None means the profile's, or the model's native one.

    Raises:
        ProfileError: the profile is for another pipeline class.
        WorkloadError: the model cannot make this.
    """
    asked = {name: value for name, value in given.items() if value is not None}
    if profile is None:
        workload = Workload.for_model(spec, **asked)  # type: ignore[arg-type]
        return Job(spec=spec, profile=None, workload=workload, settings=Settings(), notes=())
    if profile.pipeline_class != spec.pipeline_class:
        raise ProfileError(f"this profile is for {profile.pipeline_class}, got {spec.pipeline_class}")
    settings, notes = Settings.parse(profile.settings), []
    if profile.workload.model == spec.name:
        base = {name: getattr(profile.workload, name) for name in (*given, "guidance_2", "fps")}
        if "guidance" in asked:
            base["guidance_2"] = None  # both experts use the guidance that is asked for
        if profile.workload.batch > 1:
            notes.append(f"the profile makes {profile.workload.batch} videos at once, generate makes one")
    else:
        base = {}
        settings = _with_planned_dtypes(settings, spec, profile)
        notes.append(
            f"the profile was made for {profile.workload.model} on {profile.device.name}: its techniques and dtypes are applied to "
            f"{spec.name}, with {spec.name}'s own workload where none is given"
        )
    if "steps" in asked and settings.get("steps") is not None:
        settings = settings.with_("steps", None)
        notes.append(f"{asked['steps']} steps are asked for, in place of the profile's")
    return Job(
        spec=spec,
        profile=dataclasses.replace(profile, settings=settings.to_json()),
        workload=Workload.for_model(spec, **{**base, **asked}),
        settings=settings,
        notes=tuple(notes),
    )


def _with_planned_dtypes(settings: Settings, spec: ModelSpec, profile: Profile) -> Settings:
    """The settings with each component in the dtype that was planned, where this model is loaded in another one.

    Some techniques take one dtype only; what was planned for a bf16 model must not fail on a stand-in that is loaded in fp32.
    """
    planned = {
        name: dtype
        for name, dtype in profile.prediction["dtypes"].items()
        if name in spec.component_names() and dtype != spec.component(name).dtype
    }
    named = settings.to_json().get("dtype", {})
    return settings.with_("dtype", {**planned, **named}) if planned else settings
