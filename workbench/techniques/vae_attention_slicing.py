"""Computes the attention inside an autoencoder a few frames at a time."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final

from workbench._errors import SettingsError
from workbench.techniques._checks import check_whole
from workbench.techniques._technique import EXACT, AbstractTechnique, Effect, Handle

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

    from workbench.devices import Device
    from workbench.models import ModelSpec

WITHIN_FRAMES: Final[Mapping[str, str]] = {"AutoencoderKLCosmos": "CosmosSpatialAttentionProcessor2_0"}
"""Autoencoders whose attention stays within each frame but computes all frames as one batch, and its processor. Its operands are
transposed views, which no fused kernel of PyTorch takes (`check_last_dim_stride_equals_1` in sdp_utils.cpp), so that the score
matrices of all frames are in memory at once: 29.7 GiB predicted for 121 frames of 704x1280."""


@dataclass(frozen=True, kw_only=True, slots=True)
class VaeAttentionSlicing(AbstractTechnique):
    """Computes the attention inside the autoencoder for `frames` latent frames at a time.

    Helps: the score matrices of `frames` frames are in memory instead of the clip's. Hurts: hardly; a frame's attention fills a GPU.
    The frames do not attend to each other there, so the output is the same to rounding.

    Source: `AutoencoderKLCosmos` in diffusers, which has no tiles of its own.
    """

    id: ClassVar[str] = "vae_attention_slicing"

    frames: int = 1
    """Latent frames whose attention is computed at a time."""

    def __post_init__(self) -> None:
        check_whole(self.id, "frames", self.frames, minimum=1)

    def applies_to(self, model: ModelSpec, device: Device | None) -> str | None:
        """Autoencoders that attend within frames and compute all of them as one batch."""
        if "vae" not in model.component_names():
            return "it has no VAE"
        kind = model.component("vae").class_name
        if kind in WITHIN_FRAMES:
            return None
        return (
            f"its VAE, {kind}, does not compute the attention within all frames at once; vae_tiling cuts it"
        )

    def rewrites(self, model: ModelSpec) -> frozenset[str]:
        """The autoencoder."""
        return frozenset({"vae"})

    def apply(self, pipe: DiffusionPipeline) -> Handle:
        """Puts a processor that slices in front of the autoencoder's own; the handle takes it away."""
        from workbench.techniques._frame_slices import FrameSlices

        vae, handle = pipe.components.get("vae"), Handle()
        wanted = WITHIN_FRAMES.get(type(vae).__name__)
        if vae is None or wanted is None:
            raise SettingsError(
                f"vae_attention_slicing needs one of {', '.join(WITHIN_FRAMES)}, and the VAE of {type(pipe).__name__} "
                f"is {type(vae).__name__}"
            )
        for module in vae.modules():
            own = getattr(module, "processor", None)
            if type(own).__name__ == wanted:
                module.processor = FrameSlices(own, self.frames)
                handle.undoing(functools.partial(setattr, module, "processor", own))
        handle.did(f"the VAE attends within {self.frames} latent frames at a time")
        return handle

    def effect(self) -> Effect:
        """Exact to rounding: frames do not attend to each other."""
        return EXACT
