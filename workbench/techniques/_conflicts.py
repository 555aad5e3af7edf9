"""Pairs of techniques that do not go together, each as a function from the techniques in use to a sentence or None."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from workbench.techniques._kinds import KINDS
from workbench.techniques._technique import AbstractTechnique
from workbench.techniques.cache import Cache
from workbench.techniques.cfg import Cfg
from workbench.techniques.compile import Compile
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


_IN_PYTHON = {
    "cache": "the hooks of a cache decide in Python, inside what would be compiled",
    "temporal_chunks": "its loop over windows stands inside the denoiser's call; regional true leaves it outside",
    "cfg": "its split of the batch stands inside the denoiser's call; regional true leaves it outside",
}


def _compiled_hooks(used: Mapping[str, AbstractTechnique]) -> str | None:
    """Python of others inside what is compiled, which breaks the graph or makes it anew at every step."""
    compiled = used.get("compile")
    if not isinstance(compiled, Compile):
        return None
    for name in ("cache",) if compiled.regional else _IN_PYTHON:
        if name in used:
            return f"compile does not go with {name}: {_IN_PYTHON[name]}"
    quantization = used.get("quantization")
    kinds = quantization.chosen.values() if isinstance(quantization, Quantization) else ()
    if any(choice.kind == "fp8_storage" for choice in kinds):
        return "compile does not go with quantization fp8_storage: its hooks cast the weights of every layer around its call"
    return None


def _compiled_offload(used: Mapping[str, AbstractTechnique]) -> str | None:
    """diffusers keeps its own hooks out of graphs (`@torch.compiler.disable`, hooks/group_offloading.py), so each is a break."""
    compiled, offload = used.get("compile"), used.get("offload")
    if not isinstance(compiled, Compile) or not isinstance(offload, Offload):
        return None
    if offload.mode == "sequential" or offload.offload_type == "leaf_level":
        return "compile does not go with offload layer by layer: a hook on every layer leaves nothing to fuse; offload in blocks"
    if compiled.fullgraph and (
        offload.mode == "group" or (offload.mode == "model" and not compiled.regional)
    ):
        return f"compile with fullgraph does not go with offload {offload.mode}: its hooks break the graph"
    return None


CONFLICTS: Final[tuple[Conflict, ...]] = (
    _dtype_of_quantised,
    _streamed_vae_in_tiles,
    _quantised_in_files,
    _cached_windows,
    _cached_guidance,
    _adapters_on_fused,
    _compiled_hooks,
    _compiled_offload,
)
