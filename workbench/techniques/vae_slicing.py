"""Decodes the videos of a batch one after the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from workbench._errors import SettingsError
from workbench.techniques._technique import AbstractTechnique, Handle
from workbench.techniques._vae_tiles import UNSLICED

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

    from workbench.devices import Device
    from workbench.models import ModelSpec


@dataclass(frozen=True, kw_only=True, slots=True)
class VaeSlicing(AbstractTechnique):
    """`vae.enable_slicing()`: one video of the batch is decoded at a time.

    Helps: the decode of a batch needs the activations of one video. Hurts: nothing to speak of; one video at a time still fills a GPU.
    Changes nothing for a batch of one. Not to be confused with tiling, which cuts each frame.

    Source: diffusers, `AutoencoderMixin.enable_slicing`.
    """

    id: ClassVar[str] = "vae_slicing"

    def applies_to(self, model: ModelSpec, device: Device | None) -> str | None:
        """Every pipeline with an autoencoder that makes batches."""
        if "vae" not in model.component_names():
            return "it has no VAE"
        kind = model.component("vae").class_name
        if kind in UNSLICED:
            return f"its VAE, {kind}, cannot decode one video after the other: {UNSLICED[kind]}"
        if kind == "AutoencoderKLLTXVideo" and model.component("vae").config.get("timestep_conditioning"):
            return f"its VAE, {kind}, fails on slices when it is told a timestep (diffusers 0.42)"
        return "its pipeline makes one video at a time" if model.max_batch == 1 else None

    def rewrites(self, model: ModelSpec) -> frozenset[str]:
        """The autoencoder."""
        return frozenset({"vae"})

    def apply(self, pipe: DiffusionPipeline) -> Handle:
        """Turns slicing on; the handle turns it off if it was off."""
        vae = pipe.components.get("vae")
        if not hasattr(vae, "use_slicing"):  # every VAE of diffusers has enable_slicing, which looks for this
            raise SettingsError(
                f"vae_slicing needs a VAE with enable_slicing, and {type(pipe).__name__} has none"
            )
        before = vae.use_slicing
        vae.enable_slicing()
        handle = Handle()
        handle.did(
            "the VAE decodes one video of the batch at a time", lambda: setattr(vae, "use_slicing", before)
        )
        return handle
