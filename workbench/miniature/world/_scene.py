"""What happens in a clip, as plain values, and how a clip's number becomes one. Lengths are pixels, times are frames."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from workbench._errors import InputError, UnknownNameError

FRAMES = 17
SIZE = 64

COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "white")
SHAPES = ("circle", "square", "triangle", "star", "ring")
DIRECTIONS = ("left", "right", "up", "down", "still")
PLACES = ("night", "sea", "room", "forest", "evening")
SPLITS = ("train", "validation", "test")

KINDS: Mapping[str, float] = MappingProxyType(
    {
        "static": 0.10,
        "slow": 0.20,
        "fast": 0.18,
        "several": 0.14,
        "occlusion": 0.10,
        "colour": 0.08,
        "size": 0.08,
        "pan": 0.07,
        "cut": 0.05,
    }
)
"""Kind of scene -> its share of every split."""

CUT_AT = 9
"""First frame of the second shot: where a latent frame of a 4x causal VAE begins (1 + 4 + 4)."""

_VECTORS = {
    "left": (-1.0, 0.0),
    "right": (1.0, 0.0),
    "up": (0.0, -1.0),
    "down": (0.0, 1.0),
    "still": (0.0, 0.0),
}
_SLOW, _MEDIUM, _FAST = (0.7, 1.1), (1.3, 1.8), (2.0, 2.5)
_USUAL, _BIG, _SMALL = (8.0, 10.0), (12.0, 14.0), (4.5, 5.5)


@dataclass(frozen=True, kw_only=True, slots=True)
class Thing:
    """One shape that moves in a straight line at constant speed."""

    shape: str
    colour: str
    turns: str | None = None
    """The colour at the end; it changes evenly in the middle half of the clip. None: it keeps its own."""
    x: float
    """Centre at the middle of its shot, in the world; the camera is at the origin then."""
    y: float
    direction: str
    speed: float = 0.0
    """Pixels per frame."""
    pace: str = ""
    """The word for the speed: `slowly`, `quickly`, or none."""
    radius: float
    """Of the circle around it, at the first frame."""
    final_radius: float
    """The same at the last frame."""
    big: bool = False

    def velocity(self) -> tuple[float, float]:
        """Pixels per frame to the right and down."""
        dx, dy = _VECTORS[self.direction]
        return dx * self.speed, dy * self.speed


@dataclass(frozen=True, kw_only=True, slots=True)
class Shot:
    """One take: a place, its things (the first is the subject and is drawn in front), and a camera."""

    place: str
    phase: tuple[int, int]
    """Where in the place the camera looks: pixels by which the background is moved."""
    things: tuple[Thing, ...]
    bar: tuple[str, float, float] | None = None
    """A gray bar before all things: `vertical` or `horizontal`, its middle and its width. None: no bar."""
    camera: str = "still"
    camera_speed: float = 0.0

    def camera_velocity(self) -> tuple[float, float]:
        """Pixels per frame to the right and down; things on the screen move the other way."""
        dx, dy = _VECTORS[self.camera]
        return dx * self.camera_speed, dy * self.camera_speed


@dataclass(frozen=True, kw_only=True, slots=True)
class Scene:
    """A clip: one shot, or two with a cut at frame `CUT_AT`."""

    kind: str
    shots: tuple[Shot, ...]

    @property
    def subject(self) -> Thing:
        """What the caption names first: the largest thing of the first shot."""
        return self.shots[0].things[0]

    @property
    def labels(self) -> dict[str, str]:
        """What a caption-follower must get right: `colour` (at first), `shape` and `direction` (in the world) of the subject."""
        subject = self.subject
        return {"colour": subject.colour, "shape": subject.shape, "direction": subject.direction}


def scene(split: str, number: int) -> Scene:
    """The scene of that number, from 0, in `train`, `validation` or `test`; splits draw from separate streams of random numbers.

    Raises:
        UnknownNameError: no such split.
        InputError: a negative number.
    """
    if split not in SPLITS:
        raise UnknownNameError.of("split", split, SPLITS)
    if number < 0:
        raise InputError(f"number of a clip must be 0 or more, got {number}")
    rng = np.random.default_rng((SPLITS.index(split), number))
    kind = str(rng.choice(list(KINDS), p=list(KINDS.values())))
    shots = (_shot(rng, kind),) if kind != "cut" else _two_shots(rng)
    return Scene(kind=kind, shots=shots)


def _two_shots(rng: np.random.Generator) -> tuple[Shot, Shot]:
    """Two takes that differ in place and colour, so that the cut is seen."""
    first = _shot(rng, "cut")
    places = [place for place in PLACES if place != first.place]
    colours = [colour for colour in COLOURS if colour != first.things[0].colour]
    second = _shot(rng, "cut", place=_one(rng, places), colour=_one(rng, colours))
    return first, second


def _shot(rng: np.random.Generator, kind: str, place: str | None = None, colour: str | None = None) -> Shot:
    place = place or _one(rng, PLACES)
    phase = (16 * int(rng.integers(4)), 16 * int(rng.integers(4)))
    subject = _subject(rng, kind, colour or _one(rng, COLOURS))
    if kind == "several":
        return Shot(place=place, phase=phase, things=(subject, *_company(rng, subject)))
    if kind == "occlusion":
        sideways = subject.direction in ("left", "right")
        middle = (subject.x if sideways else subject.y) + float(rng.uniform(-3, 3))
        bar = ("vertical" if sideways else "horizontal", middle, float(rng.uniform(8, 11)))
        return Shot(place=place, phase=phase, things=(subject,), bar=bar)
    if kind == "pan":
        camera = _one(rng, DIRECTIONS[:4])
        return Shot(
            place=place, phase=phase, things=(subject,), camera=camera, camera_speed=_in(rng, _MEDIUM)
        )
    return Shot(place=place, phase=phase, things=(subject,))


def _subject(rng: np.random.Generator, kind: str, colour: str) -> Thing:
    big = kind not in ("several", "size") and bool(rng.random() < 0.4)
    if kind == "several":
        big = True  # so that nobody takes its company for it
    radius = final = _in(rng, _BIG if big else _USUAL)
    if kind == "size":
        radius, final = _in(rng, (5.5, 7.0)), _in(rng, (13.0, 15.0))
        if rng.random() < 0.5:
            radius, final = final, radius
    still = kind in ("static", "size", "pan") or (kind == "colour" and bool(rng.random() < 0.5))
    direction = "still" if still else _one(rng, DIRECTIONS[:4])
    speeds = {"slow": (_SLOW, "slowly"), "fast": (_FAST, "quickly"), "cut": (_FAST, "quickly")}
    span, pace = speeds.get(kind, (_MEDIUM, ""))
    speed = 0.0 if still else _in(rng, span)
    # half of the way that the subject goes on the screen, on either side of the middle
    reach = {"pan": 8 * _MEDIUM[1], "cut": speed * 4}.get(kind, speed * 8)
    x, y = _middle(rng, direction if kind != "pan" else "any", reach, max(radius, final))
    others = [other for other in COLOURS if other != colour]
    return Thing(
        shape=_one(rng, SHAPES),
        colour=colour,
        turns=_one(rng, others) if kind == "colour" else None,
        x=x,
        y=y,
        direction=direction,
        speed=speed,
        pace="" if still else pace,
        radius=radius,
        final_radius=final,
        big=big,
    )


def _middle(rng: np.random.Generator, direction: str, reach: float, radius: float) -> tuple[float, float]:
    """A middle of the way from which the thing's centre keeps three quarters of its radius from every edge."""
    room = SIZE / 2 - 0.75 * radius
    along = max(room - reach, 0.0)
    wide = along if direction in ("left", "right", "any") else room * 0.75
    high = along if direction in ("up", "down", "any") else room * 0.75
    return SIZE / 2 + float(rng.uniform(-wide, wide)), SIZE / 2 + float(rng.uniform(-high, high))


def _company(rng: np.random.Generator, subject: Thing) -> tuple[Thing, ...]:
    """One or two small things of other colours, in corners that differ and away from the subject's middle."""
    colours = [colour for colour in COLOURS if colour != subject.colour]
    chosen = rng.permutation(len(colours))
    corners = sorted(
        [(x, y) for x in (12.0, 52.0) for y in (12.0, 52.0)],
        key=lambda corner: -float(np.hypot(corner[0] - subject.x, corner[1] - subject.y)),
    )
    things = []
    for number in range(int(rng.integers(1, 3))):
        radius = _in(rng, _SMALL)
        direction = _one(rng, DIRECTIONS)
        x, y = corners[number]
        things.append(
            Thing(
                shape=_one(rng, SHAPES),
                colour=colours[int(chosen[number])],
                x=x + float(rng.uniform(-3, 3)),
                y=y + float(rng.uniform(-3, 3)),
                direction=direction,
                speed=0.0 if direction == "still" else _in(rng, _SLOW),
                radius=radius,
                final_radius=radius,
            )
        )
    return tuple(things)


def _one(rng: np.random.Generator, values: tuple[str, ...] | list[str]) -> str:
    return values[int(rng.integers(len(values)))]


def _in(rng: np.random.Generator, span: tuple[float, float]) -> float:
    return float(rng.uniform(*span))
