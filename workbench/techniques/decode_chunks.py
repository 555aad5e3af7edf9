"""Decodes a few frames at a time, where the autoencoder takes frames as images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final

from workbench._errors import SettingsError
from workbench.techniques._call_defaults import call_with
from workbench.techniques._checks import check_whole
from workbench.techniques._technique import UNKNOWN, AbstractTechnique, Effect, Handle

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

    from workbench.devices import Device
    from workbench.models import ModelSpec

_CHUNK = "decode_chunk_size"
_FRAME_BY_FRAME: Final = ("AutoencoderKL",)
_WITH_TIME: Final = ("AutoencoderKLTemporalDecoder",)


@dataclass(frozen=True, kw_only=True, slots=True)
class DecodeChunks(AbstractTechnique):
    """Decodes `frames` frames per call of the autoencoder.

    Helps: the decode needs the activations of `frames` frames instead of the clip's; Stable Video Diffusion decodes all at once unless it
    is told otherwise. Hurts: with the image autoencoder of AnimateDiff nothing; the temporal decoder of Stable Video Diffusion and Latte
    looks across the frames it is given, so chunks may flicker where they meet. Small chunks use a big GPU less well.
    Not to be confused with `temporal_chunks`, which is about denoising, and with `vae_slicing`, which cuts the batch.

    Source: diffusers, `decode_chunk_size` of `StableVideoDiffusionPipeline`, `AnimateDiffPipeline`, `LattePipeline`.
    """

    id: ClassVar[str] = "decode_chunks"

    frames: int
    """Frames decoded at a time."""

    def __post_init__(self) -> None:
        check_whole(self.id, "frames", self.frames, minimum=1)

    def applies_to(self, model: ModelSpec, device: Device | None) -> str | None:
        """Pipelines whose autoencoder takes frames as a batch of images."""
        if "vae" not in model.component_names():
            return "it has no VAE"
        kind = model.component("vae").class_name
        if kind in (*_FRAME_BY_FRAME, *_WITH_TIME):
            return None
        return f"its VAE, {kind}, decodes a clip as a whole; vae_tiling or temporal tiles cut it"

    @property
    def changes_calls(self) -> bool:
        """The autoencoder is called more often, with fewer frames."""
        return True

    def call_kwargs(self, kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Without the workload's own chunk, so that this one is the default."""
        return {name: value for name, value in kwargs.items() if name != _CHUNK}

    def apply(self, pipe: DiffusionPipeline) -> Handle:
        """Makes it the default of the pipeline's call."""
        import inspect

        if _CHUNK not in inspect.signature(type(pipe).__call__).parameters:
            raise SettingsError(
                f"decode_chunks needs a pipeline whose call takes {_CHUNK}, and that of {type(pipe).__name__} does not"
            )
        sentence = f"the VAE decodes {self.frames} frames at a time by default"
        return call_with(pipe, sentence, **{_CHUNK: self.frames})

    def effect(self) -> Effect:
        """Exact for an autoencoder of images; where it looks across frames nobody has published the difference."""
        return UNKNOWN
