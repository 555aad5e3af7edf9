"""The kinds of caching, their parameters, and which denoisers they can act on. No torch: this is what a plan asks.

The tables say what diffusers 0.42 does, kind by kind and class by class: `enable_cache` accepts more than works, and is silent where it
hooks nothing. The tests hold the rows against tiny pipelines of the classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from workbench._errors import SettingsError
from workbench.techniques._checks import check_choice, check_number, check_whole
from workbench.techniques._mag_ratios import MAG_RATIOS


@dataclass(frozen=True, kw_only=True, slots=True)
class CacheKind:
    """One way of caching."""

    defaults: Mapping[str, Any]
    """Its parameters; one that is None here is off, or must be given."""


KINDS: Final[Mapping[str, CacheKind]] = {
    "first_block": CacheKind(defaults={"threshold": 0.06, "hit_rate": 0.38}),
    "taylorseer": CacheKind(defaults={"interval": 5, "warmup_steps": 3, "order": 1, "lite": True}),
    "magcache": CacheKind(defaults={"threshold": 0.06, "max_skips": 3, "retention": 0.2, "mag_ratios": None}),
    "pab": CacheKind(
        defaults={"interval": 2, "temporal_interval": None, "cross_interval": None, "timesteps": (100, 800)},
    ),
    "fastercache": CacheKind(
        defaults={
            "interval": 2,
            "temporal_interval": None,
            "timesteps": (-1, 681),
            "unconditional_interval": 5,
            "unconditional_timesteps": (-1, 641),
            "weight": 0.5,
        },
    ),
}
"""Defaults are those of diffusers' own configurations, but for these: `threshold` of first_block, for which a speed is published; `lite`
of taylorseer, because whole feature maps of every attention do not fit where video is long."""

_PUBLISHED = ("hunyuanvideo", 0.38, 0.06)
"""(model, hit rate, threshold). The page names 0.06 as HunyuanVideo's threshold, though its code passes 0.6."""
_SOURCE = (
    "what the times without and with it imply for 720p and 30 steps, 1 - 2271.06 s / 3675.71 s, at the default threshold of that page, "
    "diffusers docs/source/en/optimization/para_attn.md"
)


def hit_rate_source(model: str, hit_rate: float, threshold: float) -> str:
    """Where a hit rate of the first-block cache is from: a publication, or nowhere."""
    return f"published: {_SOURCE}" if (model, hit_rate, threshold) == _PUBLISHED else "assumed"


@dataclass(frozen=True, kw_only=True, slots=True)
class Denoiser:
    """What a class of denoiser allows."""

    output: str = "proj_out"
    """Names of the layers that make its output, as a pattern: what taylorseer's lite mode keeps."""
    attention: str = r"attn\d?"
    """Names of attention within a block, as a pattern."""
    cross: bool = False
    """Whether diffusers can tell its cross-attention apart."""
    temporal: bool = False
    """Whether it has attention over time apart from attention over space."""
    unconditional: str | None = None
    """Layout of its output, where its pipelines compute both branches of guidance in one call and fastercache can guess one of them."""
    blocks: Mapping[str, tuple[int, int | None]] = field(default_factory=dict)
    """Classes of blocks that diffusers does not know yet: where their result has hidden states and, if there, encoder hidden states."""
    refused: Mapping[str, str] = field(default_factory=dict)
    """Kind -> why it cannot act."""


_NO_LIST = "the blocks are two stacks that take turns, and diffusers would take the second for the continuation of the first"
_HINTS = "control hints are added between the blocks, and a skipped call would add them twice"
_TIMESTEP = "its pipeline does not say at which timestep it is (current_timestep)"
_STREAMS = "its blocks carry video and audio, and diffusers caches one stream of hidden states"
_ONE_BRANCH = "diffusers cannot take the branches of guidance apart in its calls"
_WHOLE: Final = ("first_block", "magcache")
"""Kinds that skip the whole stack of blocks."""


def _refuse(kinds: tuple[str, ...], reason: str) -> dict[str, str]:
    return dict.fromkeys(kinds, reason)


DENOISERS: Final[Mapping[str, Denoiser]] = {
    "WanTransformer3DModel": Denoiser(cross=True),
    "WanVACETransformer3DModel": Denoiser(cross=True, refused=_refuse(_WHOLE, _HINTS)),
    "SkyReelsV2Transformer3DModel": Denoiser(cross=True, blocks={"SkyReelsV2TransformerBlock": (0, None)}),
    "LTXVideoTransformer3DModel": Denoiser(),
    "LTX2VideoTransformer3DModel": Denoiser(
        output="(audio_)?proj_out",
        attention=r"(audio_)?attn\d|audio_to_video_attn|video_to_audio_attn",
        refused=_refuse(_WHOLE, _STREAMS),
    ),
    "HunyuanVideoTransformer3DModel": Denoiser(),
    "HunyuanVideo15Transformer3DModel": Denoiser(blocks={"HunyuanVideo15TransformerBlock": (0, 1)}),
    "CogVideoXTransformer3DModel": Denoiser(unconditional="BFCHW"),
    "MochiTransformer3DModel": Denoiser(unconditional="BCFHW"),
    "AllegroTransformer3DModel": Denoiser(
        cross=True, unconditional="BCFHW", blocks={"AllegroTransformerBlock": (0, None)}
    ),
    "LatteTransformer3DModel": Denoiser(
        cross=True, temporal=True, unconditional="BCFHW", refused=_refuse(_WHOLE, _NO_LIST)
    ),
    "Kandinsky5Transformer3DModel": Denoiser(
        output="out_layer",
        attention="(self|cross)_attention",
        refused={
            "first_block": "its blocks call their hidden states otherwise than diffusers' first-block cache expects",
            **_refuse(("pab", "fastercache"), _TIMESTEP),
        },
    ),
}
"""By class. A denoiser that is not here has no `enable_cache` of diffusers, or none that was tried."""

SECTIONED: Final = ("HunyuanVideoFramepack", "SkyReelsV2DiffusionForcing")
"""Beginnings of the names of pipelines that denoise a video section by section, each from its own first step."""

STACKS: Final = r"(blocks|transformer_blocks|single_transformer_blocks|visual_transformer_blocks)"
"""Names of a denoiser's stacks of blocks."""
TEMPORAL_STACKS: Final = r"temporal_transformer_blocks"
SIDE_STACKS: Final = r"vace_blocks"
"""Blocks whose results only other blocks read."""


class HasParameters(Protocol):
    """The technique, as far as these checks look at it."""

    @property
    def kind(self) -> str:
        """One of `KINDS`."""


def why_not(cache: HasParameters, pipeline_class: str, class_name: str) -> str | None:
    """None if a cache can act on a denoiser of this class in this pipeline, else why not."""
    if pipeline_class.startswith(SECTIONED):
        return (
            f"{pipeline_class} denoises section by section, and a cache would carry over from one to the next"
        )
    known = DENOISERS.get(class_name)
    if known is None:
        return f"{class_name} is not known to take diffusers' caches"
    reason = known.refused.get(cache.kind)
    if reason is not None:
        return f"{cache.kind} cannot act on {class_name}: {reason}"
    guessed = known.unconditional is not None
    lacks = {
        "cross_interval": (known.cross, "diffusers cannot tell its cross-attention apart"),
        "temporal_interval": (known.temporal, "it has no attention over time apart from that over space"),
        "unconditional_interval": (guessed, _ONE_BRANCH),
        "unconditional_timesteps": (guessed, _ONE_BRANCH),
    }
    for name, (is_there, reason) in lacks.items():
        if getattr(cache, name) is not None and not is_there:
            return f"{name} cannot act on {class_name}: {reason}"
    return None


def check_kind(cache: HasParameters) -> None:
    """Makes sure that a cache's parameters are its kind's, and in range.

    Raises:
        SettingsError: one is not.
    """
    defaults = KINDS[cache.kind].defaults
    for name in sorted({name for kind in KINDS.values() for name in kind.defaults} - set(defaults)):
        if getattr(cache, name) is not None:
            owners = " or ".join(kind for kind, row in KINDS.items() if name in row.defaults)
            raise SettingsError(f"{name} of cache belongs to kind {owners}, got kind {cache.kind!r}")
    for name in defaults:
        value = getattr(cache, name)
        if value is not None:
            _CHECKS[name](name, value)
    if cache.kind == "magcache" and cache.mag_ratios is None:  # type: ignore[attr-defined]
        raise SettingsError(
            "cache magcache needs mag_ratios: the name of a model whose ratios are published "
            f"({', '.join(MAG_RATIOS)}), or the numbers that one run with diffusers' MagCacheConfig(calibrate=True) prints"
        )


def _whole(minimum: int) -> Callable[[str, object], None]:
    return lambda name, value: check_whole("cache", name, value, minimum=minimum)


def _number(low: float, high: float) -> Callable[[str, object], None]:
    return lambda name, value: check_number("cache", name, value, low=low, high=high)


def _check_flag(name: str, value: object) -> None:
    if not isinstance(value, bool):
        raise SettingsError(f"{name} of cache must be true or false, got {value!r}")


def _check_range(name: str, value: object) -> None:
    whole = isinstance(value, tuple) and len(value) == 2 and all(type(item) is int for item in value)
    if not whole or not value[0] < value[1]:  # type: ignore[index]
        raise SettingsError(f"{name} of cache must be two whole numbers, the lower one first, got {value!r}")


def _check_ratios(name: str, value: object) -> None:
    if isinstance(value, str):
        check_choice("cache", name, value, MAG_RATIOS)
    elif not isinstance(value, tuple) or len(value) < 2:
        raise SettingsError(
            f"{name} of cache must be a model's name or a list of at least 2 numbers, got {value!r}"
        )
    else:
        for item in value:
            check_number("cache", name, item, low=0.0, high=math.inf)


_CHECKS: Final[Mapping[str, Callable[[str, object], None]]] = {
    "threshold": _number(0.0, math.inf),
    "hit_rate": _number(0.0, 1.0),
    "interval": _whole(1),
    "temporal_interval": _whole(1),
    "cross_interval": _whole(1),
    "warmup_steps": _whole(1),
    "order": _whole(0),
    "lite": _check_flag,
    "max_skips": _whole(1),
    "retention": _number(0.0, 1.0),
    "mag_ratios": _check_ratios,
    "timesteps": _check_range,
    "unconditional_interval": _whole(1),
    "unconditional_timesteps": _check_range,
    "weight": _number(-math.inf, math.inf),
}
