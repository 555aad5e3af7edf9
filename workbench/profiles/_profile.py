"""`Profile`: settings, what they are for, and what was predicted of them. Importing it imports no torch."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench._errors import ProfileError
from workbench.devices import Device
from workbench.models import ModelSpec, Workload, resolve_model
from workbench.profiles import _io

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

    from workbench.cost import Cost
    from workbench.techniques import Handle


@dataclass(frozen=True, kw_only=True, slots=True)
class Profile:
    """One chosen configuration. Make it with `Profile.of` or `plan.best.profile()`, keep it with `save`, use it with `apply`."""

    name: str
    """For people; says nothing to the program."""

    pipeline_class: str
    """The diffusers class that it applies to, `"WanPipeline"`."""

    workload: Workload
    """What it was chosen for."""

    device: Device
    """The card it was chosen for, capped as it was."""

    settings: Mapping[str, Any] = field(hash=False)
    """Settings JSON: the techniques and their parameters."""

    prediction: Mapping[str, Any] = field(hash=False)
    """`Cost.to_json`: memory, time and quality, each with where it is from."""

    versions: Mapping[str, str] = field(hash=False)
    """Library to the version that the prediction is of."""

    created_at: str
    """When it was made, ISO 8601, UTC."""

    def __post_init__(self) -> None:
        for name in ("name", "pipeline_class", "created_at"):
            value = getattr(self, name)
            if not isinstance(value, str) or not value:
                raise ProfileError(
                    f"this profile is damaged: {name!r} must be a non-empty text, got {value!r}"
                )

    @classmethod
    def of(cls, cost: Cost, *, name: str = "", pipeline_class: str = "") -> Profile:
        """The profile of a priced configuration.

        Args:
            name: free text; "" makes one from workload and device.
            pipeline_class: "" means the catalogue's class of the workload's model.
        """
        workload = cost.workload
        size = f"{workload.frames}x{workload.height}x{workload.width}"
        return cls(
            name=name or f"{workload.model} {size} on {cost.device.name}",
            pipeline_class=pipeline_class or resolve_model(workload.model).pipeline_class,
            workload=workload,
            device=cost.device,
            settings=dict(cost.settings),
            prediction=cost.to_json(),
            versions=dict(cost.versions),
            created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        )

    def to_json(self) -> dict[str, Any]:
        """The JSON object that a file holds: type, schema version and data."""
        return _io.to_json(self)

    @classmethod
    def from_json(cls, data: object) -> Profile:
        """The profile that `to_json` wrote, checked field by field.

        Raises:
            ProfileError: it is no profile, damaged, of a newer schema, or its settings are not understood any more.
        """
        return cls(**_io.fields_of(data))

    def save(self, path: str | Path) -> Path:
        """Writes the profile; the file appears complete or not at all.

        Raises:
            ProfileError: the folder does not exist.
        """
        return _io.write(self.to_json(), Path(path))

    @classmethod
    def load(cls, path: str | Path) -> Profile:
        """Reads a profile that `save` wrote.

        Raises:
            ProfileError: there is no such file, or it is no profile, damaged, or of a newer schema; the message says which.
        """
        path = Path(path)
        data = _io.read(path)
        try:
            return cls.from_json(data)
        except ProfileError as error:
            raise ProfileError(f"{path}: {error}") from error

    @classmethod
    def shipped(cls, model: str, vram_gb: float) -> Profile:
        """A profile that ships with the package: the best plan of a model, at its native workload, for a card of so many GiB.

        Args:
            model: a catalogue name; `workbench profiles list` shows those that there are profiles of.
            vram_gb: between two sizes it is the profile of the smaller one.

        Raises:
            UnknownNameError: no profiles ship for this model.
            ProfileError: nothing fits there, or `vram_gb` is below the smallest size; the message says what comes nearest.

        Warns:
            UserWarning: other library versions are installed than those that it was planned with; how to plan anew.
        """
        from workbench.profiles._shipped import load_shipped

        profiles = load_shipped(model)
        if stale := profiles.stale():
            warnings.warn(stale, UserWarning, stacklevel=2)
        return profiles.profile(vram_gb)

    def apply(self, pipe: DiffusionPipeline, *, model: ModelSpec | str | None = None) -> Handle:
        """Prepares a pipeline, in place, by the same `apply_all` that the prediction was made with.

        Args:
            pipe: a pipeline of this profile's class.
            model: the model that the pipeline is of, a row or its name; None means this profile's.

        Returns:
            A handle: `report` says what was done, what cannot act here and where this machine differs; `remove()` undoes it.

        Raises:
            ProfileError: the pipeline is of another class, or lacks a component that the settings name.
            SettingsError: a technique cannot act on this model.
        """
        from workbench.profiles._apply import apply

        return apply(self, pipe, resolve_model(model) if isinstance(model, str) else model)
