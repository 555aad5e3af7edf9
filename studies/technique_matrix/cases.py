"""What is tried on every model: each technique with its main parameter values, as settings that a clip of a few frames can show."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from workbench.models import ModelSpec, Workload
from workbench.techniques._backends import BACKENDS
from workbench.techniques._kinds import KINDS
from workbench.techniques._vae_tiles import UNREAD_FRAME_TILES
from workbench.twin.effect import STEPS


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """Settings with one technique, under the same label for every model."""

    label: str
    settings: dict[str, Any]
    workload: dict[str, Any] = field(default_factory=dict)
    """Fields of the clip that differ for it."""


def cases(spec: ModelSpec, clip: Workload) -> tuple[Case, ...]:
    """All cases for one model.

    Args:
        clip: what the model's twin makes.
    """
    return (
        *_dtypes(spec),
        _case("fused_qkv", "fused_qkv", {}),
        *_quantisations(spec),
        *(
            _case(f"attention {name}", "attention", {"backend": name})
            for name in BACKENDS
            if name != "native"
        ),
        *_decoding(spec, clip),
        _case("steps", "steps", {"count": STEPS - 3}),
        *_caches(),
        *(_case(f"cfg {mode}", "cfg", {"mode": mode}) for mode in ("batched", "sequential")),
        *_windows(spec, clip),
        *_offloads(),
    )


def _case(label: str, technique: str, parameters: dict[str, Any], **workload: Any) -> Case:
    return Case(label=label, settings={technique: parameters}, workload=workload)


def _dtypes(spec: ModelSpec) -> list[Case]:
    """Half precision where the model is documented in fp32, fp32 where it is in half precision, one kind of network at a time."""
    networks = {"denoiser": spec.denoisers, "text encoder": spec.text_encoders[:1], "VAE": _vae(spec)}
    return [
        _case(
            f"dtype of the {what}",
            "dtype",
            {name: "bf16" if spec.component(name).dtype == "fp32" else "fp32" for name in names},
        )
        for what, names in networks.items()
        if names
    ]


def _quantisations(spec: ModelSpec) -> list[Case]:
    found = [
        _case(f"quantization {kind}", "quantization", dict.fromkeys(spec.denoisers, kind))
        for kind, row in KINDS.items()
        if not row.planned_only
    ]
    if spec.text_encoders:
        text = dict.fromkeys(spec.text_encoders, "int8wo")
        found.append(_case("quantization int8wo of text encoders", "quantization", text))
    if _vae(spec):
        found.append(_case("quantization fp8_storage of the VAE", "quantization", {"vae": "fp8_storage"}))
    return found


def _vae(spec: ModelSpec) -> tuple[str, ...]:
    return ("vae",) if "vae" in spec.component_names() else ()


def _decoding(spec: ModelSpec, clip: Workload) -> list[Case]:
    """Tiles of the class's own size, small ones, tiles of frames, one video at a time, a few frames at a time."""
    # two latents at the least, at the edges too; where that is more than the whole twin, the model itself is traced
    is_coarse = spec.size_multiple > 16
    tile = 4 * spec.size_multiple if is_coarse else max(32, 2 * spec.size_multiple)
    small = {"tile_height": tile, "tile_width": tile, "stride_height": tile // 2, "stride_width": tile // 2}
    if tile >= max(clip.height, clip.width) and not is_coarse:
        small = {name: value // 2 for name, value in small.items()}
    # a pipeline that makes whole sections has no factor of its own
    factor = spec.temporal_factor if spec.temporal_factor > 1 else 4
    frames = {"tile_frames": 2 * factor, "stride_frames": factor}
    # with a size that is set and never read, what is seen to act is the tiling that comes with it
    is_read = not any(part.class_name in UNREAD_FRAME_TILES for part in spec.components)
    return [
        _case("vae_tiling, own sizes", "vae_tiling", {}),
        _case("vae_tiling, small tiles", "vae_tiling", small),
        *([_case("vae_tiling, tiles of frames", "vae_tiling", frames)] if is_read else []),
        _case("vae_slicing of a batch", "vae_slicing", {}, batch=min(2, spec.max_batch or 2)),
        _case("vae_attention_slicing", "vae_attention_slicing", {"frames": 1}),
        _case("decode_chunks", "decode_chunks", {"frames": 2}),
    ]


def _caches() -> list[Case]:
    """Every kind, so that it skips on random weights: any change is small enough, any residual like the one before."""
    parameters: dict[str, dict[str, Any]] = {
        "first_block": {"threshold": 1e6},
        "magcache": {"mag_ratios": [1.0] * STEPS},
        "taylorseer": {"interval": 2, "warmup_steps": 2},
        "taylorseer, features": {"interval": 2, "warmup_steps": 2, "lite": False},
        "pab": {},
        "pab with cross-attention": {"cross_interval": 3},
        "pab over time": {"temporal_interval": 2},
        "fastercache": {},
        "fastercache, guidance guessed": {"unconditional_interval": 2},
    }
    return [
        _case(f"cache {label}", "cache", {"kind": label.partition(",")[0].split()[0], **given})
        for label, given in parameters.items()
    ]


def _windows(spec: ModelSpec, clip: Workload) -> list[Case]:
    """A window that is one latent frame shorter than the clip, alone and with an overlap."""
    frames = clip.frames - spec.temporal_factor
    overlap = spec.temporal_factor
    return [
        _case("temporal_chunks", "temporal_chunks", {"frames": frames}),
        _case("temporal_chunks with overlap", "temporal_chunks", {"frames": frames, "overlap": overlap}),
    ]


def _offloads() -> list[Case]:
    return [
        _case("offload model", "offload", {"mode": "model"}),
        _case("offload sequential", "offload", {"mode": "sequential"}),
        _case("offload group, 1 block", "offload", {"mode": "group"}),
        _case("offload group, 2 blocks", "offload", {"mode": "group", "blocks_per_group": 2}),
        _case("offload group, stream", "offload", {"mode": "group", "stream": True}),
    ]
