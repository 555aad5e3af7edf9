"""A window of frames slid over the latents inside each denoising step."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from workbench._errors import SettingsError
from workbench.techniques._checks import check_whole, denoisers
from workbench.techniques._technique import UNKNOWN, AbstractTechnique, Effect, Handle

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

    from workbench.devices import Device
    from workbench.models import ModelSpec
    from workbench.runtime import TemporalWindow


WINDOWED = (
    "WanTransformer3DModel",
    "WanVACETransformer3DModel",
    "SkyReelsV2Transformer3DModel",
    "HunyuanVideoTransformer3DModel",
    "HunyuanVideo15Transformer3DModel",
    "MochiTransformer3DModel",
    "SanaVideoTransformer3DModel",
    "CosmosTransformer3DModel",
    "EasyAnimateTransformer3DModel",
)
"""Denoisers of diffusers for which a window is a shorter clip. Others get tokens or positions that the pipeline has made for the whole
clip (LTX, CogVideoX, Allegro, Kandinsky), or have learned positions for its length (Latte), or sections of their own (FramePack)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TemporalChunks(AbstractTechnique):
    """Runs the denoiser on overlapping windows of frames and blends their predictions by a linear ramp, at every step.

    Helps: activations and attention of a step are those of a window, so a clip can be longer than the card holds, and beyond the length
    at which attention dominates each step gets faster. Hurts: windows see each other only through the shared frames, so slow motion
    may drift and objects that leave a window may come back different; shared frames are computed twice; and the weights of an
    offloaded denoiser pass once per window instead of once per call. An image-conditioned model sees its image only in the first window.
    Not to be confused with chunks of the VAE's decode, which for Wan goes frame by frame anyway.

    Windows are counted in video frames and become latent frames: with a temporal compression of 4, 33 frames are (33 - 1) // 4 + 1 = 9
    latent frames, and an overlap of 8 frames is 8 // 4 = 2. All windows have that length; the last one is moved back to end with the
    clip and so may overlap more. A window that covers the clip changes nothing; the handle's report says so after the run.

    Sources: the overlap-and-blend of MultiDiffusion (Bar-Tal et al. 2023, arXiv 2302.08113) along time; diffusers has it for
    AnimateDiff only (`enable_free_noise`).
    """

    id: ClassVar[str] = "temporal_chunks"

    frames: int
    """Window, in video frames."""
    overlap: int = 0
    """Video frames that consecutive windows share; 0 joins them without a fade."""

    def __post_init__(self) -> None:
        check_whole(self.id, "frames", self.frames, minimum=1)
        check_whole(self.id, "overlap", self.overlap, minimum=0)
        if self.overlap >= self.frames:
            raise SettingsError(
                f"overlap of temporal_chunks must be below its frames, got overlap {self.overlap} for {self.frames} frames"
            )

    def applies_to(self, model: ModelSpec, device: Device | None) -> str | None:
        """Pipelines whose denoiser takes latents [B, C, T, H, W] and counts positions itself, so that it also takes a window of them."""
        names = denoisers(model.component_names())
        if not names:
            return "it has no denoiser"
        kinds = {model.component(name).class_name for name in names}
        unknown = sorted(kinds - set(WINDOWED))
        if unknown:
            return f"its denoiser, {unknown[0]}, is not known to take a window of a clip: it must count positions itself"
        return None

    def rewrites(self, model: ModelSpec) -> frozenset[str]:
        """The denoisers: each of their calls runs once per window."""
        return frozenset(denoisers(model.component_names()))

    def latent(self, factor: int) -> tuple[int, int]:
        """(frames, overlap) in latent frames for a temporal compression of `factor`."""
        return (self.frames - 1) // factor + 1, self.overlap // factor

    def num_windows(self, frames: int, factor: int) -> int:
        """Windows per denoiser call for a clip of `frames` video frames."""
        window, overlap = self.latent(factor)
        total = (frames - 1) // factor + 1
        return 1 if window >= total else -(-(total - window) // (window - overlap)) + 1

    def apply(self, pipe: DiffusionPipeline) -> Handle:
        """Wraps the forward of every denoiser."""
        from workbench.models._derive import temporal_factor
        from workbench.runtime import TemporalWindow
        from workbench.techniques._tensors import modules_of

        handle = Handle()
        window, overlap = self.latent(temporal_factor(pipe))
        modules = modules_of(pipe)
        for name in denoisers(modules):
            module: Any = modules[name]
            slide = TemporalWindow(window, overlap)
            before = vars(module).get("forward")
            module.forward = slide.wrap(module.forward)
            handle.did(
                f"{name} runs on windows of {window} latent frames ({self.frames} video frames) that share {overlap}",
                functools.partial(_restore, module, before),
            )
            handle.watch(functools.partial(_said, slide, name))
        return handle

    def effect(self) -> Effect:
        """Not measured yet: published figures are of other models and give no number."""
        return UNKNOWN


def _restore(module: Any, forward: object) -> None:
    if forward is None:
        del module.forward
    else:
        module.forward = forward


def _said(window: TemporalWindow, name: str) -> str | None:
    if window.total == 0:
        return None
    if window.num_windows == 1:
        return f"temporal_chunks changed nothing for {name}: its window covers the {window.total} latent frames of the clip"
    return f"{name} ran on {window.num_windows} windows per call for {window.total} latent frames"
