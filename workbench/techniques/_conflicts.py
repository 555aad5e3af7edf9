"""Pairs of techniques that do not go together, each as a function from the techniques in use to a sentence or None."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from workbench.techniques._kinds import KINDS
from workbench.techniques._technique import AbstractTechnique
from workbench.techniques.cache import Cache
from workbench.techniques.cfg import Cfg
from workbench.techniques.dtype import Dtype
from workbench.techniques.lora import Lora
from workbench.techniques.offload import Offload
from workbench.techniques.quantization import Quantization

Conflict = Callable[[Mapping[str, AbstractTechnique]], str | None]


def _dtype_of_quantised(used: Mapping[str, AbstractTechnique]) -> str | None:
    """Kernels that take bf16 weights only, and a dtype that says otherwise."""
    dtype, quantization = used.get("dtype"), used.get("quantization")
    if not isinstance(dtype, Dtype) or not isinstance(quantization, Quantization):
        return None
    for name, choice in quantization.chosen.items():
        kind, wanted = choice.kind, dtype.components.get(name)
        if KINDS[kind].only_bf16 and wanted not in (None, "bf16"):
            return f"quantization {kind} of {name} takes bf16 weights only, and dtype sets {name} to {wanted}"
    return None


def _streamed_vae_in_tiles(used: Mapping[str, AbstractTechnique]) -> str | None:
    """diffusers warns of it (`ModelMixin.enable_group_offload`): prefetching learns the order of layers from a first, untiled forward."""
    offload = used.get("offload")
    if (
        isinstance(offload, Offload)
        and offload.stream
        and "vae" in (offload.components or ())
        and "vae_tiling" in used
    ):
        return "offload with stream of the vae does not go with vae_tiling: leave vae out of the components of offload"
    return None


def _quantised_in_files(used: Mapping[str, AbstractTechnique]) -> str | None:
    """Files of groups hold plain tensors (safetensors): diffusers refuses torchao's, and what bitsandbytes keeps beside a weight would
    not be in them. `fp8_storage` is plain."""
    offload, quantization = used.get("offload"), used.get("quantization")
    if not isinstance(offload, Offload) or offload.disk is None or not isinstance(quantization, Quantization):
        return None
    for name, choice in quantization.chosen.items():
        if choice.kind != "fp8_storage" and name in offload.grouped((name,)):
            return f"offload with disk does not go with quantization {choice.kind} of {name}: its weights are no plain tensors"
    return None


def _cached_windows(used: Mapping[str, AbstractTechnique]) -> str | None:
    """The hooks of a cache count calls of the blocks, and would take a window for a step."""
    if "cache" in used and "temporal_chunks" in used:
        return (
            "cache does not go with temporal_chunks: it would take each window of frames for a denoising step"
        )
    return None


def _cached_guidance(used: Mapping[str, AbstractTechnique]) -> str | None:
    """What a cache keeps belongs to a branch of guidance, or to a batch of both."""
    cache, cfg = used.get("cache"), used.get("cfg")
    if not isinstance(cache, Cache) or not isinstance(cfg, Cfg):
        return None
    if cfg.mode == "batched":
        return "cache does not go with cfg batched: the first step, in two calls, leaves it with one branch of guidance"
    if cache.kind == "fastercache":
        return "cache fastercache does not go with cfg sequential: it needs both branches of guidance in one call"
    return None


def _adapters_on_fused(used: Mapping[str, AbstractTechnique]) -> str | None:
    """Adapters sit on the separate projections, which a fused layer no longer calls."""
    lora = used.get("lora")
    if isinstance(lora, Lora) and not lora.fused and "fused_qkv" in used:
        return "lora does not go with fused_qkv: the fused projections would leave the adapters of the separate ones out"
    return None


CONFLICTS: Final[tuple[Conflict, ...]] = (
    _dtype_of_quantised,
    _streamed_vae_in_tiles,
    _quantised_in_files,
    _cached_windows,
    _cached_guidance,
    _adapters_on_fused,
)
