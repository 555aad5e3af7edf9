"""Both branches of classifier-free guidance in one denoiser call, or one branch per call."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from workbench.techniques._checks import check_choice, denoisers
from workbench.techniques._technique import EXACT, AbstractTechnique, Effect, Handle

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

    from workbench.devices import Device
    from workbench.models import ModelSpec

MODES = ("batched", "sequential")
_TOGETHER = (
    "Allegro",
    "AnimateDiff",
    "CogVideoX",
    "EasyAnimate",
    "LTX",
    "Latte",
    "Mochi",
    "Sana",
    "StableVideoDiffusion",
)
"""Beginnings of the names of diffusers' pipelines that compute both branches of guidance in one call."""
_APART = ("Cosmos", "HunyuanVideo15", "Kandinsky5", "SkyReelsV2", "Wan")
"""Those that make a call for each."""
_NEW_TENSORS = ("Cosmos2", "Kandinsky5")
"""Of these, those that make latents or timesteps anew for each call."""
_NO_BATCH = ("CosmosTextToWorld",)
"""Of these, those whose denoiser repeats the padding mask of a batch once more (diffusers 0.42)."""
_DISTILLED = ("HunyuanVideoPipeline", "HunyuanVideoImageToVideo", "HunyuanVideoFramepack")
"""Those whose guidance is an input of the model."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cfg(AbstractTechnique):
    """How many calls of the denoiser a guided step takes.

    `sequential` halves the batch of every denoiser call: for pipelines that compute both branches at once (CogVideoX, LTX-Video, Mochi)
    the activations of a step are those of one branch. `batched` computes both branches at once where the pipeline makes two calls (Wan,
    SkyReels): the activations double, but weights that are offloaded move once per step instead of twice, and a big GPU has more to do
    at a time. The output is the same to rounding. Each changes nothing where the pipeline computes that way anyway, or guidance is off;
    the handle's report says so after the run. Not to be confused with `guidance_scale`, which at 1 does away with one branch.

    `batched` learns from the first step what the second call will be, and makes that step in two calls (`runtime/guidance.py`). It takes
    pipelines that pass the same tensors of latents to both calls; those that convert the latents for each call keep making two.

    Source: Ho and Salimans 2022 (arXiv 2207.12598); there is no such choice in diffusers' pipelines.
    """

    id: ClassVar[str] = "cfg"

    mode: str
    """`batched` or `sequential`."""

    def __post_init__(self) -> None:
        check_choice(self.id, "mode", self.mode, MODES)

    def applies_to(self, model: ModelSpec, device: Device | None) -> str | None:
        """Pipelines that compute guidance the other way; one that is not known may have something to change."""
        pipeline = model.pipeline_class
        if not denoisers(model.component_names()):
            return "it has no denoiser"
        if model.defaults.guidance <= 1 or pipeline.startswith(_DISTILLED):
            return "its native guidance takes one call of one branch"
        if self.mode == "sequential":
            return "its pipeline computes one branch per call anyway" if pipeline.startswith(_APART) else None
        if pipeline.startswith(_TOGETHER):
            return "its pipeline computes both branches in one call anyway"
        if pipeline.startswith(_NEW_TENSORS):
            return (
                "its pipeline makes its tensors anew for each call, so that a second call is not recognised"
            )
        if pipeline.startswith(_NO_BATCH):
            return "its denoiser does not take the padding masks of two branches at once"
        return None

    @property
    def changes_calls(self) -> bool:
        """The denoiser is called more or less often, on other batches."""
        return True

    def apply(self, pipe: DiffusionPipeline) -> Handle:
        """Stands between the pipeline and every denoiser."""
        import inspect

        from workbench.runtime import JoinedGuidance, SplitGuidance
        from workbench.techniques._around import around_calls
        from workbench.techniques._tensors import modules_of

        handle, modules = Handle(), modules_of(pipe)
        for name in denoisers(modules):
            module: Any = modules[name]
            signature = inspect.signature(type(module).forward.__get__(module))
            if self.mode == "batched":
                around: Any = JoinedGuidance(signature)
                sentence = f"{name} is asked for both branches of guidance at once"
            else:
                around = SplitGuidance(signature, getattr(module, "cache_context", None))
                sentence = f"{name} is asked for one half of the batch at a time"
            handle.did(sentence, around_calls(module, self.id, around))
            handle.watch(functools.partial(around.said, name))
        return handle

    def effect(self) -> Effect:
        """The same sums; kernels may round differently for another batch."""
        return EXACT
