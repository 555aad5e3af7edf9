"""Short readable words for what a plan is about: settings, workload, card, effects. Pure; used by every rendering and figure."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any

from workbench._units import GIB, MIB, format_gib, gib
from workbench.cost import Cost, Distance, QualityEffect
from workbench.devices import DEFAULT_VRAM_GB, Device
from workbench.devices import get as get_device
from workbench.devices import names as device_names
from workbench.models import Workload
from workbench.models import get as get_model
from workbench.models import names as model_names
from workbench.search._choices import spared_blocks

LIBRARY_DEFAULTS = "library defaults"
"""What empty settings are called: nothing is changed of what diffusers does by itself."""

SEPARATOR = " · "

_KINDS = {
    "int8wo": "int8",
    "int8dq": "int8 dynamic",
    "fp8wo": "fp8",
    "fp8dq": "fp8 dynamic",
    "int4wo": "int4",
    "bnb8": "bnb int8",
    "fp8_storage": "fp8 storage",
    "nf4_double": "nf4 double",
    "svdq_int4": "SVDQuant int4",
    "svdq_fp4": "SVDQuant fp4",
}


def describe_settings(settings: Mapping[str, Any]) -> str:
    """Settings JSON in short words: `"model offload · VAE tiles 256 px · int8 transformer · 30 steps"`."""
    words = [describe_technique(name, parameters) for name, parameters in settings.items()]
    return SEPARATOR.join(word for word in words if word) or LIBRARY_DEFAULTS


def describe_technique(name: str, parameters: Any) -> str:
    """One technique in short words. One that has no words of its own, or whose parameters are not an object, is shown as JSON."""
    words = _WORDS.get(name)
    if words is None or not isinstance(parameters, Mapping):
        return f"{name.replace('_', ' ')} {json.dumps(parameters)}" if parameters else name.replace("_", " ")
    return words(parameters)


def describe_component(name: str) -> str:
    """A component's name for people: `text_encoder` is `text encoder`, `vae` is `VAE`."""
    return "VAE" if name == "vae" else name.replace("_", " ")


def describe_stage(name: str) -> str:
    """A stage's name for people: `denoise_2` is `denoise 2`."""
    return name.replace("_", " ")


def describe_stretch(stage: str, running: str) -> str:
    """A stretch of the run for people: `"denoise"`, `"decode · vocoder"`, `"before the call"`, `"after the call"`.

    Args:
        running: the component that computes; empty where the stage says enough.
    """
    if stage in ("ready", "after"):
        return "before the call" if stage == "ready" else "after the call"
    return describe_stage(stage) + (f"{SEPARATOR}{describe_component(running)}" if running else "")


def describe_binds(binds: str, width: int = 28) -> str:
    """What binds, short enough for a table's cell: `"vae…resnets.1.conv1: convolution"`. The JSON has the whole path.

    Args:
        width: characters; the path keeps its first name and as many of its last ones as fit, one at least.
    """
    path, colon, op = binds.partition(": ")
    op = op.removesuffix(".default")
    names = path.split(".")
    kept = len(names)
    while (text := _abridged(names, kept) + colon + op) and len(text) > width and kept > 1:
        kept -= 1
    return text


def _abridged(names: list[str], kept: int) -> str:
    return ".".join(names) if kept == len(names) else f"{names[0]}…{'.'.join(names[-kept:])}"


def describe_bytes(num_bytes: float) -> str:
    """Bytes as GiB, and as whole MiB below a twentieth of a GiB, where two decimals would say little."""
    return f"{num_bytes / MIB:.0f} MiB" if 0 < num_bytes < GIB / 20 else format_gib(num_bytes)


def describe_workload(workload: Workload) -> str:
    """`"Wan2.1-T2V-1.3B: 81 frames of 480 × 832, 50 steps, guidance 5"`."""
    parts = [
        f"{_plural(workload.frames, 'frame')} of {workload.height} × {workload.width}",
        _plural(workload.steps, "step"),
        f"guidance {workload.guidance:g}"
        + ("" if workload.guidance_2 is None else f" and {workload.guidance_2:g}"),
    ]
    if workload.batch > 1:
        parts.append(f"{workload.batch} videos at once")
    return f"{model_title(workload.model)}: {', '.join(parts)}"


def model_title(name: str) -> str:
    """The name as the model's authors write it; a model outside the catalogue keeps the name it was given."""
    return get_model(name).title if name in model_names() else name


def describe_device(device: Device, choice: str = "") -> str:
    """The card, how it was chosen, and its memory: `"a typical 12 GB card: NVIDIA GeForce RTX 3060 12 GB (rtx-3060-12gb), 12.00 GiB"`.

    Args:
        choice: how the card came to be the one, `"a typical 12 GB card"`; empty when the caller named it.
    """
    memory = format_gib(device.memory_bytes)
    if device.name in device_names() and get_device(device.name).memory_bytes != device.memory_bytes:
        memory = f"capped to {memory}"
    words = f"{device.title} ({device.name}), {memory}"
    return f"{choice}: {words}" if choice else words


def describe_choice(device: object, vram_gb: float | None) -> str:
    """How the card was chosen, for `describe_device`: empty when the caller named one."""
    if device is not None:
        return ""
    size = f"a typical {DEFAULT_VRAM_GB if vram_gb is None else vram_gb:g} GB card"
    return f"{size}, since none was given" if vram_gb is None else size


def describe_effect(effect: QualityEffect) -> str:
    """What a technique does to the output: `"none, exact"`, `"loss 0.8 % PSNR, published"`, `"unknown"`."""
    if effect.provenance == "exact":
        return "none, exact"
    measured = "" if effect.distance is None else describe_distance(effect.distance)
    if effect.loss_percent is None:
        return measured or "unknown"
    metric = f" {effect.metric}" if effect.metric else ""
    loss = f"loss {effect.loss_percent:g} %{metric}, {effect.provenance}"
    return f"{loss}; {measured}" if measured else loss


def describe_distance(distance: Distance) -> str:
    """A distance from the un-optimised run: `"PSNR 31.2 dB (28.0 to 35.1), SSIM 0.953, measured on the miniature"`."""
    where = f"from parts {distance.provenance}" if distance.predicted else distance.provenance
    between = f"{distance.psnr_low_db:.1f} to {distance.psnr_high_db:.1f}"
    return f"PSNR {distance.psnr_db:.1f} dB ({between}), SSIM {distance.ssim:.3f}, {where}"


def describe_quality(cost: Cost) -> str:
    """All effects in one sentence; what is unknown is said."""
    quality = cost.quality
    if quality.is_exact:
        return "exact: the same output as the library's defaults, to rounding"
    if quality.distance is not None:
        said = f"{describe_distance(quality.distance)}, against the un-optimised run of the same seed"
        losses = [f"known loss {quality.known_loss_percent:g} %"] if quality.known_loss_percent else []
        return "; ".join([said, *losses])
    known = f"known loss {quality.known_loss_percent:g} %"
    if not quality.unknown:
        return known
    if not quality.known_loss_percent:
        known = "no known loss"
    return f"{known}; effect unknown of {', '.join(quality.unknown)}"


def describe_loss(cost: Cost) -> str:
    """The loss in a table's cell, a line for what is known and one for what is not: `"exact"`, `"31 dB"` PSNR, `"0.8 %"`, `"2 unknown"`."""
    quality = cost.quality
    if quality.is_exact:
        return "exact"
    measured = quality.distance
    words = [] if measured is None else [f"{measured.psnr_db:.0f} dB"]
    if quality.known_loss_percent or not (quality.unknown or words):
        words.append(f"{quality.known_loss_percent:g} %")
    if quality.unknown:
        words.append(f"{len(quality.unknown)} unknown")
    return "\n".join(words)


def describe_fit(cost: Cost) -> str:
    """How likely the VRAM is enough, rounded down: `"fits 12.00 GiB with probability at least 0.98"`; empty where that is 0."""
    chance = math.floor(100 * cost.fit_probability) / 100
    card = format_gib(cost.device.memory_bytes)
    return f"fits {card} with probability at least {chance:.2f}" if chance else ""


def describe_missing(cost: Cost) -> str:
    """By how much a configuration misses its caps: `"0.85 GiB too much VRAM"`; empty when it fits."""
    device, words = cost.device, []
    if cost.required_vram_bytes > device.memory_bytes:
        over = cost.required_vram_bytes - device.memory_bytes
        words.append(
            f"{describe_bytes(over)} too much VRAM ({_of(cost.required_vram_bytes, device.memory_bytes)})"
        )
    if device.ram_bytes is not None and cost.host_ram_bytes > device.ram_bytes:
        over = cost.host_ram_bytes - device.ram_bytes
        words.append(
            f"{describe_bytes(over)} too much host RAM ({_of(cost.host_ram_bytes, device.ram_bytes)})"
        )
    return " and ".join(words)


def _of(needed_bytes: int, cap_bytes: int) -> str:
    return f"{gib(needed_bytes):.2f} of {gib(cap_bytes):.2f} GiB"


def _plural(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


# --- one function per technique: its parameters as settings JSON writes them, in words ---------------------------------------


def _dtype(parameters: Mapping[str, Any]) -> str:
    return SEPARATOR.join(f"{describe_component(name)} in {dtype}" for name, dtype in parameters.items())


def _offload(parameters: Mapping[str, Any]) -> str:
    mode = parameters.get("mode", "none")
    if mode == "none":
        return "no offload"
    words = [f"{mode} offload"]
    if mode == "group":
        leaf = parameters.get("offload_type") == "leaf_level"
        words.append("by layer" if leaf else f"by {_plural(parameters.get('blocks_per_group', 1), 'block')}")
        if parameters.get("stream"):
            words.append("with a stream" + (", pinned late" if parameters.get("low_cpu_mem_usage") else ""))
        if parameters.get("resident_blocks"):
            words.append(f"({_plural(parameters['resident_blocks'], 'block')} resident)")
        if parameters.get("disk"):
            words.append("in files")
    if parameters.get("components"):
        words.append("of " + ", ".join(describe_component(name) for name in parameters["components"]))
    return " ".join(words)


def _vae_tiling(parameters: Mapping[str, Any]) -> str:
    words = "VAE tiles"
    if size := _size(parameters, "tile"):
        words += f" {size} px"
    if stride := _size(parameters, "stride"):
        words += f" every {stride} px"
    if frames := parameters.get("tile_frames"):
        words += f" of {_plural(frames, 'frame')}"
    return words


def _size(parameters: Mapping[str, Any], kind: str) -> str:
    """`"256"` for a square, `"256×384"` else; empty when neither side is given."""
    height, width = parameters.get(f"{kind}_height"), parameters.get(f"{kind}_width")
    if height is None and width is None:
        return ""
    return f"{height}" if height == width else f"{height or 'default'}×{width or 'default'}"


def _quantization(parameters: Mapping[str, Any]) -> str:
    kinds: dict[str, list[str]] = {}
    for component, value in parameters.items():
        kinds.setdefault(_quantized(value), []).append(describe_component(component))
    return SEPARATOR.join(f"{words} {' + '.join(parts)}" for words, parts in kinds.items())


def _quantized(value: object) -> str:
    """`"int8"`, `"nf4 (all layers)"`."""
    more: Mapping[str, Any] = value if isinstance(value, Mapping) else {"kind": value}
    kind = str(more.get("kind"))
    layers = [f"{more['layers']} layers"] if "layers" in more else []
    skip = [f"without {', '.join(map(_skipped, more['skip']))}"] if more.get("skip") else []
    said = f" ({', '.join((*layers, *skip))})" if layers or skip else ""
    words = kind.replace("gguf_", "GGUF ").upper() if kind.startswith("gguf_") else _KINDS.get(kind, kind)
    return f"{words}{said}"


def _skipped(pattern: str) -> str:
    """`"4 blocks"` of a pattern that the search has made; another one as it is."""
    blocks = spared_blocks(pattern)
    return pattern if blocks is None else _plural(blocks, "block")


def _compile(parameters: Mapping[str, Any]) -> str:
    """`"compiled max-autotune"`, `"compiled as a whole"`."""
    words = ["compiled", *([parameters["mode"]] if parameters.get("mode") else [])]
    return " ".join([*words, *(["as a whole"] if parameters.get("regional") is False else [])])


def _cache(parameters: Mapping[str, Any]) -> str:
    """`"taylorseer cache of 5 steps"`."""
    words = f"{str(parameters.get('kind', '')).replace('_', ' ')} cache".strip()
    of = "calls" if parameters.get("kind") == "pab" else "steps"
    return f"{words} of {parameters['interval']} {of}" if "interval" in parameters else words


def _temporal_chunks(parameters: Mapping[str, Any]) -> str:
    words = f"chunks of {parameters['frames']} frames" if "frames" in parameters else "temporal chunks"
    return f"{words}, overlap {parameters['overlap']}" if "overlap" in parameters else words


def _allocator(parameters: Mapping[str, Any]) -> str:
    words = []
    if parameters.get("expandable_segments"):
        words.append("expandable segments")
    if size := parameters.get("max_split_size_mb"):
        words.append(f"blocks whole from {size} MiB on")
    if threshold := parameters.get("garbage_collection_threshold"):
        words.append(f"cache collected beyond {100 * threshold:g} %")
    return SEPARATOR.join(words) or "allocator's defaults"


_WORDS: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "allocator": _allocator,
    "dtype": _dtype,
    "offload": _offload,
    "vae_tiling": _vae_tiling,
    "decode_chunks": lambda parameters: (
        f"decode {_plural(parameters['frames'], 'frame')} at a time"
        if "frames" in parameters
        else "decode chunks"
    ),
    "vae_slicing": lambda _: "VAE slicing",
    "vae_attention_slicing": lambda parameters: (
        f"VAE attention {_plural(parameters.get('frames', 1), 'frame')} at a time"
    ),
    "fused_qkv": lambda _: "fused projections",
    "quantization": _quantization,
    "lora": lambda parameters: (
        f"{_plural(parameters.get('count', 1), 'LoRA')} of rank {parameters['rank']}"
        if "rank" in parameters
        else "LoRA"
    ),
    "attention": lambda parameters: f"{parameters.get('backend', 'native')} attention",
    "cfg": lambda parameters: f"{parameters.get('mode', 'batched')} guidance",
    "steps": lambda parameters: _plural(parameters["count"], "step") if "count" in parameters else "steps",
    "temporal_chunks": _temporal_chunks,
    "cache": _cache,
    "compile": _compile,
}
