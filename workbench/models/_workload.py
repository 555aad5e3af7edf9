"""What to make: the frames, size, steps, guidance and batch of one generation, checked against the model that makes it.

diffusers rounds frames and sizes that a model cannot make, with a log line; a plan for something else than what was
asked for is worse than an error, so here they are errors that name the nearest values that work.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench._errors import WorkloadError
from workbench.models._resolve import resolve_model
from workbench.models._spec import ModelSpec

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

DEFAULT_MODEL = "wan2.1-t2v-1.3b"

_COUNTS = ("frames", "height", "width", "steps", "batch", "fps")


@dataclass(frozen=True, kw_only=True, slots=True)
class Workload:
    """One generation. Build it with `Workload.for_model`, which fills in the model's native values and checks the rest."""

    model: str = DEFAULT_MODEL
    """Name of the model: a catalogue name, a folder, a hub id, or the name given to a pipeline in memory."""

    frames: int
    """Video frames."""

    height: int
    """Pixels."""

    width: int
    """Pixels."""

    steps: int
    """Denoising steps."""

    guidance: float
    """Guidance scale. Under classifier-free guidance at most 1 means that the model runs once per step instead of twice; a
    guidance-distilled model takes it as an input and always runs once."""

    guidance_2: float | None = None
    """Guidance scale of the second (low-noise) expert; None for a model with one expert."""

    batch: int = 1
    """Videos made by one call."""

    fps: int
    """Frames per second at which the result is written; changes neither memory nor time."""

    def __post_init__(self) -> None:
        # Plain numbers are stored, so that a NumPy number given by a study compares and serialises like any other.
        for name in _COUNTS:
            object.__setattr__(self, name, _count(name, getattr(self, name)))
        object.__setattr__(self, "guidance", _guidance("guidance", self.guidance))
        if self.guidance_2 is not None:
            object.__setattr__(self, "guidance_2", _guidance("guidance_2", self.guidance_2))

    @classmethod
    def of(
        cls,
        workload: Workload | ModelSpec | str | Path | DiffusionPipeline | None = None,
        **values: Any,
    ) -> Workload:
        """A workload as it is, or that of a model (None means the default one) with these values, of which None means its native one.

        Raises:
            WorkloadError: values beside a workload, which has its own; or see `for_model`.
        """
        given = {name: value for name, value in values.items() if value is not None}
        if not isinstance(workload, Workload):
            return cls.for_model(DEFAULT_MODEL if workload is None else workload, **given)
        if given:
            said = ", ".join(f"{name}={value!r}" for name, value in given.items())
            raise WorkloadError(f"{said} goes with a model; the given workload has its own values")
        return workload

    @classmethod
    def for_model(
        cls,
        model: ModelSpec | str | Path | DiffusionPipeline = DEFAULT_MODEL,
        *,
        frames: int | None = None,
        height: int | None = None,
        width: int | None = None,
        steps: int | None = None,
        guidance: float | None = None,
        guidance_2: float | None = None,
        batch: int = 1,
        fps: int | None = None,
    ) -> Workload:
        """A workload that this model can make; what is left out is the model's native value.

        Args:
            model: a row, a catalogue name, a folder with configurations, a hub id, or a pipeline in memory.

        With `guidance` given and `guidance_2` left out, both experts of a two-expert model use `guidance`, as the pipeline does.

        Raises:
            WorkloadError: a value is not a number of the right kind, or the model cannot make it.
            InputError: there is no such model, or it cannot be planned (`workbench.models.resolve_model`).
        """
        spec = resolve_model(model)
        native = spec.defaults
        frames = native.frames if frames is None else frames
        height = native.height if height is None else height
        width = native.width if width is None else width
        _check_frames(spec, frames)
        _check_size(spec, "height", height)
        _check_size(spec, "width", width)
        _check_batch(spec, batch)
        if guidance_2 is not None and spec.num_experts < 2:
            raise WorkloadError(
                f"guidance_2 is for models with two experts, {spec.name} has one, got {guidance_2!r}"
            )
        if guidance_2 is None and spec.num_experts > 1:
            guidance_2 = native.guidance_2 if guidance is None else guidance
        return cls(
            model=spec.name,
            frames=frames,
            height=height,
            width=width,
            steps=native.steps if steps is None else steps,
            guidance=native.guidance if guidance is None else guidance,
            guidance_2=guidance_2,
            batch=batch,
            fps=native.fps if fps is None else fps,
        )

    def to_json(self) -> dict[str, Any]:
        """The fields as a JSON object."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any], spec: ModelSpec | None = None) -> Workload:
        """The workload that `to_json` wrote, checked like any other; `spec` is for models outside the catalogue.

        Raises:
            WorkloadError: a field is unknown, missing or out of range.
            InputError: there is no such model.
        """
        allowed = tuple(item.name for item in fields(cls))
        unknown = sorted(set(data) - set(allowed))
        if unknown:
            raise WorkloadError(f"unknown workload field {unknown[0]!r}: allowed are {', '.join(allowed)}")
        if "model" not in data:
            raise WorkloadError("a workload needs the field 'model'")
        values = {name: value for name, value in data.items() if name != "model"}
        return cls.for_model(data["model"] if spec is None else spec, **values)


def _is_whole(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _count(name: str, value: int) -> int:
    if not _is_whole(value) or value < 1:
        raise WorkloadError(f"{name} must be a whole number of at least 1, got {value!r}")
    return int(value)


def _guidance(name: str, value: float) -> float:
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value) or value < 0:
        raise WorkloadError(f"{name} must be a finite number of at least 0, got {value!r}")
    return float(value)


def _check_frames(spec: ModelSpec, frames: int) -> None:
    frames = _count("frames", frames)
    factor, rest = spec.temporal_factor, spec.frame_remainder
    if spec.max_frames is not None and frames > spec.max_frames:
        raise WorkloadError(f"{spec.name} makes at most {spec.max_frames} frames, got {frames}")
    below = (frames - rest) // factor * factor + rest
    if frames != below:
        form = f"{factor}*k+{rest}" if rest else f"{factor}*k"
        nearest = f"nearest are {below} and {below + factor}" if below > 0 else f"nearest is {below + factor}"
        raise WorkloadError(f"{spec.name} makes {form} frames, got {frames}: {nearest}")
    if spec.only_frames and frames not in spec.only_frames:
        lengths = " or ".join(map(str, spec.only_frames))
        raise WorkloadError(f"{spec.name} makes {lengths} frames, got {frames}")


def _check_batch(spec: ModelSpec, batch: int) -> None:
    batch = _count("batch", batch)
    if spec.max_batch is not None and batch > spec.max_batch:
        videos = "1 video" if spec.max_batch == 1 else f"{spec.max_batch} videos"
        raise WorkloadError(f"{spec.name} makes at most {videos} per call, got batch {batch}")


def _check_size(spec: ModelSpec, name: str, value: int) -> None:
    multiple = spec.size_multiple
    wrong = f"{name} must be a positive multiple of {multiple} for {spec.name}, got {value!r}"
    if not _is_whole(value):
        raise WorkloadError(wrong)
    below = value // multiple * multiple
    if below < multiple:
        raise WorkloadError(f"{wrong}: nearest is {multiple}")
    if value != below:
        raise WorkloadError(f"{wrong}: nearest are {below} and {below + multiple}")
    if spec.max_size is not None and value > spec.max_size:
        raise WorkloadError(f"{name} must be at most {spec.max_size} for {spec.name}, got {value}")
    if spec.only_size is not None and value != spec.only_size[name == "width"]:
        only = spec.only_size[name == "width"]
        raise WorkloadError(f"{name} must be {only} for {spec.name}, which takes no other size, got {value}")
