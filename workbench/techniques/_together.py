"""Networks that must be in one dtype, because their pipeline hands tensors from one to the next as they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from workbench.models import ModelSpec

_ALL = ("text_encoder", "transformer", "vae")
_PROMPTED = _ALL[:2]
TOGETHER: Mapping[str, tuple[str, ...]] = {
    "AllegroPipeline": _PROMPTED,
    "AnimateDiffPipeline": ("text_encoder", "unet", "vae"),
    "CogVideoXImageToVideoPipeline": _ALL,
    "CogVideoXPipeline": _ALL,
    "Cosmos2VideoToWorldPipeline": _PROMPTED,
    "Cosmos2_5_PredictBasePipeline": _PROMPTED,
    "CosmosTextToWorldPipeline": _PROMPTED,
    "EasyAnimatePipeline": _ALL,
    "Kandinsky5I2VPipeline": ("transformer", "vae"),
    "LTX2ImageToVideoPipeline": ("text_encoder", "connectors", "transformer", "vae"),
    "LTX2Pipeline": ("text_encoder", "connectors", "transformer"),
    "LTXConditionPipeline": _ALL,
    "LTXImageToVideoPipeline": _ALL,
    "LTXPipeline": _PROMPTED,
    "LattePipeline": _ALL,
    "MochiPipeline": _ALL,
    "StableVideoDiffusionPipeline": ("image_encoder", "unet", "vae"),
}
"""Pipelines that hand tensors from one network to the next as they are (diffusers 0.42): one of these in another dtype, and the first
product of two dtypes fails. Found by studies/technique_matrix."""


def together(model: ModelSpec) -> tuple[str, ...]:
    """The components that must be in one dtype; none for most pipelines."""
    names = TOGETHER.get(model.pipeline_class, ())
    return tuple(name for name in names if name in model.component_names())
