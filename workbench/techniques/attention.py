"""The kernel that computes attention in the denoiser."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from workbench.techniques._checks import check_choice, denoisers
from workbench.techniques._technique import EXACT, UNKNOWN, AbstractTechnique, Effect, Handle

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

    from workbench.devices import Device
    from workbench.models import ModelSpec


@dataclass(frozen=True, kw_only=True, slots=True)
class _Backend:
    name: str
    """diffusers' name."""
    kernel: str
    """What it is traced as: the kernel with the same inputs, outputs and scratch memory."""
    minimum: tuple[int, int] | None = None
    """Least CUDA compute capability; None is any."""
    on_cpu: bool = False
    """Whether the CPU has it too."""
    half_only: bool = False
    """Whether it refuses fp32."""


BACKENDS: Mapping[str, _Backend] = {
    "native": _Backend(name="native", kernel="", on_cpu=True),
    # aten/src/ATen/native/transformers/cuda/sdp_utils.cpp: check_sm_version<sm80, ...> for flash and cuDNN
    "flash": _Backend(name="_native_flash", kernel="flash", minimum=(8, 0), on_cpu=True, half_only=True),
    "cudnn": _Backend(name="_native_cudnn", kernel="flash", minimum=(8, 0), half_only=True),
    "efficient": _Backend(name="_native_efficient", kernel="efficient"),
    "math": _Backend(name="_native_math", kernel="math", on_cpu=True),
    # README of SageAttention: Ampere and later
    "sage": _Backend(name="sage", kernel="flash", minimum=(8, 0), half_only=True),
    "xformers": _Backend(name="xformers", kernel="efficient", minimum=(7, 0), half_only=True),
}

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
    """One of `BACKENDS`."""

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
        if device is None:
            return None
        if device.compute_capability is None:
            return None if backend.on_cpu else f"the backend {self.backend} needs a CUDA device"
        if backend.minimum is not None and device.compute_capability < backend.minimum:
            least, has = (".".join(map(str, pair)) for pair in (backend.minimum, device.compute_capability))
            return f"the backend {self.backend} needs compute capability {least}, {device.title} has {has}"
        full = [name for name in names if model.component(name).dtype == "fp32"]
        if backend.half_only and full:
            return f"the backend {self.backend} needs half precision, and {full[0]} is fp32"
        return None

    def attention_kernel(self, device: Device, native: str) -> str:
        """The kernel whose memory and FLOPs this backend has."""
        kernel = BACKENDS[self.backend].kernel
        if not kernel or native == "cpu":
            return native
        return native if (kernel, native) == ("efficient", "efficient_sm7x") else kernel

    def apply(self, pipe: DiffusionPipeline) -> Handle:
        """Sets the backend where it can run; a weightless pipeline takes PyTorch's own ones, which the tracer follows."""
        import torch

        from workbench.techniques._tensors import is_weightless, modules_of

        backend, handle = BACKENDS[self.backend], Handle()
        modules = modules_of(pipe)
        for name in denoisers(modules):
            why_not = None
            if not callable(getattr(modules[name], "set_attention_backend", None)):
                why_not = f"{type(modules[name]).__name__} has no choice of backends"
            elif is_weightless(pipe):
                native = backend.name.removeprefix("_").startswith("native")
                why_not = None if native else f"without weights it is traced as the {backend.kernel} kernel"
            elif not torch.cuda.is_available() and not backend.on_cpu:
                why_not = "this machine has no CUDA device"
            why_not = why_not or _set(modules[name], backend.name, handle, f"{name} attends with {self.backend}")
            if why_not is not None:
                handle.did(f"attention {self.backend} was not set for {name}: {why_not}")
        return handle

    def effect(self) -> Effect:
        """Exact to rounding, but for kernels that quantise."""
        return UNKNOWN if self.backend == "sage" else EXACT


def _set(module: Any, name: str, handle: Handle, sentence: str) -> str | None:
    """Sets a backend and notes how to undo it; or says why the library refuses it."""
    from diffusers.models.attention_dispatch import _AttentionBackendRegistry as Registry

    from workbench.models._quiet import without_lines

    active = Registry._active_backend
    processors = [p for m in module.modules() if (p := vars(m).get("processor")) is not None]
    before = [(p, p._attention_backend) for p in processors if hasattr(p, "_attention_backend")]

    def undo() -> None:
        for processor, value in before:
            processor._attention_backend = value

    try:
        with without_lines(_EXPERIMENTAL):
            module.set_attention_backend(name)
    except RuntimeError as error:  # a package that is missing or too old
        return str(error)
    finally:
        Registry.set_active_backend(active)
    handle.did(sentence, undo)
    return None
