"""From the words of a published row to a model, a workload, settings and a card of ours, or the reason why not.

The rules read the columns' words, not the rows' numbers; what no rule can know is in `EXCEPTIONS`, with its reason.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import published
from published import Published, Unexpressed

from workbench import models
from workbench.models import ModelSpec

Row = Mapping[str, str]
UNSAID: Final = ("", "–", "-")

MODELS: Final = {
    "cogvideox-2b": "cogvideox-2b",
    "cogvideox-5b": "cogvideox-5b",
    "cogvideox-5b (cogvideox-1.0)": "cogvideox-5b",
    "cogvideox-5b (t2v/i2v)": "cogvideox-5b",
    "cogvideox1.5-5b": "cogvideox1.5-5b",
    "cogvideox1.5-5b (t2v/i2v)": "cogvideox1.5-5b",
    "hunyuanvideo": "hunyuanvideo",
    "hunyuanvideo-i2v": "hunyuanvideo-i2v",
    "hunyuanvideo-1.5": "hunyuanvideo-1.5-diffusers-480p_t2v",
    "ltx-video": "ltx-video",
    "mochi-1": "mochi-1-preview",
    "latte-1": "latte-1",
    "svd-xt": "stable-video-diffusion-img2vid-xt",
    "animatediff (sd1.5)": "animatediff-motion-adapter-v1-5-2",
    "wan2.1-t2v-1.3b": "wan2.1-t2v-1.3b",
    "wan2.1-t2v-14b": "wan2.1-t2v-14b",
    "wan2.1-i2v-14b": "wan2.1-i2v-14b-720p",
    "wan2.1-i2v-14b-480p": "wan2.1-i2v-14b-480p",
    "wan2.1-i2v-14b-720p": "wan2.1-i2v-14b-720p",
    "wan2.2-ti2v-5b": "wan2.2-ti2v-5b",
    "wan2.2-t2v-a14b": "wan2.2-t2v-a14b",
    "wan2.2-i2v-a14b": "wan2.2-i2v-a14b",
    "skyreels-v2-df-1.3b": "skyreels-v2-df-1.3b-540p",
    "skyreels-v2-t2v-14b": "skyreels-v2-t2v-14b-540p",
    "cosmos-1.0-diffusion-7b-text2world": "cosmos-1.0-diffusion-7b-text2world",
    "cosmos-predict2-2b-video2world": "cosmos-predict2-2b-video2world",
}
"""The column `model` in lower case -> a catalogue name."""

CARDS: Final = (
    ("4090", "rtx-4090"),
    ("3090", "rtx-3090"),
    ("V100 32GB", "v100-32gb"),
    ("H100", "h100-80gb"),
    ("H800", "h100-80gb"),  # an H100 with a slower link between cards
    ("H20", "h200"),  # Hopper with 96 GB; of ours the Hopper card that no row fills
    ("A100", "a100-80gb"),
    ("A800", "a100-80gb"),
)
UNSAID_CARD: Final = "a100-80gb"
"""For rows that name no card: it decides the context and the workspace of cuBLAS only, and these rows do not fill it."""

TORCHAO: Final = {
    "int8wo": "int8wo",
    "int8": "int8wo",
    "int8dq": "int8dq",
    "int4wo": "int4wo",
    "fp8dqrow": "fp8dq",
}
"""What the sources call it -> what we call it; scales per row are what `fp8dq` has."""

CACHES: Final = {
    "FasterCache": {"kind": "fastercache", "interval": 2, "temporal_interval": 2},
    "PAB": {"kind": "pab", "interval": 2, "temporal_interval": 2, "cross_interval": 2},
}
"""As `tests/pipelines/latte/test_latte.py` of diffusers sets them up (since pull request 9562, where the figures are); CogVideoX has
one kind of attention and takes the first interval."""

WITHOUT_TILES: Final = ("Wan-Video/", "SkyworkAI/SkyReels-V2")
"""Code bases whose VAE, Wan's, has no tiles."""

EXCEPTIONS: Final = {
    "DD046": "the workspace of 2-D convolutions in workbench/cost/_kernels.py was chosen with this row: it cannot score it",
    "DD047": "the same decode as DD046, with which the workspace of 2-D convolutions was chosen",
}
"""Rows that words do not explain."""

OWN_CODE: Final = (
    (
        "Wan-Video/Wan2.1",
        "fp32 weights under autocast in its own code (wan/text2video.py: from_pretrained without a dtype)",
    ),
    (
        "NVIDIA/Cosmos",
        "its own code base keeps guardrails and prompt upsampler, or parts of them, on the card",
    ),
)
BEFORE_CACHE_ARGUMENT: Final = "11542431a5"
"""diffusers just before pull request 9524 (28 September 2024), after which CogVideoX's VAE holds each frame batch's convolution caches
beside those of the batch before; until then it kept one."""


@dataclass(frozen=True, kw_only=True)
class Expressed:
    """A row in our words."""

    model: str
    workload: dict[str, Any]
    settings: dict[str, Any]
    device: str
    without: tuple[str, ...] = ()
    """Stages that the source left out of its measurement."""
    only: tuple[str, ...] = ()
    """The only stages it measured; empty for all."""
    figure: Published | None = None
    """None where the run ended for lack of memory."""
    resident: float | None = None
    code_base: str | None = None
    """Other than diffusers; what it does beside the networks' arithmetic is not what is priced."""
    differs: tuple[str, ...] = ()
    """What is known to differ between what was measured and what is priced; empty: the row is matched."""
    remarks: tuple[str, ...] = ()
    commit: str | None = None
    """The diffusers that was measured, where its VAE needs other memory than the installed one's."""

    @property
    def matched(self) -> bool:
        """The same code and configuration."""
        return not self.differs and self.code_base is None


def express(row: Row) -> Expressed:
    """The row in our words.

    Raises:
        Unexpressed: the reason why it cannot be said in them.
    """
    _refuse(row)
    spec = _model(row)
    differs, remarks = [], list[str]()
    settings: dict[str, Any] = {}
    without, placed = _offload(row)
    settings |= placed
    if "T5 block_level" in row["offload"]:
        remarks.append("T5 went by blocks, here by layers as the denoiser: one setting has one way")
    code_base = _code_base(row)
    if _has_tiles(row, code_base):
        settings["vae_tiling"] = {}
    if "; fuse_qkv" in row["quant"]:
        settings["fused_qkv"] = {}
    settings |= _quantization(row, spec)
    settings |= _dtype(row, spec, remarks)
    settings |= _cache(row, spec, differs)
    only: tuple[str, ...] = ()
    if "decode" in row["task"]:
        only = ("decode",)
    elif "denoise" in row["task"] or "denoise only" in row["metric"]:
        without = (*without, "decode")
    if "max-autotune" in row["compile"]:
        remarks.append("the denoiser was compiled and is priced uncompiled; the peak is in the decode")
    return Expressed(
        model=spec.name,
        workload=_workload(row, spec),
        settings=settings,
        device=_card(row),
        without=without,
        only=only,
        figure=published.read(row),
        resident=published.resident(row),
        code_base=code_base,
        differs=tuple(dict.fromkeys(differs)),
        remarks=tuple(remarks),
        commit=_commit(row, spec),
    )


def _refuse(row: Row) -> None:
    """What no model or setting would help.

    Raises:
        Unexpressed: always with the reason.
    """
    if row["id"] in EXCEPTIONS:
        raise Unexpressed(EXCEPTIONS[row["id"]])
    if row["note"].startswith("EXCLUDE"):
        raise Unexpressed("the collection says to exclude it")
    everything = " ".join((row["hardware"], row["offload"], row["task"]))
    if re.search(r"(?:^|\s)([2-9]|\d\d+)×|\b[2-9] GPUs|multi-GPU|fsdp|ulysses|across GPUs", everything):
        raise Unexpressed("several GPUs")
    if "SAT" in row["task"] or "SAT" in row["offload"]:
        raise Unexpressed("SAT, a code base without diffusers' pipeline or offload")
    if "VAE encode" in row["task"]:
        raise Unexpressed("encodes a video, which no pipeline of the catalogue does")
    if row["metric"] == "delta":
        raise Unexpressed("a difference between two runs")
    if "load peak" in row["mem_GB"]:
        raise Unexpressed("the peak is that of loading")
    if "/" in row["model"] and "T2V/I2V" not in row["model"]:
        raise Unexpressed("two models in one row")
    for start, reason in OWN_CODE:
        if row["src"].startswith(start):
            raise Unexpressed(reason)


def _model(row: Row) -> ModelSpec:
    name = MODELS.get(row["model"].lower())
    if name is None:
        raise Unexpressed("the model is not in the catalogue")
    spec = models.get(name)
    if spec.task == "t2v" and "I2V" in row["task"]:
        raise Unexpressed("the catalogue has this model for text to video only")
    return spec


def _code_base(row: Row) -> str | None:
    """The code base that was measured; None for diffusers."""
    if "diffusers" in row["src"] or row["src"].startswith("docs/") or "(diffusers" in row["task"]:
        return None
    return "/".join(row["src"].split(" ")[0].removeprefix("https://github.com/").split("/")[:2])


def _commit(row: Row, spec: ModelSpec) -> str | None:
    """The last figures of diffusers-torchao's README for CogVideoX are of 25 September 2024, the table in diffusers' documentation is of
    August 2024 (their histories). The peak of these runs is in the decode, so the VAE is what matters."""
    dated = ("sayakpaul/diffusers-torchao", "docs/source/en/api/pipelines/cogvideox.md")
    is_old = row["src"].startswith(dated) and "layerwise" not in row["quant"]
    return (
        BEFORE_CACHE_ARGUMENT
        if is_old and spec.component("vae").class_name == "AutoencoderKLCogVideoX"
        else None
    )


def _workload(row: Row, spec: ModelSpec) -> dict[str, Any]:
    values: dict[str, Any] = {}
    frames = re.match(r"\d+", row["frames"])
    if not frames:
        raise Unexpressed("the clip's size is not stated")
    values["frames"] = int(frames[0])
    area = re.search(r"max_area (\d+)×(\d+)", row["height"])
    if area:
        values |= {"height": int(area[1]), "width": int(area[2])}
    elif row["height"] not in UNSAID:
        values |= {"height": int(row["height"].split()[0]), "width": int(row["width"].split()[0])}
    elif not row["src"].startswith("docs/source/en/api/pipelines"):
        raise Unexpressed(
            "the clip's size is not stated"
        )  # a call in diffusers' documentation has the pipeline's own size
    if re.match(r"\d+$", row["steps"]):
        values["steps"] = int(row["steps"])
    if number := re.match(r"\d+(?:\.\d+)?", row["cfg"]):
        values["guidance"] = float(number[0])
    return values


def _offload(row: Row) -> tuple[tuple[str, ...], dict[str, Any]]:
    """(stages that do not use the card, settings)."""
    text = row["offload"].strip()
    match text:
        case "none":
            return (), {}
        case "model" | "enable_model_cpu_offload" | "model offloading enabled" | "--offload":
            return (), {"offload": {"mode": "model"}}
        case "sequential" | "enable_sequential_cpu_offload":
            return (), {"offload": {"mode": "sequential"}}
        case "offload+t5_cpu":  # the text encoder computes on the CPU
            return ("text_encode",), {"offload": {"mode": "model"}}
    if text.startswith("--offload_model True"):
        return (("text_encode",) if "t5_cpu" in text else ()), {"offload": {"mode": "model"}}
    if found := re.match(r"group block_level (\d+) blocks/group \(T5\+DiT\)", text):
        parts = ["text_encoder", "transformer"]
        return (), {"offload": {"mode": "group", "blocks_per_group": int(found[1]), "components": parts}}
    if re.match(r"group: DiT leaf_level ?\+ ?(CUDA )?stream", text):
        parts = ["text_encoder", "transformer", *(["vae"] if "VAE leaf_level" in text else [])]
        by_layer = {"mode": "group", "offload_type": "leaf_level", "stream": True, "components": parts}
        return (), {"offload": by_layer}
    if text in UNSAID or "not stated" in text:
        raise Unexpressed("where the weights wait is not stated")
    raise Unexpressed(f"offload {text!r} of its own code base is no setting of ours")


def _has_tiles(row: Row, code_base: str | None) -> bool:
    text = row["vae"].lower()
    if row["vae"] in UNSAID and code_base is not None and not code_base.startswith(WITHOUT_TILES):
        raise Unexpressed("how another code base than diffusers decodes is not stated")
    if "forward chunking" in text:
        raise Unexpressed("forward chunking is no technique of ours")
    return "tiling" in text and not text.startswith("no ")


def _quantization(row: Row, spec: ModelSpec) -> dict[str, Any]:
    """The layers are those of the source: torchao's `quantize_` on the whole network (diffusers-torchao, inference/benchmark_video.py),
    or a `BitsAndBytesConfig`."""
    text, _, _ = row["quant"].strip().partition("; fuse_qkv")
    names = [name for name in ("transformer", "transformer_2", "unet") if name in spec.component_names()]
    if text in (*UNSAID, "none"):
        return {}
    if "layerwise" in text:
        parts = [*names, "vae"] if "VAE" in text else names
        return {"quantization": dict.fromkeys(parts, "fp8_storage")}
    if text == "bnb nf4 DiT":
        return {"quantization": {name: {"kind": "nf4", "layers": "configured"} for name in names}}
    found = re.match(r"torchao (\w+):? T5\+DiT", text)
    if found and found[1] in TORCHAO:
        whole = {"kind": TORCHAO[found[1]], "layers": "all"}
        return {"quantization": {name: whole for name in ("text_encoder", *names)}}
    raise Unexpressed(f"quantisation {text.removeprefix('torchao ').split(':')[0]!r} is none of ours")


def _dtype(row: Row, spec: ModelSpec, remarks: list[str]) -> dict[str, Any]:
    """The catalogue's dtypes, which are those that the documentation loads, unless the row names another one for the denoiser."""
    text = row["dtype"].strip()
    if "autocast" in text or "GGUF" in text:
        raise Unexpressed(f"{text!r} is no setting of ours")
    said = re.match(r"(fp32|fp16|bf16)", text)
    if text in UNSAID or not said or "bf16/fp16" in text:
        return {}
    dtype = said[0]
    denoiser = next(name for name in spec.component_names() if name in ("transformer", "unet"))
    parts = {} if spec.component(denoiser).dtype == dtype else dict.fromkeys(spec.component_names(), dtype)
    if dtype == "fp16" and "diffusers-torchao" in row["src"]:
        # its script casts with `.to(torch.float16)`, which keeps nothing in fp32 as loading does: the bytes of bf16
        names = [name for name in spec.component_names() if spec.component(name).dtype != "bf16"]
        parts = dict.fromkeys(names, "bf16")
        remarks.append(
            "T5 was cast whole to fp16, which loading never does; all is priced as bf16, the same bytes"
        )
    return {"dtype": parts} if parts else {}


def _cache(row: Row, spec: ModelSpec, differs: list[str]) -> dict[str, Any]:
    if row["cache"] in (*UNSAID, "none", "no"):
        return {}
    if row["cache"] not in CACHES:
        raise Unexpressed(f"cache {row['cache']!r} is none of ours")
    differs.append("the cache's parameters are not stated; those of diffusers' own tests are priced")
    settings: dict[str, Any] = dict(CACHES[row["cache"]])
    if spec.name != "latte-1":
        settings = {key: value for key, value in settings.items() if key in ("kind", "interval")}
    return {"cache": settings}


def _card(row: Row) -> str:
    return next((name for words, name in CARDS if words in row["hardware"]), UNSAID_CARD)
