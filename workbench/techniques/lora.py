"""What LoRA adapters that the run uses cost beside the model's own weights."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final

from workbench._errors import SettingsError, UnknownNameError
from workbench.techniques._checks import check_choice, check_components, check_whole, denoisers
from workbench.techniques._kinds import is_installed
from workbench.techniques._technique import UNKNOWN, AbstractTechnique, Effect, Handle

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

    from workbench.devices import Device
    from workbench.models import ModelSpec

INSTALL: Final = 'pip install "diffusion-workbench[lora]"'
TARGETS: Final = ("attention", "linear")


@dataclass(frozen=True, kw_only=True, slots=True)
class Lora(AbstractTechnique):
    """LoRA adapters on the denoisers, as `pipe.load_lora_weights` leaves them there: for "what do my two LoRAs of rank 64 cost?".

    An adapter adds two thin matrices to every layer it is made for, in the dtype of that layer, and peft keeps up to three more tensors
    of the layer's output alive while it adds what they give: on the widest layers that is more than the weights. `fused` is for adapters
    merged into the weights (`fuse_lora`, then `unload_lora_weights`), which cost nothing while the run lasts.
    Adapters are files of the user's, so a real pipeline gets none from here: the handle says which ones it finds loaded and whether they
    are what was predicted.

    Sources: Hu et al. 2021 (arXiv 2106.09685); peft `tuners/lora/layer.py`, `Linear.forward`; diffusers `loaders/peft.py`.
    """

    id: ClassVar[str] = "lora"

    rank: int
    """Rank of each adapter."""
    count: int = 1
    """Adapters in use at once."""
    targets: str = "attention"
    """`attention`, the linear layers of attention as most trainers do, or `linear`, every linear layer."""
    fused: bool = False
    """Whether they are merged into the weights before the run."""
    components: tuple[str, ...] = ()
    """Networks that have them; empty for every denoiser."""

    def __post_init__(self) -> None:
        check_whole(self.id, "rank", self.rank, minimum=1)
        check_whole(self.id, "count", self.count, minimum=1)
        check_choice(self.id, "targets", self.targets, TARGETS)
        if not isinstance(self.fused, bool):
            raise SettingsError(f"fused of lora must be true or false, got {self.fused!r}")
        names: object = self.components
        if not isinstance(names, tuple) or not all(isinstance(name, str) for name in names):
            raise SettingsError(f"components of lora must be a list of names, got {names!r}")

    def _names(self, among: Iterable[str]) -> tuple[str, ...]:
        return self.components or denoisers(among)

    def applies_to(self, model: ModelSpec, device: Device | None) -> str | None:
        """Any network of diffusers, where peft is installed."""
        check_components(model, self.components)
        names = self._names(model.component_names())
        for name in names:
            if model.component(name).library != "diffusers":
                return f"{name} is no network of diffusers; adapters of text encoders are not predicted"
        if not names:
            return "it has no denoiser"
        return None if self.fused or is_installed("peft") else f"it needs the package peft: {INSTALL}"

    def rewrites(self, model: ModelSpec) -> frozenset[str]:
        """The networks that have adapters; none if these are merged."""
        return frozenset() if self.fused else frozenset(self._names(model.component_names()))

    def narrowed(self, component: str) -> Lora:
        """One component."""
        return Lora(
            rank=self.rank,
            count=self.count,
            targets=self.targets,
            fused=self.fused,
            components=(component,),
        )

    def apply(self, pipe: DiffusionPipeline) -> Handle:
        """Puts adapters without data on a weightless pipeline; looks at those of a real one."""
        from workbench.techniques._adapters import add_adapters, loaded_adapters
        from workbench.techniques._tensors import is_weightless, modules_of

        handle, modules, weightless = Handle(), modules_of(pipe), is_weightless(pipe)
        with handle.whole_or_not_at_all():
            for name in self._names(modules):
                if name not in modules:
                    raise UnknownNameError.of(f"component of {type(pipe).__name__}", name, modules)
                if self.fused:
                    handle.did(f"{name}: adapters that are merged into the weights need nothing more")
                elif not weightless:
                    handle.did(f"{name}: {self._compared(loaded_adapters(modules[name]))}")
                elif not is_installed("peft"):
                    raise SettingsError(f"lora needs the package peft: {INSTALL}")
                else:
                    handle.did(f"{name}: {add_adapters(modules[name], self, handle)}")
        return handle

    def _compared(self, ranks: tuple[int, ...]) -> str:
        """What is loaded, beside what was predicted."""
        predicted = f"{self.count} of rank {self.rank} {'was' if self.count == 1 else 'were'} predicted"
        if not ranks:
            return f"no adapter is loaded, {predicted}; load yours with pipe.load_lora_weights"
        found = ", ".join(map(str, ranks))
        return f"{len(ranks)} adapter{'s' if len(ranks) > 1 else ''} of rank {found} loaded, {predicted}"

    def notes(self, model: ModelSpec, device: Device | None) -> tuple[str, ...]:
        """That adapters are the user's to load."""
        if self.fused:
            return ("adapters are predicted as merged: pipe.fuse_lora(), then pipe.unload_lora_weights()",)
        return ("adapters are predicted, not loaded: pipe.load_lora_weights before the settings are applied",)

    def effect(self) -> Effect:
        """An adapter is there to change the output; nothing is known of a loss."""
        return UNKNOWN
