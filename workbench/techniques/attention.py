"""The kernel that computes attention in the denoiser."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from workbench.techniques._backends import BACKENDS, MASKED, WITHOUT_CHOICE
from workbench.techniques._checks import check_choice, denoisers
from workbench.techniques._technique import EXACT, UNKNOWN, AbstractTechnique, Effect, Handle

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

    from workbench.devices import Device
    from workbench.models import ModelSpec


_CHOICE = "_attention_backend"
"""Attribute of an attention processor in which diffusers keeps its backend."""
_REQUIREMENTS = "diffusers.models.attention_dispatch._check_attention_backend_requirements"
_ABSENT = object()
_EXPERIMENTAL = ("diffusers.models.modeling_utils", "Attention backends are an experimental feature")


@dataclass(frozen=True, kw_only=True, slots=True)
class Attention(AbstractTechnique):
    """`set_attention_backend` of every denoiser.

    `native` lets PyTorch choose and is right nearly always: it takes FlashAttention where the card has it. `flash`, `cudnn` and
    `efficient` insist on one fused kernel (an error instead of a silent fallback), `math` materialises the score matrix (a reference;
    at video lengths it does not fit), `sage` quantises queries and keys to int8 (faster, not exact, package `sageattention`).
    Text encoders and VAEs are left alone. diffusers sets a process-wide default beside the denoiser's own choice, which would leak into
    every other pipeline of a notebook; that default is put back at once.

    Sources: diffusers `models/attention_dispatch.py`; SageAttention, Zhang et al. 2024 (arXiv 2410.02367).
    """

    id: ClassVar[str] = "attention"

    backend: str = "native"
    """`native`, `flash`, `cudnn`, `efficient`, `math`, `sage` or `xformers`."""

    def __post_init__(self) -> None:
        check_choice(self.id, "backend", self.backend, BACKENDS)

    def to_json(self) -> dict[str, Any]:
        """Always with its backend, so that `native` is readable."""
        return {"backend": self.backend}

    def applies_to(self, model: ModelSpec, device: Device | None) -> str | None:
        """A card of the kernel's generation and a denoiser in a dtype that it takes."""
        backend = BACKENDS[self.backend]
        names = denoisers(model.component_names())
        if not names:
            return "it has no denoiser"
        for kind in (model.component(name).class_name for name in names):
            if kind in WITHOUT_CHOICE and self.backend != "native":
                return f"its denoiser, {kind}, calls PyTorch's attention itself and has no choice of backends"
            if kind in MASKED and not backend.takes_masks:
                return f"its denoiser, {kind}, masks the prompt's padding, and the backend {self.backend} takes no masks"
        if device is None:
            return None
        has = device.compute_capability
        if has is None:
            return None if backend.on_cpu else f"the backend {self.backend} needs a CUDA device"
        for name in names:
            dtype = model.component(name).dtype
            if backend.half_only and dtype == "fp32":
                return f"the backend {self.backend} needs half precision, and {name} is fp32"
            least = max(backend.minimum, backend.minimum_bf16 if dtype == "bf16" else (0, 0))
            if has < least:
                return (
                    f"the backend {self.backend} in {dtype} needs compute capability {least[0]}.{least[1]}, "
                    f"{device.title} has {has[0]}.{has[1]}"
                )
        return None

    def rewrites(self, model: ModelSpec) -> frozenset[str]:
        """The denoisers."""
        return frozenset(denoisers(model.component_names()))

    def apply(self, pipe: DiffusionPipeline) -> Handle:
        """Sets the backend where it can run; a weightless pipeline takes PyTorch's own ones, which the tracer follows."""
        import torch

        from workbench.techniques._tensors import is_weightless, modules_of

        backend, handle = BACKENDS[self.backend], Handle()
        modules, weightless = modules_of(pipe), is_weightless(pipe)
        for name in denoisers(modules):
            if not callable(getattr(modules[name], "set_attention_backend", None)):
                why_not: str | None = f"{type(modules[name]).__name__} has no choice of backends"
            elif not weightless and not torch.cuda.is_available() and not backend.on_cpu:
                why_not = "this machine has no CUDA device"
            else:
                chosen = backend.traced_as if weightless else backend.name
                why_not = _set(modules[name], chosen, handle, f"{name} attends with {chosen}", weightless)
            if why_not is not None:
                handle.did(f"attention {self.backend} was not set for {name}: {why_not}")
        return handle

    def notes(self, model: ModelSpec, device: Device | None) -> tuple[str, ...]:
        """A backend of another package is priced as one of PyTorch's."""
        backend = BACKENDS[self.backend]
        if backend.traced_as == backend.name:
            return ()
        return (
            f"attention {self.backend} is priced as {backend.traced_as}; scratch memory of its own is not included",
        )

    def effect(self) -> Effect:
        """Exact to rounding, but for kernels that quantise."""
        return UNKNOWN if self.backend == "sage" else EXACT


def _set(module: Any, name: str, handle: Handle, sentence: str, weightless: bool) -> str | None:
    """Sets a backend and notes how to undo it; or says why the library refuses it. A weightless pipeline needs no package."""
    from contextlib import nullcontext
    from unittest import mock

    from diffusers.models.attention_dispatch import _AttentionBackendRegistry as Registry

    from workbench.models._quiet import without_lines

    active = Registry._active_backend
    processors = [p for m in module.modules() if (p := vars(m).get("processor")) is not None]
    before = [(p, vars(p).get(_CHOICE, _ABSENT)) for p in processors]

    def undo() -> None:
        for processor, value in before:
            if value is not _ABSENT:
                setattr(processor, _CHOICE, value)
            elif _CHOICE in vars(processor):  # the class has a default of its own
                delattr(processor, _CHOICE)

    unasked = mock.patch(_REQUIREMENTS, lambda backend: None) if weightless else nullcontext()
    try:
        with without_lines(_EXPERIMENTAL), unasked:
            module.set_attention_backend(name)
    except RuntimeError as error:  # a package that is missing or too old
        return str(error)
    finally:
        Registry.set_active_backend(active)
    handle.did(sentence, undo)
    return None
