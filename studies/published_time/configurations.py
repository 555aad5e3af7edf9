"""From the words of a published row to a model, a workload, settings and a card of ours, or the reason why not.

The rules read the columns' words, not the rows' numbers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

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
    "hunyuanvideo (diffusers)": "hunyuanvideo",
    "hunyuanvideo + xdit": "hunyuanvideo",
    "ltx-video": "ltx-video",
    "mochi-1-preview (diffusers)": "mochi-1-preview",
    "latte-1": "latte-1",
    "animatediff (sd1.5)": "animatediff-motion-adapter-v1-5-2",
    "wan2.1-t2v-1.3b": "wan2.1-t2v-1.3b",
    "wan2.1-t2v-14b": "wan2.1-t2v-14b",
    "wan2.1-i2v-14b": "wan2.1-i2v-14b-720p",
    "wan2.1-i2v-14b-720p": "wan2.1-i2v-14b-720p",
    "wan2.2-ti2v-5b": "wan2.2-ti2v-5b",
    "wan2.2-t2v-a14b": "wan2.2-t2v-a14b",
    "wan2.2-i2v-a14b": "wan2.2-i2v-a14b",
    "skyreels-v1 (hunyuanvideo i2v/t2v)": "hunyuanvideo",
    "cosmos-1.0-7b-t2w": "cosmos-1.0-diffusion-7b-text2world",
    "cosmos-predict2-2b-video2world": "cosmos-predict2-2b-video2world",
}
"""The column `model` in lower case -> a catalogue name."""

CARDS: Final = {
    "A100 80GB": "a100-80gb",
    "A100-SXM4-80GB": "a100-80gb",
    "A100/A800 80GB": "a100-80gb",
    "A100/A800": "a100-80gb",
    "A800/A100": "a100-80gb",
    "A100 40GB": "a100-40gb",
    "A100": "a100-80gb",
    "A800": "a100-80gb",
    "H100 80GB": "h100-80gb",
    "H100 SXM": "h100-80gb",
    "H100/H800": "h100-80gb",
    "H800/H100": "h100-80gb",
    "H100": "h100-80gb",
    "H200 SXM": "h200",
    "B200": "b200",
    "RTX 4090": "rtx-4090",
    "H20": "h20",
    "L20 48GB": "l20",
    "L20": "l20",
    "L40": "l40",
    "L40S": "l40s",
    "RTX 6000 Ada": "rtx-6000-ada",
    "RTX PRO 6000": "rtx-pro-6000",
}
"""The column `hardware`, without how many -> a device's name."""
SEVERAL: Final = re.compile(
    r"(?:^|\s)(?:[2-9]|\d\d+)×|[2-9] GPUs|(?:Ulysses|Ring|CFG)-\d|\) [248] |fsdp|[uU]lysses|FSDP|SP[248]|TP[248]|separate GPUs"
)
"""What says that more than one card computed."""

TORCHAO: Final = {
    "int8wo": "int8wo",
    "int8dq": "int8dq",
    "int4wo": "int4wo",
    "fp8": "fp8wo",
    "fp8dqrow": "fp8dq",
}
FIGURES: Final = {
    "the whole call": None,
    "the denoiser's steps": ("denoise", "denoise_2"),
}


class Unexpressed(Exception):
    """A row that is left out; the message is the reason."""


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """A row in our words."""

    model: str
    workload: dict[str, Any]
    settings: dict[str, Any]
    device: str
    seconds: float
    """What was published, of the whole call or of the stages in `only`."""
    only: tuple[str, ...] | None = None
    code_base: str | None = None
    """Other than diffusers: the same networks in other code."""
    compiled: bool = False
    kernel: str | None = None
    """The kernel for attention where it was not the one that PyTorch takes on this card today."""
    differs: tuple[str, ...] = ()
    """What is known to differ between what was measured and what is priced."""


def express(row: Row) -> Configuration:
    """The row in our words.

    Raises:
        Unexpressed: the reason why it cannot be said in them.
    """
    _refuse(row)
    spec = _model(row)
    differs: list[str] = []
    workload = _workload(row, spec)
    seconds, only = _figure(row, workload.get("steps", spec.defaults.steps))
    settings = (
        _offload(row) | _quantization(row, spec, differs) | _dtype(row, spec) | _cache(row, spec, differs)
    )
    if row["vae"] not in UNSAID and "tiling" in row["vae"] and not row["vae"].startswith("no "):
        settings["vae_tiling"] = {}
    is_compiled = row["compile"] not in (*UNSAID, "no")
    if is_compiled:
        settings["compile"] = {"regional": False}
    if "VAE" in row["compile"]:
        differs.append("its autoencoder was compiled too")
    if "t5_cpu" in row["offload"]:
        differs.append("its text encoder computes on the CPU")
    return Configuration(
        model=spec.name,
        workload=workload,
        settings=settings,
        device=_card(row),
        seconds=seconds,
        only=only,
        code_base=_code_base(row),
        compiled=is_compiled,
        kernel=_kernel(row),
        differs=tuple(differs),
    )


def _refuse(row: Row) -> None:
    if row["note"].startswith("EXCLUDE"):
        raise Unexpressed("the collection says to exclude it")
    if SEVERAL.search(" ".join((row["hardware"], row["offload"], row["batch"]))):
        raise Unexpressed("several GPUs")
    if "NATTEN" in row["model"]:
        raise Unexpressed("neighbourhood attention (NATTEN) is no technique of ours")
    if row["model"].lower().startswith(("hunyuanvideo", "skyreels-v1")) and "(CFG)" in row["cfg"]:
        raise Unexpressed(
            "real guidance, two passes a step, which the catalogue's call of this model has not"
        )
    if row["attn"] == "SageAttn (d)":
        raise Unexpressed("compiled and with SageAttention, neither stated for this row")
    if "not stated" in row["task"]:
        raise Unexpressed("the clip's size or the steps are not stated")
    if row["hardware"] in UNSAID:
        raise Unexpressed("the card is not stated")


def _model(row: Row) -> ModelSpec:
    name = MODELS.get(row["model"].lower())
    if name is None:
        raise Unexpressed("the model is not in the catalogue")
    spec = models.get(name)
    if spec.task == "t2v" and "I2V" in row["task"]:
        raise Unexpressed("the catalogue has this model for text to video only")
    return spec


def _card(row: Row) -> str:
    words = re.sub(r"^(?:1×|NVIDIA )", "", row["hardware"])
    words = re.sub(
        r"(?: \(PCIe\))?(?:,? 1(?: GPU)?$)| u1 r1 cfg1| TP1 SP1| \(time consistent\)", "", words
    ).strip()
    name = CARDS.get(words)
    if name is None:
        raise Unexpressed(f"the card {words!r} is not in the catalogue")
    return name


def _workload(row: Row, spec: ModelSpec) -> dict[str, Any]:
    values: dict[str, Any] = {}
    frames = re.match(r"\d+", row["frames"])
    if not frames:
        raise Unexpressed("the clip's size or the steps are not stated")
    values["frames"] = int(frames[0])
    area = re.search(r"max_area (\d+)×(\d+)", row["height"])
    if area:
        values |= {"height": int(area[1]), "width": int(area[2])}
    elif re.match(r"\d+", row["height"]):
        values |= {"height": int(row["height"].split()[0]), "width": int(row["width"].split()[0])}
    else:
        raise Unexpressed("the clip's size or the steps are not stated")
    if steps := re.search(r"^\d+$|(?<=of )\d+", row["steps"]):
        values["steps"] = int(steps[0])
    else:
        raise Unexpressed("the clip's size or the steps are not stated")
    if guidance := re.match(r"\d+(?:\.\d+)?", row["cfg"]):
        values["guidance"] = float(guidance[0])
    return values


def _figure(row: Row, steps: int) -> tuple[float, tuple[str, ...] | None]:
    """(seconds, the stages that they are of)."""
    text = re.sub(r"^[~≈]", "", row["time_s"].strip())
    if per_step := re.fullmatch(r"([\d.]+) (?:/step|s/it)", text):
        return float(per_step[1]) * steps, FIGURES["the denoiser's steps"]
    if minutes := re.fullmatch(r"([\d.]+) min", text):
        return 60 * float(minutes[1]), None
    plain = re.match(r"([\d.]+)(?: \(|$)", text)
    if not plain:
        raise Unexpressed(f"{row['time_s']!r} is not the time of one run")
    is_denoising = "denoise" in row["task"] or "denoise only" in row["metric"]
    return float(plain[1]), FIGURES["the denoiser's steps"] if is_denoising else None


def _code_base(row: Row) -> str | None:
    """The code base that was measured; None for diffusers."""
    theirs = ("diffusers", "docs/", "https://github.com/huggingface/diffusers")
    if row["src"].startswith(theirs) or "diffusers" in row["src"] or "(diffusers" in row["model"]:
        return None
    if "diffusers" in row["metric"]:
        return None
    return "/".join(row["src"].split(" ")[0].removeprefix("https://github.com/").split("/")[:2])


def _offload(row: Row) -> dict[str, Any]:
    text = row["offload"].strip()
    is_eager = row["compile"] in (*UNSAID, "no")
    if text in (*UNSAID, "none") or (text == "model offload when compiled" and is_eager):
        return {}  # where it is not stated, the cards are large enough for everything
    if text.startswith(("--offload_model True", "model offload")):
        return {"offload": {"mode": "model"}}
    if text == "offload+t5_cpu":
        return {"offload": {"mode": "model"}}
    if found := re.match(r"group block_level (\d+) blocks/group \(T5\+DiT\)", text):
        parts = ["text_encoder", "transformer"]
        return {"offload": {"mode": "group", "blocks_per_group": int(found[1]), "components": parts}}
    if text.startswith("offload prompt upsampler"):
        return {}  # a language model of its own, beside the pipeline
    raise Unexpressed(f"offload {text!r} is no setting of ours")


def _quantization(row: Row, spec: ModelSpec, differs: list[str]) -> dict[str, Any]:
    text = row["quant"].strip()
    if "fuse_qkv" in text:
        differs.append("its projections are fused")
        text = text.replace("; fuse_qkv", "")
    if text in (*UNSAID, "none"):
        return {}
    names = [name for name in ("transformer", "transformer_2", "unet") if name in spec.component_names()]
    found = re.match(r"torchao (\w+):? (T5\+)?DiT", text)
    if found and found[1] in TORCHAO:
        parts = (*(["text_encoder"] if found[2] else []), *names)
        differs.append(
            "every linear layer was quantised; ours leaves those that modulate and embed as they are"
        )
        return {"quantization": dict.fromkeys(parts, TORCHAO[found[1]])}
    raise Unexpressed(f"quantisation {text.removeprefix('torchao ').split(':')[0]!r} is none of ours")


def _dtype(row: Row, spec: ModelSpec) -> dict[str, Any]:
    text = row["dtype"].strip()
    said = re.match(r"(fp16|bf16)", text)
    if said is None or "bf16/fp16" in text or "fp16/bf16" in text:
        return {}
    dtype = "bf16" if "diffusers-torchao" in row["src"] else said[0]  # fp16 and bf16 run at one rate
    denoiser = next(name for name in spec.component_names() if name in ("transformer", "unet"))
    changed = {} if spec.component(denoiser).dtype == dtype else dict.fromkeys(spec.component_names(), dtype)
    return {"dtype": changed} if changed else {}


def _kernel(row: Row) -> str | None:
    """FlashAttention-2 where the row says so, and on Hopper in diffusers' measurements of 2024: PyTorch took cuDNN's kernel there by
    default later (`check_prefer_cudnn_attention`)."""
    is_theirs = row["attn"].startswith("flash-attn")
    is_early = row["attn"] == "SDPA" and "H100" in row["hardware"]
    return "flash" if is_theirs or is_early else None


def _cache(row: Row, spec: ModelSpec, differs: list[str]) -> dict[str, Any]:
    if row["cache"] in (*UNSAID, "none", "no"):
        return {}
    kinds: dict[str, dict[str, Any]] = {
        "FasterCache": {"kind": "fastercache", "interval": 2},
        "PAB": {"kind": "pab", "interval": 2},
    }
    if row["cache"] not in kinds:
        raise Unexpressed(f"how often the cache {row['cache']!r} was hit is not stated")
    settings = dict(kinds[row["cache"]])
    if spec.name == "latte-1":
        settings |= {"temporal_interval": 2} | ({"cross_interval": 2} if row["cache"] == "PAB" else {})
    differs.append("the cache's parameters are not stated; those of diffusers' own tests are priced")
    return {"cache": settings}
