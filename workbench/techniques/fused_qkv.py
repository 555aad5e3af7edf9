"""Computes the query, key and value projections of an attention layer as one product."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final

from workbench._errors import SettingsError, UnknownNameError
from workbench.techniques._checks import check_components, denoisers
from workbench.techniques._technique import AbstractTechnique, Handle

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

    from workbench.devices import Device
    from workbench.models import ModelSpec

FUSES: Final = (
    "AutoencoderKL",
    "CogVideoXTransformer3DModel",
    "SkyReelsV2Transformer3DModel",
    "UNetMotionModel",
    "WanTransformer3DModel",
    "WanVACETransformer3DModel",
)
"""Networks whose `fuse_qkv_projections` makes fused projections and computes with them (diffusers 0.42)."""

NOT_FUSED: Final[Mapping[str, str]] = {
    "AutoencoderKLTemporalDecoder": "its fuse_qkv_projections finds no attention that it could fuse",
    "HunyuanVideo15Transformer3DModel": "its fuse_qkv_projections finds no attention that it could fuse",
    "HunyuanVideoTransformer3DModel": "its fuse_qkv_projections finds no attention that it could fuse",
    "Kandinsky5Transformer3DModel": "its fuse_qkv_projections fails, its projections have other names than it expects",
    "LTX2VideoTransformer3DModel": "its fuse_qkv_projections fails on attention between video and sound, of different widths",
    "LTXVideoTransformer3DModel": "it would keep fused copies of its projections and go on computing with the separate ones",
    "SanaVideoTransformer3DModel": "its fuse_qkv_projections finds no attention that it could fuse",
    "UNetSpatioTemporalConditionModel": "its fuse_qkv_projections finds no attention that it could fuse",
}
"""Networks that have the method, to no use (diffusers 0.42; each was tried)."""

FUSED_LAYERS: Final = ("to_qkv", "to_kv", "to_added_qkv", "to_added_kv")
"""Names of the layers that fusing adds to an attention layer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FusedQkv(AbstractTechnique):
    """`fuse_qkv_projections()`: queries, keys and values come from one product (keys and values in cross-attention).

    Helps: one large product instead of three, a little faster on large cards. Hurts: diffusers keeps the separate projections beside the
    fused ones, 2.2 GiB more for CogVideoX-5b, and their outputs are one tensor that lives until its last part is done with.
    Fused before quantisation, so that both copies are quantised, as diffusers-torchao does it; quantised weights cannot be joined.

    Sources: diffusers `models/attention.py` and `models/attention_processor.py`; diffusers-torchao, inference/benchmark_video.py.
    """

    id: ClassVar[str] = "fused_qkv"

    components: tuple[str, ...] = ()
    """Networks to fuse; empty for every denoiser."""

    def __post_init__(self) -> None:
        names: object = self.components
        if not isinstance(names, tuple) or not all(isinstance(name, str) for name in names):
            raise SettingsError(f"components of fused_qkv must be a list of names, got {names!r}")
        object.__setattr__(self, "components", tuple(dict.fromkeys(names)))

    def _names(self, model: ModelSpec) -> tuple[str, ...]:
        return self.components or denoisers(model.component_names())

    def applies_to(self, model: ModelSpec, device: Device | None) -> str | None:
        """Networks whose class fuses them and uses what it fused."""
        check_components(model, self.components)
        names = self._names(model)
        for name in names:
            kind = model.component(name).class_name
            if kind not in FUSES:
                return f"{name}, {kind}, cannot be fused: {_why_not(kind)}"
        return None if names else "it has no denoiser"

    def rewrites(self, model: ModelSpec) -> frozenset[str]:
        """The networks that are fused."""
        return frozenset(self._names(model))

    def narrowed(self, component: str) -> FusedQkv:
        """One component."""
        return FusedQkv(components=(component,))

    def apply(self, pipe: DiffusionPipeline) -> Handle:
        """Fuses the projections; the handle takes the fused copies out again."""
        from workbench.techniques._fusing import fuse
        from workbench.techniques._tensors import modules_of

        handle, modules = Handle(), modules_of(pipe)
        with handle.whole_or_not_at_all():
            for name in self.components or denoisers(modules):
                if name not in modules:
                    raise UnknownNameError.of(f"component of {type(pipe).__name__}", name, modules)
                module: Any = modules[name]
                kind = type(module).__name__
                if kind not in FUSES:
                    raise SettingsError(f"fused_qkv of {name}, {kind}: {_why_not(kind)}")
                handle.did(f"{name}: {fuse(module, handle)}")
        return handle


def _why_not(kind: str) -> str:
    return NOT_FUSED.get(kind, "its class has no fuse_qkv_projections that is known to work")
