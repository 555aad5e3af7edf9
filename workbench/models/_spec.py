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

_DENOISERS = ("transformer", "unet", "dit")

INPUTS: Mapping[str, str] = {
    "image": "a black image",
    "last_image": "a black last image",
    "video": "a black video of the clip's length",
    "mask": "a mask that regenerates every pixel",
    "control_video": "a black control video of the clip's length",
    "pose_video": "a black pose video of the clip's length",
    "face_video": "a black face video of the clip's length",
    "reference_images": "one black reference image",
    "conditioning_frames": "black frames for the controlnet",
}
"""Arguments of a pipeline call that need more than text and numbers -> what stands in for them; `_call.py` makes it."""


def is_denoiser(component: str) -> bool:
    """Whether diffusers' name for a component is that of a denoising network: `transformer`, `transformer_2`, `unet`."""
    return component.rstrip("0123456789").rstrip("_") in _DENOISERS


@dataclass(frozen=True, kw_only=True, slots=True)
class ComponentSpec:
    """One neural network of a pipeline: the class it is built from, its configuration and how it is loaded."""

    name: str
    """The pipeline's own name for it: `transformer`, `transformer_2`, `vae`, `text_encoder`, `image_encoder`."""

    library: str
    """`diffusers`, `transformers` (the two keep different parts in fp32 while loading), or the pipeline package of diffusers that has
    the class, as in `model_index.json` (`ltx2`)."""

    class_name: str
    """The class, `"WanTransformer3DModel"`."""

    config: Mapping[str, Any] = field(hash=False)
    """Arguments of the class (diffusers) or of its configuration class (transformers); what is absent is the default."""

    dtype: str
    """`fp32`, `fp16` or `bf16`: what the model's own documentation passes to `from_pretrained` for this component."""

    source: str
    """Where the configuration and the dtype were read."""

    is_mapped: bool = False
    """Whether its weight files are known to have this dtype: loading then maps them and copies nothing."""

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise SettingsError(
                f"dtype of {self.name} must be one of {', '.join(DTYPES)}, got {self.dtype!r}"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class SchedulerSpec:
    """A member of a pipeline that is a diffusers class without weights and dtype: the scheduler, or a guider."""

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
    """Guidance scale. Under classifier-free guidance at most 1 means that the model runs once per step instead of twice; a
    guidance-distilled model takes it as an input and always runs once."""

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

    task: Literal["t2v", "i2v", "v2v"]
    """Text to video, image to video, or video to video."""

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
    """Frames per latent frame: the model makes `temporal_factor * k + frame_remainder` frames."""

    frame_remainder: int = 1
    """1 for a causal VAE, whose first frame has a latent frame of its own; 0 where frames are compressed in whole groups."""

    size_multiple: int
    """Height and width are multiples of this: the VAE's spatial compression times the transformer's patch."""

    max_frames: int | None = None
    """The longest video that the model's position embeddings reach; None if no limit is known."""

    only_frames: tuple[int, ...] = ()
    """The lengths that the model makes, if it makes no others of that form; empty if it does."""

    max_size: int | None = None
    """The largest height or width in pixels, likewise."""

    only_size: tuple[int, int] | None = None
    """(height, width) in pixels if the model takes no other (learned position embeddings); None if it does."""

    max_batch: int | None = None
    """Most videos that one call of the pipeline makes; None if it sets no limit."""

    call: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """Further arguments of the pipeline call, `{"max_sequence_length": 512}`."""

    inputs: tuple[str, ...] = ()
    """Arguments of the pipeline call that need more than text and numbers: names of `INPUTS`."""

    remarks: tuple[str, ...] = ()
    """What a reader of any prediction for this model should know, one sentence each, without a full stop."""

    always_tiled: bool = False
    """Whether the VAE can decode in tiles only; the pipeline is then built with them."""

    extras: Mapping[str, SchedulerSpec] = field(default_factory=dict, hash=False)
    """Further members of the pipeline without weights, by the pipeline's name for them: `guider`."""

    parameters: Mapping[str, float] = field(default_factory=dict, hash=False)
    """Published parameter count by component; a component without a published count is absent."""

    sources: tuple[str, ...]
    """Where the native workload, the limits and the parameter counts were read."""

    @property
    def assumptions(self) -> tuple[str, ...]:
        """What every prediction for this model assumes, one sentence each: stand-ins for inputs, and the row's remarks."""
        if not self.inputs:
            return self.remarks
        given = " and ".join(INPUTS[name] for name in self.inputs)
        return (f"the pipeline was rehearsed with {given} in place of yours", *self.remarks)

    @property
    def num_experts(self) -> int:
        """How many denoising networks share the steps; 2 means that each keeps its own part of the schedule."""
        return len(self.denoisers)

    @property
    def denoisers(self) -> tuple[str, ...]:
        """Names of the networks that compute at every step, by diffusers' convention."""
        return tuple(name for name in self.component_names() if is_denoiser(name))

    @property
    def text_encoders(self) -> tuple[str, ...]:
        """Names of the networks that encode the prompt."""
        return tuple(name for name in self.component_names() if name.startswith("text_encoder"))

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
