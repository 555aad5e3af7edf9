"""Pairs of techniques that do not go together, each as a function from the techniques in use to a sentence or None."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from workbench.techniques._kinds import KINDS
from workbench.techniques._technique import AbstractTechnique
from workbench.techniques.dtype import Dtype
from workbench.techniques.offload import Offload
from workbench.techniques.quantization import Quantization

Conflict = Callable[[Mapping[str, AbstractTechnique]], str | None]


def _dtype_of_quantised(used: Mapping[str, AbstractTechnique]) -> str | None:
    """Kernels that take bf16 weights only, and a dtype that says otherwise."""
    dtype, quantization = used.get("dtype"), used.get("quantization")
    if not isinstance(dtype, Dtype) or not isinstance(quantization, Quantization):
        return None
    for name, kind in quantization.components.items():
        wanted = dtype.components.get(name)
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


CONFLICTS: Final[tuple[Conflict, ...]] = (_dtype_of_quantised, _streamed_vae_in_tiles)
