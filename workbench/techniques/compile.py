"""Compiles the denoiser, so that chains of element-wise ops become single kernels."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final

from workbench._errors import SettingsError
from workbench.techniques._checks import check_choice, denoisers
from workbench.techniques._technique import AbstractTechnique, Handle

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

    from workbench.devices import Device
    from workbench.models import ModelSpec

MODES: Final = ("default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs")

WITHOUT_BLOCKS: Final = frozenset(
    {
        "AllegroTransformer3DModel",
        "CogVideoXTransformer3DModel",
        "CosmosTransformer3DModel",
        "EasyAnimateTransformer3DModel",
        "HunyuanVideoFramepackTransformer3DModel",
        "LatteTransformer3DModel",
        "MochiTransformer3DModel",
        "SanaVideoTransformer3DModel",
        "UNetMotionModel",
        "UNetSpatioTemporalConditionModel",
    }
)
"""Denoisers of the catalogue that name no `_repeated_blocks` (diffusers 0.42)."""

WARM_UP: Final = (
    "compiling comes on top, when the pipeline first runs and again at another size: its seconds are unknown for this model; "
    "Flux.1-dev on an H100 took 67.4 s as a whole and 9.6 s by its blocks (PyTorch devlog 'torch.compile and Diffusers', 2026-05-11)"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Compile(AbstractTechnique):
    """`torch.compile` of every denoiser: its repeated blocks (`compile_repeated_blocks`), or all of it.

    Helps where time goes to element-wise ops, norms and casts: fused, they read and write the hidden states once instead of a dozen
    times; most with dynamic quantisation, whose extra passes disappear. Products and attention stay as they are. Hurts: the first run
    compiles, and so does every new size. Weights that are dequantised for a product are still written out: inductor's special case
    for them is gone (pytorch pull request 147151), and what replaces it fuses them only where autotuning finds that this pays.
    Not to be confused with `attention`, which changes one kernel.

    Memory is priced as without it, the conservative side: inductor writes fewer intermediates, but plans its buffers by itself.
    diffusers-torchao measured the same peaks with and without, to 1.2 GiB, where the decode sets them.

    Sources: diffusers `ModelMixin.compile_repeated_blocks`, docs `optimization/fp16.md` and `speed-memory-optims.md`.
    """

    id: ClassVar[str] = "compile"

    regional: bool = True
    """Whether only the blocks that repeat are compiled, one after the other from the same kernels."""
    mode: str = "default"
    """Of torch.compile; all are priced as `default`."""
    fullgraph: bool = False
    """Whether a graph break is an error."""
    dynamic: bool | None = None
    """Whether kernels are made for all sizes; None lets PyTorch decide after it has seen a second one."""

    def __post_init__(self) -> None:
        check_choice(self.id, "mode", self.mode, MODES)
        for name, allowed in (
            ("regional", (True, False)),
            ("fullgraph", (True, False)),
            ("dynamic", (True, False, None)),
        ):
            value = getattr(self, name)
            if not any(value is one for one in allowed):
                words = ", ".join({True: "true", False: "false", None: "null"}[one] for one in allowed)
                raise SettingsError(f"{name} of compile must be one of {words}, got {value!r}")

    def applies_to(self, model: ModelSpec, device: Device | None) -> str | None:
        """A denoiser that has such blocks, on a card that inductor makes kernels for."""
        names = denoisers(model.component_names())
        if not names:
            return "it has no denoiser"
        for part in map(model.component, names):
            if self.regional and part.class_name in WITHOUT_BLOCKS:
                return f"its denoiser, {part.class_name}, names no repeated blocks; regional false compiles it as a whole"
            has = device.compute_capability if device is not None else None
            if device is not None and has is not None and has < (8, 0) and part.dtype == "bf16":
                return (
                    f"inductor leaves bf16 uncompiled below compute capability 8.0, {device.title} has {has[0]}.{has[1]}; "
                    f"dtype fp16 for {part.name} avoids it where the model bears it"
                )
        return None

    def rewrites(self, model: ModelSpec) -> frozenset[str]:
        """The denoisers."""
        return frozenset(denoisers(model.component_names()))

    def narrowed(self, component: str) -> Compile:
        """What the price depends on."""
        return Compile(regional=self.regional)

    def apply(self, pipe: DiffusionPipeline) -> Handle:
        """Marks every denoiser, or its blocks, to be compiled when they first run; a weightless pipeline is left as it is."""
        from workbench.techniques._compiling import compiled, why_not
        from workbench.techniques._tensors import is_weightless, modules_of

        handle, modules = Handle(), modules_of(pipe)
        options: dict[str, Any] = {"fullgraph": self.fullgraph, "dynamic": self.dynamic}
        options |= {} if self.mode == "default" else {"mode": self.mode}
        for name in denoisers(modules):
            reason = "the pipeline has no weights" if is_weightless(pipe) else why_not(modules[name])
            if reason is not None:
                handle.did(f"{name} was not compiled: {reason}")
                continue
            with handle.whole_or_not_at_all():
                marked, undo = compiled(modules[name], regional=self.regional, **options)
                handle.did(f"{name}: {marked}, when it first runs", functools.partial(undo))
        return handle

    def notes(self, model: ModelSpec, device: Device | None) -> tuple[str, ...]:
        """Warm-up is not in the time; modes are priced alike."""
        alike = (f"compile mode {self.mode} is priced as default",) if self.mode != "default" else ()
        return (WARM_UP, *alike)
