"""What people do today, as settings: diffusers' own recipes, the five presets of mmgp (Wan2GP), and four levels of memory saving.

Each is expressed in techniques of the workbench; where a library's own way of moving weights has no equal in diffusers, the nearest one
is taken and the recipe says so. A preset that asks for more than the model or card can do (a kind of quantisation, tiling of an
autoencoder that has none) is left out of the rows, with the reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from workbench.models import ModelSpec

DOCS = "diffusers docs/source/en at 58eb52c080"
MMGP = "mmgp 3.7.10, src/mmgp/offload.py, profile()"


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One way of fitting a model that others publish."""

    group: str
    """`diffusers`, `mmgp` or `levels`."""
    name: str
    source: str
    settings: Mapping[str, Any]


def recipes(spec: ModelSpec) -> tuple[Recipe, ...]:
    """All of them for one model."""
    return (*_diffusers(spec), *_mmgp(spec), *_levels(spec))


def _diffusers(spec: ModelSpec) -> tuple[Recipe, ...]:
    leaf_stream = {"mode": "group", "offload_type": "leaf_level", "stream": True}
    denoisers, text = spec.denoisers, spec.text_encoders
    found = {
        "everything on the GPU": ("optimization/memory.md", {"offload": {"mode": "none"}}),
        "model offload": ("optimization/memory.md", {"offload": {"mode": "model"}}),
        "model offload, tiled decode": (
            "using-diffusers/text-img2vid.md",
            {"offload": {"mode": "model"}, "vae_tiling": {}},
        ),
        "sequential offload": ("optimization/memory.md", {"offload": {"mode": "sequential"}}),
        "layers on a stream": (
            "using-diffusers/text-img2vid.md (its text encoder moves by 4 blocks)",
            {"offload": leaf_stream},
        ),
        "nf4 denoiser, model offload, tiled decode": (
            "using-diffusers/text-img2vid.md",
            {
                "quantization": dict.fromkeys(denoisers, "nf4"),
                "offload": {"mode": "model"},
                "vae_tiling": {},
            },
        ),
        "fp8 storage, layers on a stream": (
            "using-diffusers/text-img2vid.md (its text encoder moves by 2 blocks, its autoencoder by layers)",
            {"quantization": dict.fromkeys(denoisers, "fp8_storage"), "offload": leaf_stream},
        ),
        "nf4 denoiser and text encoder, layers on a stream": (
            "optimization/speed-memory-optims.md, without compilation",
            {"quantization": dict.fromkeys((*denoisers, *text), "nf4"), "offload": leaf_stream},
        ),
    }
    return tuple(
        Recipe(group="diffusers", name=name, source=f"{DOCS}/{page}", settings=settings)
        for name, (page, settings) in found.items()
    )


def _mmgp(spec: ModelSpec) -> tuple[Recipe, ...]:
    """The transformer in int8; without budgets a model is on the GPU whole while it runs, with them slices of it come ahead of their use
    from pinned memory: diffusers' nearest is one block on a stream. Presets 3 to 5 quantise the text encoder too; 5 pins nothing for good.
    Wan2GP tiles the decode on cards of less than 24 GB (`get_VAE_tile_size`), and so do these."""
    whole, slices = {"mode": "model"}, {"mode": "group", "stream": True}
    late = {**slices, "low_cpu_mem_usage": True}
    denoiser = dict.fromkeys(spec.denoisers, "int8wo")
    both = {**denoiser, **dict.fromkeys(spec.text_encoders, "int8wo")}
    found = {
        "1 HighRAM_HighVRAM": (whole, denoiser, {}),
        "2 HighRAM_LowVRAM": (slices, denoiser, {"vae_tiling": {}}),
        "3 LowRAM_HighVRAM": (whole, both, {}),
        "4 LowRAM_LowVRAM": (slices, both, {"vae_tiling": {}}),
        "5 VerylowRAM_LowVRAM": (late, both, {"vae_tiling": {}}),
    }
    return tuple(
        Recipe(
            group="mmgp",
            name=name,
            source=MMGP,
            settings={"offload": offload, "quantization": kinds, **more},
        )
        for name, (offload, kinds, more) in found.items()
    )


def _levels(spec: ModelSpec) -> tuple[Recipe, ...]:
    """Four memory levels as a serving manual has them, each cell of speed and memory there "to be tested"."""
    text = {"mode": "group", "blocks_per_group": 4, "components": list(spec.text_encoders)}
    found = {
        "0 all on the GPU": {"offload": {"mode": "none"}},
        "1 decode tiled": {"offload": {"mode": "none"}, "vae_tiling": {}},
        "2 and the text encoder on the CPU": {"offload": text, "vae_tiling": {}},
        "3 and the denoiser layer by layer": {
            "offload": {"mode": "group", "offload_type": "leaf_level"},
            "vae_tiling": {},
        },
    }
    return tuple(
        Recipe(group="levels", name=name, source="memory levels 0-3 of a serving manual", settings=settings)
        for name, settings in found.items()
    )
