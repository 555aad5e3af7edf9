"""What is measured, in order of worth: a run that is cut short has the best cases. Plain values; `predict.py` fills them in.

Models are catalogue names. Sizes are real ones, with few frames or steps where more of them would only take longer.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

OFFLOADS: dict[str, dict[str, Any]] = {
    "none": {"mode": "none"},
    "model": {"mode": "model"},
    "sequential": {"mode": "sequential"},
    "group": {"mode": "group", "blocks_per_group": 4},
    "stream": {"mode": "group", "stream": True},
    "layers": {"mode": "group", "offload_type": "leaf_level", "stream": True},
    "swap": {"mode": "group", "resident_blocks": 10, "stream": True},
}


@dataclass(frozen=True, kw_only=True)
class Case:
    """One thing to measure."""

    id: str
    model: str
    workload: dict[str, Any]
    """Fields of the workload that differ from the model's native one."""
    component: str | None = None
    """The component whose call is made alone, with the arguments that the pipeline gives it; None runs the whole pipeline."""
    method: str = ""
    """`decode`, or empty for the component itself."""
    settings: dict[str, Any] = field(default_factory=dict)
    plan_gib: float | None = None
    """Run the settings that `wb.plan` chooses for a card of this size, under that cap."""
    cap_gib: float | None = None
    """What PyTorch may have of the card, context included; None leaves it all."""
    snapshot: bool = False
    allocator: str = ""
    """Value of PYTORCH_CUDA_ALLOC_CONF; empty is the default."""
    limit_s: float = 60.0
    fault: str | None = None
    """`die` or `hang`: shows that a run survives it."""


_WAN = "wan2.1-t2v-1.3b"
_CLIP = {"frames": 33, "height": 480, "width": 832, "steps": 2}
_WAN_14B = "wan2.1-t2v-14b"


def _denoiser(
    name: str, model: str, workload: dict[str, Any], component: str = "transformer", **more: Any
) -> Case:
    return Case(id=name, model=model, workload={"steps": 2, **workload}, component=component, **more)


def _decode(name: str, model: str, workload: dict[str, Any], settings: dict[str, Any], **more: Any) -> Case:
    work = {"steps": 2, **workload}
    return Case(
        id=name, model=model, workload=work, component="vae", method="decode", settings=settings, **more
    )


def _run(name: str, mode: str, cap: float | None, *, model: str = _WAN, **more: Any) -> Case:
    settings = {**more.pop("settings", {}), "offload": OFFLOADS[mode]}
    workload = more.pop("workload", _CLIP)
    return Case(id=name, model=model, workload=workload, settings=settings, cap_gib=cap, **more)


def _plan(cap: float, model: str, workload: dict[str, Any], **more: Any) -> Case:
    name = f"{model}-plan-{cap:g}g"
    return Case(id=name, model=model, workload=workload, plan_gib=cap, cap_gib=cap, **more)


def real() -> tuple[Case, ...]:
    """The cases for a GPU."""
    native, tiled = {"frames": 81, "steps": 2}, {"vae_tiling": {}}
    hd = {"frames": 17, "height": 720, "width": 1280}
    return (
        _denoiser("wan-1.3b-dit", _WAN, _CLIP, snapshot=True),
        _decode("wan-vae", _WAN, _CLIP, {}),
        _decode("wan-vae-tiled", _WAN, _CLIP, tiled, snapshot=True),
        _run("wan-1.3b-model-16g", "model", 16, snapshot=True, settings={"vae_tiling": {}}),
        _denoiser("umt5-xxl", _WAN, _CLIP, "text_encoder"),
        _run("wan-1.3b-none-24g", "none", 24, settings=tiled),
        _run("wan-1.3b-stream-8g", "stream", 8, settings=tiled),
        _run("wan-1.3b-group-8g", "group", 8, settings=tiled),
        _run("wan-1.3b-sequential-8g", "sequential", 8, settings=tiled),
        _run("wan-1.3b-layers-8g", "layers", 8, settings=tiled),
        _run("wan-1.3b-swap-8g", "swap", 8, settings=tiled),
        *(_plan(cap, _WAN, native, limit_s=90) for cap in (8, 12, 16, 24)),
        _run(
            "wan-1.3b-fbcache-12g",
            "model",
            12,
            settings={**tiled, "cache": {"kind": "first_block"}},
            workload={**_CLIP, "steps": 4},
        ),
        _run(
            "wan-1.3b-fp8-storage-16g", "model", 16, settings={"quantization": {"transformer": "fp8_storage"}}
        ),
        _run("wan-1.3b-int8wo-16g", "model", 16, settings={"quantization": {"transformer": "int8wo"}}),
        _run("wan-1.3b-oom-8g", "model", 8),
        _run("wan-1.3b-oom-decode-8g", "stream", 8),
        _decode("wan-vae-bf16", _WAN, _CLIP, {"dtype": {"vae": "bf16"}}),
        _denoiser("wan-14b-dit-480p", _WAN_14B, {**_CLIP, "frames": 81}),
        _decode("wan-vae-720p", _WAN_14B, hd, {}),
        _decode("wan-vae-720p-tiled", _WAN_14B, hd, tiled),
        _decode("hunyuanvideo-vae-tiled", "hunyuanvideo", {"frames": 33, "height": 480, "width": 832}, tiled),
        _decode("svd-vae", "stable-video-diffusion-img2vid-xt", {}, {}),
        _decode("animatediff-vae", "animatediff-motion-adapter-v1-5-3", {}, {}),
        _run(
            "cogvideox-2b-model-16g",
            "model",
            16,
            model="cogvideox-2b",
            workload={"steps": 2},
            settings=tiled,
            limit_s=90,
        ),
        _run("ltx-video-stream-8g", "stream", 8, model="ltx-video", workload={"steps": 2}, limit_s=90),
        _denoiser("wan-1.3b-dit-expandable", _WAN, _CLIP, allocator="expandable_segments:True"),
        _decode("wan-vae-expandable", _WAN, _CLIP, {}, allocator="expandable_segments:True"),
        _denoiser("cogvideox-2b-dit", "cogvideox-2b", {}),
        _denoiser("wan-14b-dit-720p", _WAN_14B, {"frames": 81, "height": 720, "width": 1280}, limit_s=90),
        _run("wan-1.3b-nf4-16g", "model", 16, settings={"quantization": {"transformer": "nf4"}}),
        _plan(16, _WAN_14B, {"frames": 33, "height": 480, "width": 832, "steps": 2}, limit_s=120),
        _plan(12, _WAN_14B, {"frames": 33, "height": 480, "width": 832, "steps": 2}, limit_s=120),
    )


def tiny(*, faults: bool = False) -> tuple[Case, ...]:
    """The same kinds of cases at toy size, for a machine without a GPU.

    Args:
        faults: also one that dies and one that hangs.
    """
    clip = {"frames": 9, "steps": 2}
    large = {"frames": 5, "steps": 2, "height": 320, "width": 64}
    found = (
        _denoiser("tiny-dit", "tiny", clip),
        _decode("tiny-vae", "tiny", large, {}),
        _decode("tiny-vae-tiled", "tiny", large, {"vae_tiling": {}}),
        _denoiser("tiny-umt5", "tiny", clip, "text_encoder"),
        *(_run(f"tiny-{mode}", mode, 8, model="tiny", workload=clip) for mode in OFFLOADS),
        _run(
            "tiny-fbcache",
            "none",
            None,
            model="tiny",
            workload=clip,
            settings={"cache": {"kind": "first_block"}},
        ),
        _run(
            "tiny-fp8-storage",
            "none",
            None,
            model="tiny",
            workload=clip,
            settings={"quantization": {"transformer": "fp8_storage"}},
        ),
        _run(
            "tiny-int8wo",
            "none",
            None,
            model="tiny",
            workload=clip,
            settings={"quantization": {"transformer": "int8wo"}},
        ),
        _plan(8, "tiny", clip),
    )
    if not faults:
        return found
    return (
        *(_denoiser(f"tiny-{kind}s", "tiny", clip, fault=kind, limit_s=2) for kind in ("die", "hang")),
        *found,
    )
