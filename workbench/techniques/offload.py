"""Keeps weights in host RAM and brings them to the GPU when they compute."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, ClassVar

from workbench._errors import SettingsError, UnknownNameError
from workbench.cost import Placement, Residency
from workbench.techniques._checks import check_choice, check_components
from workbench.techniques._grouping import Grouping
from workbench.techniques._technique import AbstractTechnique, Handle

if TYPE_CHECKING:
    from collections.abc import Iterable

    from diffusers import DiffusionPipeline

    from workbench.devices import Device
    from workbench.models import ModelSpec

MODES = {
    "none": "all weights are on the GPU",
    "model": "one component at a time is on the GPU",
    "sequential": "one layer at a time is on the GPU",
    "group": "",
}
"""What a mode does, in words; of `group` its parameters say it."""
NOT_LEAF_BY_LEAF = (
    "EasyAnimatePipeline",
    "HunyuanVideo15ImageToVideoPipeline",
    "HunyuanVideoFramepackPipeline",
)
"""Pipelines on whose twins it failed: a tensor without data reaches a layer (diffusers 0.42). In FramePack it is the output projection of
SigLIP's `nn.MultiheadAttention`, used outside the layer that holds it; of the others the cause was not looked for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Offload(AbstractTechnique):
    """Where weights wait.

    `none` puts everything on the GPU. `model` brings one whole component at a time: needs the largest one, costs seconds per run.
    `group` brings `blocks_per_group` transformer blocks at a time: needs a few blocks, moves all weights at every call; with `stream`
    the next block comes while this one computes, which hides the transfer where a block computes longer than it travels, and costs
    pinned copies in host RAM. `resident_blocks` of the denoiser then stay, which moves less (block swap). `sequential` brings single
    layers: needs least, is slowest.
    Never changes the output. Activations are not offloaded. Not to be confused with quantisation, which makes weights smaller.

    In mode `group` the components that are not named stay on the GPU: by default the autoencoder, which is small and computes longest
    per weight. Of a text encoder the stack of blocks is grouped; what is outside it stays on the GPU too.

    Sources: diffusers `enable_model_cpu_offload`, `enable_sequential_cpu_offload`, `apply_group_offloading`; block swap as in mmgp.
    """

    id: ClassVar[str] = "offload"

    mode: str
    """`none`, `model`, `sequential` or `group`; everything below is for mode `group` only."""
    blocks_per_group: int = 1
    """Blocks that move together."""
    stream: bool = False
    """Whether the next block is fetched while this one computes; one block per group only."""
    components: tuple[str, ...] | None = None
    """Components that are offloaded in groups; None means all but autoencoders."""
    offload_type: str = "block_level"
    """`block_level`, or `leaf_level`: a group is a single layer."""
    low_cpu_mem_usage: bool = False
    """Whether weights are pinned each time that they are fetched, instead of kept pinned; with `stream` only."""
    disk: str | None = None
    """A folder in which groups wait in files instead of host RAM."""
    resident_blocks: int = 0
    """Blocks of the denoiser that stay on the GPU, spread evenly, with everything of it that is in no block."""

    def __post_init__(self) -> None:
        check_choice(self.id, "mode", self.mode, MODES)
        if self.components is not None and not all(isinstance(name, str) for name in self.components):
            raise SettingsError(f"components of offload must be a list of names, got {self.components!r}")
        grouping = self._grouping
        for name in self.to_json():
            if name != "mode" and self.mode != "group":
                raise SettingsError(f"{name} of offload belongs to mode 'group', got mode {self.mode!r}")
        grouping.check()

    @property
    def _grouping(self) -> Grouping:
        return Grouping(**{item.name: getattr(self, item.name) for item in fields(Grouping)})

    def applies_to(self, model: ModelSpec, device: Device | None) -> str | None:
        """Every pipeline that has the named components."""
        check_components(model, self.components or ())
        by_layer = self.mode == "sequential" or self.offload_type == "leaf_level"
        if by_layer and model.pipeline_class in NOT_LEAF_BY_LEAF:
            return (
                f"{'mode sequential' if self.mode == 'sequential' else 'offload_type leaf_level'} fails: a layer of "
                f"{model.pipeline_class} is given weights that have not been brought; blocks in mode group are the nearest"
            )
        return (
            self._grouping.refusal(model, self.grouped(model.component_names()))
            if self.mode == "group"
            else None
        )

    def residency(self, model: ModelSpec, residency: Residency) -> Residency:
        """The placement that the library gives each component."""
        if self.mode == "none":
            return residency
        if self.mode == "group":
            for name in self.grouped(model.component_names()):
                residency = residency.placed(name, self._grouping.placement(name))
            return residency
        for name in model.component_names():
            residency = residency.placed(name, Placement(mode="whole" if self.mode == "model" else "leaves"))
        return residency

    def grouped(self, names: Iterable[str]) -> tuple[str, ...]:
        """Those of some components that mode `group` offloads."""
        if self.components is not None:
            return self.components
        return tuple(name for name in names if not name.startswith("vae"))

    def notes(self, model: ModelSpec, device: Device | None) -> tuple[str, ...]:
        """Says what is assumed of files."""
        return self._grouping.notes(device)

    def apply(self, pipe: DiffusionPipeline) -> Handle:
        """Lets diffusers place the weights; says so where there is no GPU or nothing to place."""
        from workbench.techniques import _placing
        from workbench.techniques._group_placing import place_groups
        from workbench.techniques._tensors import is_weightless, modules_of

        handle = Handle()
        device = _placing.onload_device()
        grouped = self.grouped(modules_of(pipe)) if self.mode == "group" else ()
        for name in grouped:
            if name not in pipe.components:
                raise UnknownNameError.of(f"component of {type(pipe).__name__}", name, modules_of(pipe))
        if is_weightless(pipe):
            handle.did(f"offload {self.mode} moved nothing: the pipeline has no weights")
        elif device is None:
            handle.did(
                f"offload {self.mode} moved nothing: this machine has no CUDA device, everything stays in host RAM"
            )
        else:
            with handle.whole_or_not_at_all():
                if self.mode == "group":
                    place_groups(pipe, grouped, device, handle, self._grouping)
                else:
                    _placing.place(pipe, self.mode, device, handle)
            handle.did(f"{MODES[self.mode] or self._grouping.sentence()}, which is {device}")
        return handle
