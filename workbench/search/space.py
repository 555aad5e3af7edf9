"""What a search may choose from, for one model, workload and device.

A point of the space is a mapping from dimension to choice (plain strings and numbers, as Optuna wants them); `settings_of` turns it into
settings. A dimension that has a condition (`_choices.CONDITIONS`) exists only where it holds: the unit that moves belongs to offloading
in groups, the interval to a cache that has one.

A space is small by default: all of it can be composed, and what it takes to trace is what a plan has always taken. `more` adds what costs
traces of its own: further kinds of quantisation, blocks that are spared, caches, SageAttention, the other way of guidance.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from workbench._errors import SettingsError
from workbench.devices import Device
from workbench.models import ModelSpec, Workload
from workbench.search import _choices as can
from workbench.search._choices import SAVE_AROUND_THE_VAE as SAVE_AROUND_THE_VAE
from workbench.search._choices import VAE_STAGES as VAE_STAGES
from workbench.search._choices import Choice, Point
from workbench.search.pins import Pins
from workbench.techniques import AbstractTechnique, Settings, get

VERSION = "space-5"
"""Part of a study's name: Optuna refuses a stored study whose choices have changed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Space:
    """The choices per dimension, only those that the model and the device can take."""

    spec: ModelSpec
    workload: Workload
    dimensions: Mapping[str, tuple[Choice, ...]]
    """In an order in which what decides whether a dimension exists comes before it."""
    pins: Pins = Pins.NONE
    blocks: int = 0
    """Blocks of the denoiser; 0 where that is not known, and then none stay or are spared."""
    order: tuple[int, ...] = ()
    """Numbers of the denoiser's blocks, most sensitive first; empty where that is not known."""
    lean: Mapping[str, tuple[Choice, ...]] = field(default_factory=dict)
    """Of `dimensions`: the choices that all can be composed. Those beside them take traces of their own."""
    _techniques: dict[tuple[Any, ...], AbstractTechnique | None] = field(
        default_factory=dict, compare=False, repr=False
    )

    @classmethod
    def of(
        cls,
        spec: ModelSpec,
        workload: Workload,
        device: Device,
        pins: Pins = Pins.NONE,
        *,
        blocks: int = 0,
        more: bool = False,
        order: Sequence[int] = (),
    ) -> Space:
        """The space for a workload on a device: a choice whose technique says that it does not apply is left out.

        Args:
            blocks: of the denoiser, as group offloading finds them.
            more: whether choices that take traces of their own are in it.
            order: numbers of the denoiser's blocks, most sensitive first, from a scan of the model.

        Raises:
            SettingsError: nothing goes with what is pinned and forbidden.
        """
        pins.check(spec, device)
        lean = _lean(spec, workload, device, blocks)
        full = _with_more(lean, spec, blocks) if more else lean
        whole = cls(
            spec=spec, workload=workload, dimensions=full, pins=pins, blocks=blocks, order=tuple(order)
        )
        plain = whole._plain(device)
        found = {name: whole._allowed(name, plain, device) for name in full}
        allowed = {name: choices for name, choices in found.items() if choices}
        kept = {
            name: tuple(c for c in choices if c in lean.get(name, choices[:1])) or choices[:1]
            for name, choices in allowed.items()
        }
        return replace(whole, dimensions=allowed, lean=kept)

    def only(self, **choices: tuple[Choice, ...]) -> Space:
        """The same with fewer choices of some dimensions, those of them that it has."""
        fewer = {
            name: tuple(choice for choice in own if choice in choices.get(name, own)) or own[:1]
            for name, own in self.dimensions.items()
        }
        lean = {name: tuple(c for c in self.lean[name] if c in own) or own[:1] for name, own in fewer.items()}
        return replace(self, dimensions=fewer, lean=lean)

    @property
    def has_more(self) -> bool:
        """Whether there are choices that take traces of their own."""
        return any(len(choices) > len(self.lean[name]) for name, choices in self.dimensions.items())

    # --- points -------------------------------------------------------------------------------------------------------

    @property
    def plain(self) -> Point:
        """The first choice of everything."""
        return self.completed({})

    def exists(self, name: str, point: Point) -> bool:
        """Whether a dimension exists at a point, of which the dimensions before it are known."""
        condition = can.CONDITIONS.get(name)
        return condition is None or condition[1](point)

    def completed(self, chosen: Point) -> Point:
        """A whole point with these choices, as far as their dimensions exist, and the first of everything else."""
        point: dict[str, Choice] = {}
        for name, choices in self.dimensions.items():
            if self.exists(name, point):
                point[name] = chosen.get(name, choices[0])
        return point

    def at(self, name: str, choice: Choice, point: Point | None = None) -> Point:
        """A point with one dimension chosen otherwise, and with what makes that dimension exist; from the plain one if none is given."""
        start = dict(point) if point is not None else {}
        context = {} if self.exists(name, self.completed(start)) else dict(can.CONDITIONS[name][0])
        if name == "overlap" and not start.get("window"):
            context = {"window": self.dimensions["window"][-1]}
        return self.completed({**start, **context, name: choice})

    def points(self, fixed: Mapping[str, tuple[Choice, ...]] | None = None) -> Iterator[Point]:
        """Every point of the lean part.

        Args:
            fixed: dimensions with other choices than those.
        """
        choices = {**self.lean, **{n: c for n, c in (fixed or {}).items() if n in self.lean}}
        conditional = [name for name in choices if name in can.CONDITIONS]
        free = [name for name in choices if name not in can.CONDITIONS]
        for combination in itertools.product(*(choices[name] for name in free)):
            yield from self._under(dict(zip(free, combination, strict=True)), conditional, choices)

    def _under(
        self, point: dict[str, Choice], names: list[str], choices: Mapping[str, tuple[Choice, ...]]
    ) -> Iterator[Point]:
        for number, name in enumerate(names):
            if self.exists(name, point):
                for choice in choices[name]:
                    yield from self._under({**point, name: choice}, names[number + 1 :], choices)
                return
        yield {name: point[name] for name in self.dimensions if name in point}

    # --- what is left out ---------------------------------------------------------------------------------------------

    def _plain(self, device: Device) -> Point:
        """The first choices; where they do not go with what is pinned or forbidden, with one of them otherwise."""
        plain = self.plain
        one_otherwise = (
            self.at(name, choice) for name, choices in self.dimensions.items() for choice in choices[1:]
        )
        for point in (plain, *one_otherwise):
            if self._applied(point, device) is not None:
                return point
        self.settings_of(plain).check(self.spec, device)  # says why
        raise SettingsError(f"nothing is left to search: forbidden are {', '.join(self.pins.forbidden)}")

    def _allowed(self, name: str, plain: Point, device: Device) -> tuple[Choice, ...]:
        """The choices of a dimension that apply; of those that come to the same settings, what is pinned being over them, the first."""
        by_settings: dict[str, Choice] = {}
        for choice in self.dimensions[name]:
            settings = self._applied(self.at(name, choice, plain), device)
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

    # --- settings -----------------------------------------------------------------------------------------------------

    def settings_of(self, point: Point) -> Settings:
        """The settings of a point.

        Raises:
            SettingsError: techniques of the point conflict.
        """
        pinned = self.pins.settings.techniques
        ids = {technique.id for technique in pinned}
        chosen = [self._technique(name, point) for name in _TECHNIQUES if name not in ids]
        return Settings.of((*pinned, *(technique for technique in chosen if technique is not None)))

    def _technique(self, name: str, point: Point) -> AbstractTechnique | None:
        """One technique as a point has it, made once for equal choices; None where it is not used."""
        dimensions, parameters = _TECHNIQUES[name]
        key = (name, *map(point.get, dimensions))
        if key not in self._techniques:
            found = parameters(self, dict(zip(dimensions, key[1:], strict=True)))
            self._techniques[key] = None if found is None else get(name).parse(found)
        return self._techniques[key]


def _lean(spec: ModelSpec, workload: Workload, device: Device, blocks: int) -> dict[str, tuple[Choice, ...]]:
    """Dimensions that share the traces of a plan: each of their choices is traced once, whatever the others are."""
    return {
        "tiles": can.tiles(spec),
        "chunks": tuple(count for count in can.DECODE_CHUNKS if count < workload.frames),
        "vae_attention": (0, 1),
        "vae_dtype": can.vae_dtypes(spec),
        "offload": can.offloads(spec),
        "unit": can.UNITS,
        "stream": can.STREAMS,
        "resident": can.resident_counts(blocks) if blocks > 1 else (0,),
        "disk": (0, 1),
        "denoiser": can.DENOISER_QUANTIZATIONS,
        "text": can.TEXT_QUANTIZATIONS if spec.text_encoders else ("none",),
        "half": can.halves(spec, device),
        "window": (0, *can.windows(spec, workload)),
        "steps": can.step_counts(workload),
    }


def _with_more(
    lean: Mapping[str, tuple[Choice, ...]], spec: ModelSpec, blocks: int
) -> dict[str, tuple[Choice, ...]]:
    """The whole space: the lean one first, so that first choices stay first."""
    kinds = (*can.DENOISER_QUANTIZATIONS, *can.MORE_QUANTIZATIONS)
    return {
        **lean,
        "unit": (*can.UNITS, *can.MORE_UNITS),
        "denoiser": tuple(dict.fromkeys(kinds)),
        "text": tuple(dict.fromkeys((*lean["text"], *can.MORE_QUANTIZATIONS)))
        if spec.text_encoders
        else ("none",),
        "spared": can.SPARED_SHARES if blocks > 1 else (0.0,),
        "overlap": (*can.OVERLAP_SHARES, *can.MORE_OVERLAP_SHARES),
        "cfg": ("own", "batched", "sequential"),
        "attention": can.ATTENTIONS,
        "cache": can.caches(spec),
        "taylorseer_interval": can.INTERVALS["taylorseer"],
        "pab_interval": can.INTERVALS["pab"],
        "fused": (0, 1),
        "compile": can.COMPILATIONS,
        "allocator": ("default", "expandable"),
    }


def _offload(space: Space, point: Mapping[str, Any]) -> dict[str, Any]:
    chosen = (point["unit"] or "1", point["stream"] or "off", point["resident"] or 0, point["disk"] or 0)
    return can.offload_of(space.spec, point["offload"], *chosen)


def _quantization(space: Space, point: Mapping[str, Any]) -> dict[str, Any] | None:
    chosen = (point["denoiser"], point["spared"] or 0.0, point["text"])
    return can.quantization_of(space.spec, *chosen, space.blocks, space.order) or None


def _windows(space: Space, point: Mapping[str, Any]) -> dict[str, Any] | None:
    window, share = point["window"], point["overlap"] or can.OVERLAP_SHARES[0]
    overlap = can.overlap_of(space.spec, window, share) if window else 0
    return {"frames": window, "overlap": overlap} if window else None


def _cache(space: Space, point: Mapping[str, Any]) -> dict[str, Any] | None:
    if point["cache"] in (None, "none"):
        return None
    return can.cache_of(space.spec, point["cache"], point["taylorseer_interval"], point["pab_interval"])


_Parameters = Callable[[Space, Mapping[str, Any]], Any]
_TECHNIQUES: Mapping[str, tuple[tuple[str, ...], _Parameters]] = {
    "allocator": (
        ("allocator",),
        lambda _, point: {"expandable_segments": True} if point["allocator"] == "expandable" else None,
    ),
    "dtype": (
        ("half", "vae_dtype"),
        lambda space, point: can.dtype_of(space.spec, point["half"], point["vae_dtype"]) or None,
    ),
    "fused_qkv": (("fused",), lambda _, point: {} if point["fused"] else None),
    "quantization": (("denoiser", "spared", "text"), _quantization),
    "attention": (
        ("attention",),
        lambda _, point: {"backend": "sage"} if point["attention"] == "sage" else None,
    ),
    "compile": (
        ("compile",),
        lambda _, point: {"blocks": {}, "whole": {"regional": False}}.get(point["compile"]),
    ),
    "vae_tiling": (("tiles",), lambda _, point: can.TILES[point["tiles"]]),
    "decode_chunks": (("chunks",), lambda _, point: {"frames": point["chunks"]} if point["chunks"] else None),
    "vae_attention_slicing": (
        ("vae_attention",),
        lambda _, point: {"frames": point["vae_attention"]} if point["vae_attention"] else None,
    ),
    "steps": (
        ("steps",),
        lambda space, point: {"count": point["steps"]} if point["steps"] != space.workload.steps else None,
    ),
    "cache": (("cache", "taylorseer_interval", "pab_interval"), _cache),
    "cfg": (
        ("cfg",),
        lambda _, point: {"mode": point["cfg"]} if point["cfg"] in ("batched", "sequential") else None,
    ),
    "temporal_chunks": (("window", "overlap"), _windows),
    "offload": (("offload", "unit", "stream", "resident", "disk"), _offload),
}
"""The dimensions that a technique is made of, and its parameters from their choices (None where a dimension does not exist), or None
where it is not used. One that is not here is used only where it is pinned."""
