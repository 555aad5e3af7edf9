"""Checks that a profile and a pipeline go together, then leaves the work to the techniques' own `apply_all`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from workbench._errors import InputError, ProfileError
from workbench.models import ModelSpec, resolve_model
from workbench.profiles._versions import changed_versions
from workbench.techniques import Handle, Settings, apply_all

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

    from workbench.profiles._profile import Profile


def apply(profile: Profile, pipe: DiffusionPipeline, spec: ModelSpec | None = None) -> Handle:
    """Applies a profile to a pipeline; see `Profile.apply`."""
    found = type(pipe).__name__
    if found != profile.pipeline_class:
        raise ProfileError(f"this profile is for {profile.pipeline_class}, got {found}")
    planned = _planned(profile, pipe)
    settings = Settings.parse(profile.settings)
    present = _components(pipe)
    missing = [name for name in planned.component_names() if name not in present]
    named = [name for name in missing if name in set(_words(profile.settings))]
    if named:
        raise ProfileError(
            f"this profile has settings for {', '.join(named)}, which this {found} lacks: "
            f"its components are {', '.join(present)}"
        )
    settings.check(planned if spec is None else spec)
    handle = Handle()
    for sentence in (*_other_components(profile, missing), *other_versions(profile.versions)):
        handle.did(sentence)
    handle.include(apply_all(pipe, settings))
    return handle


def _planned(profile: Profile, pipe: DiffusionPipeline) -> ModelSpec:
    """The model that the profile was made for; if that was a folder or a pipeline that is not here, this pipeline stands for it."""
    try:
        return resolve_model(profile.workload.model)
    except InputError:
        return resolve_model(pipe)


def _components(pipe: DiffusionPipeline) -> tuple[str, ...]:
    """The pipeline's neural networks that are there, in the pipeline's order."""
    from torch import nn

    return tuple(name for name, part in pipe.components.items() if isinstance(part, nn.Module))


def _words(value: Any) -> Iterator[str]:
    """Every key and every text in a JSON value: whatever names a component is among them."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield str(key)
            yield from _words(inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from _words(inner)
    elif isinstance(value, str):
        yield value


def _other_components(profile: Profile, missing: list[str]) -> list[str]:
    if not missing:
        return []
    return [
        f"the profile's prediction counts {', '.join(missing)}, which this pipeline lacks: it will need less"
    ]


def other_versions(made_with: Mapping[str, str]) -> list[str]:
    """A sentence if the installed versions are not those that a prediction is of; another version's code may need another amount."""
    differences = changed_versions(made_with)
    if not differences:
        return []
    return [
        f"versions differ from those the prediction is of ({'; '.join(differences)}): memory and time may differ too"
    ]
