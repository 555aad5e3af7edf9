"""What a search may choose from, for one model, workload and device.

A point of the space is a mapping from dimension to choice (plain strings and numbers, as Optuna wants them); `settings_of` turns it into
settings. Dimensions are independent but for the offload parameters, which exist only where their mode uses them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from workbench._errors import SettingsError
from workbench.devices import Device
from workbench.models import ModelSpec, Workload
from workbench.search.pins import Pins
from workbench.techniques import Settings
from workbench.techniques._together import together

Point = Mapping[str, str | int | bool]
"""A choice for every dimension that exists under the other choices."""

VERSION = "space-4"
"""Part of a study's name: Optuna refuses a stored study whose choices have changed."""

OFFLOADS: Mapping[str, dict[str, Any]] = {
    "none": {"mode": "none"},
    "model": {"mode": "model"},
    "text": {"mode": "group", "blocks_per_group": 4, "components": "text_encoder"},
    "sequential": {"mode": "sequential"},
    "group-1": {"mode": "group", "blocks_per_group": 1},
    "group-4": {"mode": "group", "blocks_per_group": 4},
    "group-1-stream": {"mode": "group", "blocks_per_group": 1, "stream": True},
}
"""Offload modes by the name that a point uses. `text` moves only what encodes the prompt, which computes once and is often the
largest component; the denoiser, which computes at every step, stays."""

TILES: Mapping[str, dict[str, int] | None] = {
    "off": None,
    "default": {},
    "small": {"tile_height": 128, "tile_width": 128, "stride_height": 96, "stride_width": 96},
}
"""Tilings of the autoencoder's decode: none, the size that its class ships with, and a size at which the longest clips fit. 128 and 96
pixels are whole latents for every compression up to 32."""

DECODE_CHUNKS = (0, 8, 2)
"""Frames that an image autoencoder decodes at a time; 0 leaves the pipeline's own number. 8 and 2 are diffusers' own examples."""

SAVE_AROUND_THE_VAE = ("tiles", "chunks", "vae_attention")
"""Dimensions whose later choices save memory while the autoencoder runs, and do nothing else but take time."""
VAE_STAGES = ("image_encode", "decode")

TEXT_QUANTIZATIONS = ("none", "int8wo", "fp8_storage")
DENOISER_QUANTIZATIONS = ("none", "int8wo", "fp8_storage", "nf4")
STEP_FRACTIONS = (1.0, 0.8, 0.6, 0.5)
"""Of the workload's steps: the guide that `techniques/steps.py` cites puts the balance at 25-30 of 50."""
WINDOW_FRACTIONS = (0.5, 0.25)
"""Of the clip's frames: the window of temporal chunks; the overlap is a quarter of the window."""
LONG_CLIP_TOKENS = 100_000
"""Tokens of a clip from which on the smaller window is tried: each window costs planning time, and only such clips need it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Space:
    """The choices per dimension, only those that the model and the device can take."""

    spec: ModelSpec
    workload: Workload
    dimensions: Mapping[str, tuple[str | int, ...]]
    pins: Pins = Pins.NONE

    @classmethod
    def of(cls, spec: ModelSpec, workload: Workload, device: Device, pins: Pins = Pins.NONE) -> Space:
        """The space for a workload on a device: a choice whose technique says that it does not apply is left out.

        Raises:
            SettingsError: nothing goes with what is pinned and forbidden.
        """
        pins.check(spec, device)
        full: dict[str, tuple[str | int, ...]] = {
            "tiles": _tiles(spec),
            "chunks": tuple(count for count in DECODE_CHUNKS if count < workload.frames),
            "vae_attention": (0, 1),
            "vae_dtype": _vae_dtypes(spec),
            "offload": _offloads(spec),
            "denoiser": DENOISER_QUANTIZATIONS,
            "text": TEXT_QUANTIZATIONS,
            "half": _halves(spec, device),
            "window": (0, *_windows(spec, workload)),
            "steps": _step_counts(workload),
        }
        whole = cls(spec=spec, workload=workload, dimensions=full, pins=pins)
        plain = whole._plain(device)
        allowed = {name: whole._allowed(name, plain, device) for name in full}
        return cls(spec=spec, workload=workload, dimensions=allowed, pins=pins)

    def _plain(self, device: Device) -> Point:
        """The first choices; where they do not go with what is pinned or forbidden, with one of them otherwise."""
        plain = {name: choices[0] for name, choices in self.dimensions.items()}
        one_otherwise = (
            {**plain, name: choice} for name, choices in self.dimensions.items() for choice in choices[1:]
        )
        for point in (plain, *one_otherwise):
            if self._applied(point, device) is not None:
                return point
        self.settings_of(plain).check(self.spec, device)  # says why
        raise SettingsError(f"nothing is left to search: forbidden are {', '.join(self.pins.forbidden)}")

    def _allowed(self, name: str, plain: Point, device: Device) -> tuple[str | int, ...]:
        """The choices of a dimension that apply; of those that come to the same settings, what is pinned being over them, the first."""
        by_settings: dict[str, str | int] = {}
        for choice in self.dimensions[name]:
            settings = self._applied({**plain, name: choice}, device)
            if settings is not None:
                by_settings.setdefault(settings.canonical(), choice)
        return tuple(by_settings.values())

    def _applied(self, point: Point, device: Device) -> Settings | None:
        """The settings of a point, None if they do not apply or are not allowed."""
        try:
            settings = self.settings_of(point)
            settings.check(self.spec, device)
        except SettingsError:
            return None
        return settings if self.pins.allow(settings.to_json(), self.workload.steps) else None

    def settings_of(self, point: Point) -> Settings:
        """The settings of a point.

        Raises:
            SettingsError: techniques of the point conflict.
        """
        data: dict[str, Any] = {}
        # "none" is said too: a profile must put a pipeline that was loaded on the CPU onto the GPU
        data["offload"] = self._named_components(OFFLOADS[str(point["offload"])])
        tiles = TILES[str(point["tiles"])]
        if tiles is not None:
            data["vae_tiling"] = tiles
        if point["chunks"]:
            data["decode_chunks"] = {"frames": int(point["chunks"])}
        if point["vae_attention"]:
            data["vae_attention_slicing"] = {"frames": int(point["vae_attention"])}
        quantization = {name: str(point["denoiser"]) for name in self._denoisers()}
        quantization |= {name: str(point["text"]) for name in self._named("text_encoder")}
        quantization = {name: kind for name, kind in quantization.items() if kind != "none"}
        if quantization:
            data["quantization"] = quantization
        halves = dict.fromkeys((*self._denoisers(), *together(self.spec)), str(point["half"]))
        dtypes = {"vae": str(point["vae_dtype"])} | halves
        changed = {
            name: kind
            for name, kind in dtypes.items()
            if kind not in ("documented", self.spec.component(name).dtype)
        }
        if changed:
            data["dtype"] = changed
        if point["window"]:
            window = int(point["window"])
            data["temporal_chunks"] = {"frames": window, "overlap": _overlap(self.spec, window)}
        if point["steps"] != self.workload.steps:
            data["steps"] = {"count": point["steps"]}
        return Settings.parse(self.pins.over(data))

    def _named_components(self, offload: Mapping[str, Any]) -> dict[str, Any]:
        """Offload parameters with the role in `components` replaced by the model's own component names."""
        role = offload.get("components")
        return {**offload, "components": self._named(role)} if role else dict(offload)

    def _denoisers(self) -> tuple[str, ...]:
        return self.spec.denoisers

    def _named(self, prefix: str) -> list[str]:
        return [name for name in self.spec.component_names() if name.startswith(prefix)]


def _offloads(spec: ModelSpec) -> tuple[str, ...]:
    """The offload modes; one that moves the text encoders only needs some."""
    return tuple(
        name
        for name, offload in OFFLOADS.items()
        if offload.get("components") != "text_encoder" or spec.text_encoders
    )


def _tiles(spec: ModelSpec) -> tuple[str, ...]:
    """All tilings but for Wan's autoencoder: it decodes frame by frame, so that its own tiles take little at any length."""
    own = ("off", "default")
    return own if spec.component("vae").class_name == "AutoencoderKLWan" else tuple(TILES)


def _vae_dtypes(spec: ModelSpec) -> tuple[str, ...]:
    """The documented dtype, and bf16 beside a documented fp32."""
    documented = spec.component("vae").dtype
    return (documented, "bf16") if documented == "fp32" else (documented,)


def _halves(spec: ModelSpec, device: Device) -> tuple[str, ...]:
    """The documented dtype of the denoiser, and fp16 beside bf16 on a card without bf16 units and fused bf16 attention."""
    documented = {spec.component(name).dtype for name in spec.denoisers}
    return (
        ("documented", "fp16")
        if documented == {"bf16"} and "bf16" not in device.dense_flops
        else ("documented",)
    )


def _step_counts(workload: Workload) -> tuple[int, ...]:
    counts = [max(1, round(workload.steps * fraction)) for fraction in STEP_FRACTIONS]
    return tuple(dict.fromkeys(counts))


def _windows(spec: ModelSpec, workload: Workload) -> tuple[int, ...]:
    """Windows in video frames of the form that the model makes, shorter than the clip."""
    latent = _latent_frames(spec, workload.frames)
    multiple = spec.size_multiple
    tokens = latent * (workload.height // multiple) * (workload.width // multiple)
    fractions = WINDOW_FRACTIONS if tokens > LONG_CLIP_TOKENS else WINDOW_FRACTIONS[:1]
    windows = (_frames(spec, max(2, round(latent * fraction))) for fraction in fractions)
    return tuple(window for window in windows if window < workload.frames)


def _overlap(spec: ModelSpec, window: int) -> int:
    """About a quarter of the window, in whole latent frames."""
    return spec.temporal_factor * max(1, _latent_frames(spec, window) // 4)


def _latent_frames(spec: ModelSpec, frames: int) -> int:
    return (frames - spec.frame_remainder) // spec.temporal_factor + spec.frame_remainder


def _frames(spec: ModelSpec, latent: int) -> int:
    return (latent - spec.frame_remainder) * spec.temporal_factor + spec.frame_remainder
