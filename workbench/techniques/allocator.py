"""Options of PyTorch's caching allocator."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from workbench.cost.allocator import ENVIRONMENT_VARIABLE as VARIABLE
from workbench.cost.allocator import AllocatorOptions
from workbench.techniques._technique import AbstractTechnique, Handle

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

    from workbench.devices import Device
    from workbench.models import ModelSpec


@dataclass(frozen=True, kw_only=True, slots=True)
class Allocator(AbstractTechnique):
    """How PyTorch packs what a pipeline asks for into GPU memory. What is allocated stays the same; what is reserved for it changes.

    `expandable_segments` helps where reserved memory is much more than allocated: large tensors of many sizes, as in the decode of a
    video, or one stage after another without emptying the cache. It costs a little time while memory grows. `max_split_size_mb` keeps
    large cached blocks whole for large requests; it helps against fragments and hurts where large blocks served smaller requests, which
    then take new memory. `garbage_collection_threshold` gives old cached blocks back early, only under a limit set with
    `torch.cuda.set_per_process_memory_fraction`. Not to be confused with emptying the cache, which gives back what is free at one moment.

    PyTorch takes these options from an environment variable when it starts; this changes them in a running process, where what was
    reserved before (weights, usually) stays as it is.

    Sources: PyTorch, `c10/core/AllocatorConfig.cpp`, `c10/cuda/CUDACachingAllocator.cpp` and "CUDA semantics", memory management.
    """

    id: ClassVar[str] = "allocator"

    expandable_segments: bool = False
    """One segment per pool that grows, instead of one for each large request. Linux only."""
    max_split_size_mb: int | None = None
    """MiB from which on cached blocks are not split; at least 20. None for no such size."""
    garbage_collection_threshold: float | None = None
    """Share of the process's limit beyond which old cached blocks are given back; between 0 and 1. None for never."""

    def __post_init__(self) -> None:
        self._options()  # which checks the values

    def _options(self) -> AllocatorOptions:
        return AllocatorOptions(
            expandable_segments=self.expandable_segments,
            max_split_size_mb=self.max_split_size_mb,
            garbage_collection_threshold=self.garbage_collection_threshold,
        )

    def applies_to(self, model: ModelSpec, device: Device | None) -> str | None:
        """Every model, on a CUDA device."""
        if device is not None and device.architecture == "cpu":
            return f"these are options of PyTorch's CUDA allocator, and {device.title} has no CUDA"
        return None

    def allocator_options(self, options: AllocatorOptions) -> AllocatorOptions:
        """These, without the threshold: it acts only under a limit that a prediction does not set."""
        mine = replace(self._options(), garbage_collection_threshold=None)
        return replace(mine, roundup_power2_divisions=options.roundup_power2_divisions)

    def apply(self, pipe: DiffusionPipeline) -> Handle:
        """Tells a CUDA process's allocator, for everything that it reserves from now on; elsewhere says what would have to be set."""
        from workbench.techniques._allocator_settings import told, why_not
        from workbench.techniques._tensors import is_weightless

        handle, conf = Handle(), self._options().conf()
        start = f"start the process with {VARIABLE}={conf}"
        if not conf:
            handle.did("PyTorch's allocator is left as it is: all its options have their defaults")
        elif is_weightless(pipe):
            handle.did(f"nothing to tell an allocator about a pipeline without weights; to run it, {start}")
        elif (reason := why_not()) is not None:
            handle.did(f"PyTorch's allocator was not told: {reason}; {start}")
        else:
            undo = told(conf)
            handle.did(f"PyTorch's allocator was told {conf} for what it reserves from now on", undo)
            handle.did(f"to have this from the start, weights included, {start}")
        return handle

    def notes(self, model: ModelSpec, device: Device | None) -> tuple[str, ...]:
        """How to get what was predicted, and what the prediction leaves out."""
        conf = self._options().conf()
        said = (
            [f"start the process with {VARIABLE}={conf}, so that weights are loaded under it"] if conf else []
        )
        if self.garbage_collection_threshold is not None:
            said.append(
                "garbage_collection_threshold acts only under torch.cuda.set_per_process_memory_fraction, "
                "and changes nothing in this prediction"
            )
        return tuple(said)
