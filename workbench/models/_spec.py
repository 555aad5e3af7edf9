"""What a model is, as plain values: component classes and configurations, native workload, what sizes it can make.

Nothing here imports torch. `_build.py` turns a `ModelSpec` into a weightless pipeline, `_workload.py` checks a workload
against one, and the rows themselves are in one file per family (`wan.py`, `tiny.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from workbench._errors import SettingsError, UnknownNameError

DTYPES = ("fp32", "fp16", "bf16")


@dataclass(frozen=True, kw_only=True, slots=True)
class ComponentSpec:
    """One neural network of a pipeline: the class it is built from, its configuration and how it is loaded."""

    name: str
    """The pipeline's own name for it: `transformer`, `transformer_2`, `vae`, `text_encoder`, `image_encoder`."""

    library: Literal["diffusers", "transformers"]
    """The package that has the class; the two packages keep different parts in fp32 while loading."""

    class_name: str
    """The class, `"WanTransformer3DModel"`."""

    config: Mapping[str, Any] = field(hash=False)
    """Arguments of the class (diffusers) or of its configuration class (transformers); what is absent is the default."""

    dtype: str
    """`fp32`, `fp16` or `bf16`: what the model's own documentation passes to `from_pretrained` for this component."""

    source: str
    """Where the configuration and the dtype were read."""

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise SettingsError(
                f"dtype of {self.name} must be one of {', '.join(DTYPES)}, got {self.dtype!r}"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class SchedulerSpec:
    """The noise schedule and its solver; a diffusers class, so it has no weights and no dtype."""

    class_name: str
    """The class, `"UniPCMultistepScheduler"`."""

    config: Mapping[str, Any] = field(hash=False)
    """Arguments of the class; what is absent is the default."""

    source: str
    """Where the configuration was read."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Defaults:
    """The native workload: what the model's authors run when they show it."""

    frames: int
    """Video frames."""

    height: int
    """Pixels."""

    width: int
    """Pixels."""

    steps: int
    """Denoising steps."""

    guidance: float
    """Classifier-free guidance scale; at most 1 means that the model runs once per step instead of twice."""

    guidance_2: float | None = None
    """Guidance scale of the second (low-noise) expert; None for a model with one expert."""

    fps: int
    """Frames per second at which the result is meant to be shown."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelSpec:
    """One row of the catalogue."""

    name: str
    """The catalogue name: the hub repository in lower case, without organisation and without `-diffusers`."""

    title: str
    """The name as its authors write it."""

    family: str
    """`"wan"`; the file of this folder that holds the row."""

    task: Literal["t2v", "i2v"]
    """Text to video, or image and text to video."""

    pipeline_class: str
    """The diffusers pipeline class, `"WanPipeline"`."""

    pipeline_config: Mapping[str, Any] = field(hash=False)
    """Further arguments of the pipeline class, `{"boundary_ratio": 0.875}`."""

    components: tuple[ComponentSpec, ...]
    """The neural networks, in the order in which a generation uses them. Tokenizers and image processors are not listed."""

    scheduler: SchedulerSpec
    """The noise schedule."""

    defaults: Defaults
    """The native workload."""

    temporal_factor: int
    """Frames per latent frame: the model makes `temporal_factor * k + 1` frames."""

    size_multiple: int
    """Height and width are multiples of this: the VAE's spatial compression times the transformer's patch."""

    max_positions: int
    """Longest axis, in latent frames or in patches, that the transformer has position embeddings for."""

    text_tokens: int
    """Length to which every prompt is padded (`max_sequence_length` of the pipeline call)."""

    parameters: Mapping[str, float] = field(hash=False)
    """Published parameter count by component; a component without a published count is absent."""

    sources: tuple[str, ...]
    """Where the native workload, the limits and the parameter counts were read."""

    @property
    def max_frames(self) -> int:
        """The longest video that the position embeddings reach."""
        return self.temporal_factor * (self.max_positions - 1) + 1

    @property
    def max_size(self) -> int:
        """The largest height or width, in pixels, that the position embeddings reach."""
        return self.size_multiple * self.max_positions

    @property
    def num_experts(self) -> int:
        """How many denoising networks share the steps; 2 means that each keeps its own part of the schedule."""
        return sum(part.name.startswith("transformer") for part in self.components)

    def component(self, name: str) -> ComponentSpec:
        """The component of that name.

        Raises:
            UnknownNameError: the model has no such component.
        """
        for part in self.components:
            if part.name == name:
                return part
        raise UnknownNameError.of(f"component of {self.name}", name, self.component_names())

    def component_names(self) -> tuple[str, ...]:
        """Names of the components, in the order in which a generation uses them."""
        return tuple(part.name for part in self.components)

    def with_dtypes(self, dtypes: Mapping[str, str]) -> ModelSpec:
        """The same model with other loading dtypes, `{"vae": "bf16"}`; components not named keep theirs."""
        changed = {name: replace(self.component(name), dtype=dtype) for name, dtype in dtypes.items()}
        return replace(self, components=tuple(changed.get(part.name, part) for part in self.components))
