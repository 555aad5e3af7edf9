"""What is run: scenes of the test split, settings of single techniques, and combinations that no fit sees. Pure but for `Settings`."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from workbench._errors import SettingsError
from workbench.miniature import world
from workbench.models import Workload, get
from workbench.quality import Sensitivity, pattern_of
from workbench.techniques import Settings

FIT, HELD_OUT, EXACT, CURVE, REFERENCE = "fit", "held out", "exact", "curve", "reference"
"""What a case is for: making the records; checking what they predict; showing that the output stays; a figure; to be compared with."""

ROW: Final = get("miniature")
FRAMES: Final = ROW.defaults.frames
LONG: Final = 33
"""Frames of a clip of nine latent frames, which windows of three cut without a remainder at overlaps of 0, 1 and 2."""
COMBINATIONS: Final = 48
OTHER_SEED: Final = 1000
"""Added to a clip's seed for one that has nothing to do with it."""


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How much of the suite is run."""

    scenes_per_kind: int = 1
    kinds: tuple[str, ...] = tuple(world.KINDS)
    """Kinds of scene."""
    steps: int = ROW.defaults.steps
    """Of the un-optimised run; counts of the steps technique are shares of it."""
    combinations: int = COMBINATIONS
    every: int = 1
    """Of the single settings that are not by default in every run, one in so many."""
    seed: int = 0


MOST, LEAST = "most sensitive first", "least sensitive first"

FULL: Final = Sizes()
QUICK: Final = Sizes(kinds=("slow", "fast"), steps=6, combinations=8, every=3)


@dataclass(frozen=True, kw_only=True)
class Scene:
    """One prompt, and the seed of its noise."""

    name: str
    kind: str
    prompt: str
    labels: Mapping[str, str] = field(hash=False)
    seed: int


def scenes(sizes: Sizes) -> tuple[Scene, ...]:
    """The first scenes of the test split of each kind, in the order of the kinds."""
    wanted = dict.fromkeys(sizes.kinds, sizes.scenes_per_kind)
    found: dict[str, list[Scene]] = {kind: [] for kind in sizes.kinds}
    number = 0
    while any(wanted.values()):
        made = world.scene("test", number)
        if wanted.get(made.kind, 0):
            wanted[made.kind] -= 1
            found[made.kind].append(
                Scene(
                    name=f"{made.kind}-{number}",
                    kind=made.kind,
                    prompt=world.caption(made),
                    labels=made.labels,
                    seed=sizes.seed + number,
                )
            )
        number += 1
    return tuple(scene for kind in sizes.kinds for scene in found[kind])


@dataclass(frozen=True, kw_only=True)
class Case:
    """One settings of the suite, run for all scenes."""

    use: str
    settings: Mapping[str, Any] = field(default_factory=dict, hash=False)
    steps: int
    """Of the workload: its un-optimised run has these."""
    frames: int = FRAMES
    offset: int = 0
    """Added to the seeds; 0 but for clips that are to be unrelated."""
    line: tuple[str, int] | None = None
    """The curve of a figure that it belongs to and its place there, where the settings do not say so themselves."""

    @property
    def id(self) -> str:
        """Short name that equal cases share."""
        text = json.dumps(
            [Settings.parse(dict(self.settings)).to_json(), self.steps, self.frames, self.offset],
            sort_keys=True,
        )
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @property
    def reference(self) -> Case:
        """The un-optimised run that it is compared with."""
        return dataclasses.replace(self, use=REFERENCE, settings={}, offset=0, line=None)

    @property
    def together(self) -> bool:
        """Whether all prompts can be one call: the first-block cache decides by the data of all of them at once."""
        return self.settings.get("cache", {}).get("kind") != "first_block"

    def workload(self) -> Workload:
        """What the un-optimised run makes."""
        return Workload.for_model("miniature", frames=self.frames, steps=self.steps)


def cases(sizes: Sizes) -> tuple[Case, ...]:
    """Everything, references first; equal cases once."""
    made = [*_references(sizes), *_singles(sizes), *_combinations(sizes)]
    return tuple({case.id: case for case in made}.values())


def _references(sizes: Sizes) -> list[Case]:
    plain = Case(use=REFERENCE, steps=sizes.steps)
    return [
        plain,
        dataclasses.replace(plain, offset=OTHER_SEED),
        dataclasses.replace(plain, steps=2 * sizes.steps),
        dataclasses.replace(plain, frames=LONG),
    ]


# --- single techniques ----------------------------------------------------------------------------------------------

_SHARES: Final = (0.9, 0.72, 0.5, 0.32, 0.24)
"""Of the un-optimised run's steps: 22, 18, 12, 8, 6 of 25, and 45, 36, 25, 16, 12 of 50."""
_KINDS: Final = (
    *("int8wo", "int8dq", "fp8wo", "fp8_storage", "int4wo", "nf4", "nf4_double", "fp4"),
    *("gguf_q8_0", "gguf_q5_0", "gguf_q4_0"),
)
_BLOCKS_0_4: Final = {"kind": "nf4", "skip": [r"^blocks\.0\.", r"^blocks\.4\."]}
_NO_FFN: Final = {"kind": "nf4", "skip": [r"\.ffn\."]}


def _quantised(component: str, *choices: Any) -> list[dict[str, Any]]:
    return [{"quantization": {component: choice}} for choice in choices]


def _tiles(size: int, stride: int) -> dict[str, Any]:
    return {
        "vae_tiling": {
            "tile_height": size,
            "tile_width": size,
            "stride_height": stride,
            "stride_width": stride,
        }
    }


def _fitted() -> list[dict[str, Any]]:
    """Settings of one technique each, but for steps, that the model of quality is made from."""
    layers = ("configured", "all")
    return [
        *_quantised("transformer", *_KINDS, _BLOCKS_0_4, _NO_FFN),
        *_quantised("transformer", *({"kind": kind, "layers": name} for kind in ("int8wo", "nf4") for name in layers)),
        *_quantised("text_encoder", *_KINDS),
        *_quantised("vae", "fp8_storage"),
        *({"dtype": {name: dtype}} for name in ("transformer", "text_encoder", "vae") for dtype in ("bf16", "fp16")),
        *({"cache": {"kind": "first_block", "threshold": value}} for value in (0.05, 0.1, 0.2, 0.4)),
        *({"cache": {"kind": "taylorseer", "interval": value}} for value in (2, 4, 6)),
        *({"cache": {"kind": "taylorseer", "interval": value, "lite": False}} for value in (2, 4, 6)),
        *({"cache": {"kind": "pab", "interval": value}} for value in (2, 4)),
        *({"cache": {"kind": "fastercache", "interval": value}} for value in (2, 4)),
        *({"temporal_chunks": {"frames": 13, "overlap": value}} for value in (0, 4, 8)),
        *({"temporal_chunks": {"frames": 9, "overlap": value}} for value in (0, 4, 8)),
        *({"temporal_chunks": {"frames": 5, "overlap": value}} for value in (0, 4)),
        *(_tiles(*sizes) for sizes in ((48, 32), (48, 24), (32, 24), (32, 16))),
    ]  # fmt: skip


_ALWAYS: Final = ("int8wo", "nf4", "fp8_storage", "bf16", "taylorseer", "first_block", "vae_tiling")
"""What every run has of the single settings, so that the smallest one shows something."""
_EXACT: Final[tuple[Mapping[str, Any], ...]] = (
    {"cfg": {"mode": "batched"}},
    {"attention": {"backend": "math"}},
    {"attention": {"backend": "flash"}},
    {"fused_qkv": {}},
    {"vae_slicing": {}},
)


def _singles(sizes: Sizes) -> Iterator[Case]:
    fitted = _fitted()
    kept = [
        settings
        for number, settings in enumerate(fitted)
        if number % sizes.every == 0 or any(word in json.dumps(settings) for word in _ALWAYS)
    ]
    for base in (sizes.steps, 2 * sizes.steps):
        for share in _SHARES:
            yield Case(use=FIT, steps=base, settings={"steps": {"count": max(1, int(base * share))}})
    yield from (Case(use=FIT, steps=sizes.steps, settings=settings) for settings in kept)
    yield from (Case(use=EXACT, steps=sizes.steps, settings=settings) for settings in _EXACT[:: sizes.every])
    for overlap in (0, 4, 8):
        chunks = {"temporal_chunks": {"frames": 9, "overlap": overlap}}
        yield Case(use=CURVE, steps=sizes.steps, frames=LONG, settings=chunks)


def mixed(sizes: Sizes, scan: Sensitivity) -> Iterator[Case]:
    """nf4 with ever more blocks left as they are: those that a scan finds most sensitive, and, against it, those that it finds least."""
    order = scan.order("nf4")
    for count in range(1, len(order), sizes.every):
        for name, kept in ((MOST, order[:count]), (LEAST, order[-count:])):
            skip = [pattern_of(layer) for layer in kept]
            settings = {"quantization": {scan.component: {"kind": "nf4", "skip": skip}}}
            yield Case(use=CURVE, steps=sizes.steps, settings=settings, line=(name, count))


# --- combinations ---------------------------------------------------------------------------------------------------


def _axes(steps: int) -> tuple[Sequence[Mapping[str, Any]], ...]:
    """Levels to combine, a line for each thing that is changed. Counts, intervals and thresholds lie between those that are fitted too."""
    return (
        [{"steps": {"count": max(1, int(steps * share))}} for share in (0.8, 0.6, 0.5, 0.4)],
        _quantised(
            "transformer", "int8wo", "int8dq", "fp8wo", "fp8_storage", "int4wo", "nf4", "fp4", _NO_FFN, {"kind": "nf4", "layers": "all"}
        ),
        _quantised("text_encoder", "int8wo", "nf4", "fp4", "fp8_storage"),
        [*_quantised("vae", "fp8_storage"), {"dtype": {"vae": "bf16"}}],
        [{"dtype": {"transformer": "bf16"}}, {"dtype": {"text_encoder": "bf16"}}],
        [
            *({"cache": {"kind": "taylorseer", "interval": value}} for value in (2, 3, 5)),
            *({"cache": {"kind": "taylorseer", "interval": value, "lite": False}} for value in (3, 5)),
            {"cache": {"kind": "first_block", "threshold": 0.15}},
            {"cache": {"kind": "pab", "interval": 3}},
            {"cache": {"kind": "fastercache", "interval": 3}},
        ],
        [{"temporal_chunks": {"frames": frames, "overlap": overlap}} for frames, overlap in ((13, 4), (9, 0), (9, 8), (5, 4))],
        [_tiles(48, 32), _tiles(48, 24), _tiles(32, 16)],
    )  # fmt: skip


def _combinations(sizes: Sizes) -> list[Case]:
    """Two to four changes each, drawn by a fixed seed; the draw knows nothing of any result."""
    chance = random.Random(20)
    axes = _axes(sizes.steps)
    found: dict[str, Case] = {}
    while len(found) < sizes.combinations:
        chosen = chance.sample(range(len(axes)), chance.choice((2, 2, 3, 3, 4)))
        settings = _merged([chance.choice(list(axes[axis])) for axis in sorted(chosen)])
        if len(settings) < 2:
            continue  # one technique for two components is no combination of techniques
        case = Case(use=HELD_OUT, steps=sizes.steps, settings=settings)
        try:
            found.setdefault(case.id, case)
        except SettingsError:
            continue  # a pair that does not go together
    return list(found.values())


def _merged(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for part in parts:
        for name, parameters in part.items():
            merged[name] = {**merged.get(name, {}), **parameters}
    return merged
