"""Draws a scene. Edges are anti-aliased by the exact distance to them; backgrounds are smooth, dark and repeat without a seam.

Arrays: [F, H, W] frames, rows, columns; a trailing 3 is red, green, blue in 0..1.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from workbench.miniature.world._scene import CUT_AT, FRAMES, SIZE, Scene, Shot, Thing

Array = npt.NDArray[np.float32]

PALETTE: Mapping[str, tuple[int, int, int]] = MappingProxyType(
    {
        "red": (226, 44, 48),
        "orange": (248, 138, 24),
        "yellow": (250, 224, 60),
        "green": (58, 196, 84),
        "blue": (52, 116, 242),
        "purple": (142, 62, 206),
        "pink": (250, 146, 196),
        "white": (240, 242, 246),
        "gray": (128, 130, 136),
    }
)
"""Colour word -> sRGB of a thing's face, before light and rim."""

_PERIOD = 64
"""Pixels after which every background repeats, across and down."""


def draw(scene: Scene) -> npt.NDArray[np.uint8]:
    """The clip, [17, 64, 64, 3]."""
    spans = [(0, FRAMES)] if len(scene.shots) == 1 else [(0, CUT_AT), (CUT_AT, FRAMES)]
    takes = [
        _shot(shot, np.arange(*span, dtype=np.float32)) for shot, span in zip(scene.shots, spans, strict=True)
    ]
    whole = np.concatenate(takes)
    whole *= _vignette()
    np.clip(whole, 0, 1, out=whole)
    return np.rint(whole * 255).astype(np.uint8)


def _shot(shot: Shot, frames: Array) -> Array:
    """[F, H, W, 3] of one take over these frames of the clip."""
    elapsed = frames - frames.mean(dtype=np.float32)
    camera = [(speed * elapsed).astype(np.float32) for speed in shot.camera_velocity()]
    image = _background(shot, camera[0], camera[1])
    for thing in reversed(shot.things):
        _paint_thing(image, thing, frames, elapsed, camera[0], camera[1])
    if shot.bar:
        _paint_bar(image, *shot.bar)
    return image


def _paint_thing(image: Array, thing: Thing, frames: Array, elapsed: Array, left: Array, top: Array) -> None:
    """A soft dark halo, a darker rim, a face lit from above: enough to tell every colour from every background."""
    vx, vy = thing.velocity()
    when = (frames / (FRAMES - 1)).astype(np.float32)
    radius = (thing.radius + (thing.final_radius - thing.radius) * when)[:, None, None].astype(np.float32)
    grid = np.arange(SIZE, dtype=np.float32) + 0.5
    x = grid[None, None, :] - (thing.x + vx * elapsed - left)[:, None, None]
    y = grid[None, :, None] - (thing.y + vy * elapsed - top)[:, None, None]
    distance = _DISTANCES[thing.shape](x, y, radius)
    face = _face(thing, when)
    light = 1 + 0.16 * np.clip(-y / radius, -1, 1)
    rim = 1 - 0.4 * np.clip(
        distance + np.minimum(2, 0.2 * radius), 0, 1
    )  # thinner on small things, whose face it would eat
    shade = (light * rim)[..., None]
    halo = (0.45 * np.clip(1 - distance / 3, 0, 1))[..., None]
    cover = np.clip(0.5 - distance, 0, 1)[..., None]
    image *= 1 - halo
    image += cover * (face * shade - image)


def _face(thing: Thing, when: Array) -> Array:
    """[F, 1, 1, 3]: the thing's colour; one that turns does so between a quarter and three quarters of the clip."""
    first = np.asarray(PALETTE[thing.colour], np.float32) / 255
    last = np.asarray(PALETTE[thing.turns or thing.colour], np.float32) / 255
    share = np.clip(2 * when - 0.5, 0, 1)[:, None, None, None]
    result: Array = (first + (last - first) * share).astype(np.float32)
    return result


def _paint_bar(image: Array, way: str, middle: float, width: float) -> None:
    grid = np.arange(SIZE, dtype=np.float32) + 0.5
    distance = np.abs(grid - middle) - width / 2
    face = np.asarray(PALETTE["gray"], np.float32) / 255 * (1 - 0.3 * np.clip(distance + 2, 0, 1))[:, None]
    cover = np.clip(0.5 - distance, 0, 1)[:, None]
    across = (1, -1) if way == "vertical" else (-1, 1)
    cover, face = cover.reshape(1, *across, 1), face.reshape(1, *across, 3)
    image += cover * (face - image)


def _circle(x: Array, y: Array, r: Array) -> Array:
    return np.sqrt(x * x + y * y) - r


def _ring(x: Array, y: Array, r: Array) -> Array:
    return np.abs(np.sqrt(x * x + y * y) - 0.73 * r) - 0.27 * r


def _square(x: Array, y: Array, r: Array) -> Array:
    corner = 0.12 * r
    across, down = np.abs(x) - (0.84 * r - corner), np.abs(y) - (0.84 * r - corner)
    outside = np.sqrt(np.maximum(across, 0) ** 2 + np.maximum(down, 0) ** 2)
    result: Array = outside + np.minimum(np.maximum(across, down), 0) - corner
    return result


def _triangle(x: Array, y: Array, r: Array) -> Array:
    """Equilateral, a tip up; its middle is a little below the centre, so that it fills the circle as the others do."""
    size = 0.56 * r
    down = y - 0.1 * r
    return np.maximum(down, np.abs(x) * np.float32(3**0.5 / 2) - down * np.float32(0.5)) - size


def _star(x: Array, y: Array, r: Array) -> Array:
    """Five tips, one up. The plane is folded onto half of one tip, whose edge is a straight line."""
    turn = np.pi / 5
    across, up = np.abs(x), -y
    angle = np.arctan2(across, up)
    folded = np.abs(np.remainder(angle + turn, 2 * turn) - turn)
    length = np.sqrt(across * across + up * up)
    px, py = length * np.sin(folded), length * np.cos(folded)
    # the edge from the tip (0, r) to the notch at `turn`, at half of the radius
    tip_x, tip_y, notch_x, notch_y = 0.0, 1.08, 0.5 * np.sin(turn), 0.5 * np.cos(turn)
    ex, ey = notch_x - tip_x, notch_y - tip_y
    norm = np.hypot(ex, ey)
    result: Array = (px * (-ey / norm) + (py - tip_y * r) * (ex / norm)).astype(np.float32)
    return result


_DISTANCES: Mapping[str, Callable[[Array, Array, Array], Array]] = {
    "circle": _circle,
    "square": _square,
    "triangle": _triangle,
    "star": _star,
    "ring": _ring,
}
"""Shape -> signed distance to its edge in pixels, negative inside, of [F, 1, W], [F, H, 1] and [F, 1, 1]."""


def _background(shot: Shot, left: Array, top: Array) -> Array:
    """[F, H, W, 3]: the place, moved against the camera by whole and part pixels."""
    texture = np.roll(_texture(shot.place), shot.phase, (1, 0))
    if shot.camera == "still":
        return np.repeat(texture[None], len(left), 0)
    frames = [_moved(_moved(texture, float(dx), 1), float(dy), 0) for dx, dy in zip(left, top, strict=True)]
    return np.stack(frames)


def _moved(image: Array, by: float, axis: int) -> Array:
    """The repeating image as a camera sees it that has gone `by` pixels along an axis, linear between pixels."""
    whole = int(np.floor(by))
    part = np.float32(by - whole)
    near, far = np.roll(image, -whole, axis), np.roll(image, -whole - 1, axis)
    result: Array = near + part * (far - near)
    return result


@functools.cache
def _vignette() -> Array:
    grid = (np.arange(SIZE, dtype=np.float32) + 0.5) / SIZE * 2 - 1
    light = 1.04 - 0.14 * (grid[:, None] ** 2 + grid[None, :] ** 2)
    result: Array = light.astype(np.float32)[None, :, :, None]
    return result


@functools.cache
def _texture(place: str) -> Array:
    """[64, 64, 3] of a place; waves of whole numbers of periods, so that it repeats without a seam."""
    u = ((np.arange(_PERIOD) + 0.5) / _PERIOD * (2 * np.pi)).astype(np.float32)
    x, y = u[None, :], u[:, None]
    low, high, tone = {
        "night": ((12, 14, 44), (92, 104, 168), _stars),
        "sea": ((6, 52, 70), (22, 104, 122), lambda x, y: _wave(4 * y + 1.1 * np.sin(2 * x) + np.sin(x + y))),
        "room": ((84, 66, 58), (58, 44, 40), _tiles),
        "forest": (
            (16, 46, 26),
            (44, 84, 38),
            lambda x, y: _wave(2 * x + 2 * np.sin(2 * y)) * _wave(3 * y + np.sin(3 * x)),
        ),
        "evening": ((62, 30, 62), (116, 62, 66), lambda x, y: _wave(2 * y + 0.8 * np.sin(x)) ** 1.5),
    }[place]
    share = np.broadcast_to(tone(x, y), (_PERIOD, _PERIOD))[..., None]
    dark, bright = np.asarray(low, np.float32) / 255, np.asarray(high, np.float32) / 255
    result: Array = (dark + (bright - dark) * share).astype(np.float32)
    return result


def _wave(angle: Array) -> Array:
    result: Array = (0.5 + 0.5 * np.sin(angle)).astype(np.float32)
    return result


def _tiles(x: Array, y: Array) -> Array:
    """Joints of tiles, four across and down; they are soft, as everything in a background."""
    return np.maximum(_joint(4 * x), _joint(4 * y))


def _joint(angle: Array) -> Array:
    result: Array = np.exp(-6 * (1 - np.cos(angle)))
    return result


def _stars(x: Array, y: Array) -> Array:
    """Soft dots on a faint cloud."""
    sky: Array = 0.16 * _wave(x + np.sin(y))
    for across, down, brightness in (
        (9, 12, 1.0),
        (30, 5, 0.6),
        (47, 21, 0.9),
        (20, 34, 0.7),
        (56, 44, 0.8),
        (36, 52, 1.0),
        (6, 55, 0.5),
    ):
        angle_x, angle_y = (x - across / _PERIOD * 2 * np.pi), (y - down / _PERIOD * 2 * np.pi)
        dot: Array = np.exp(-55 * (2 - np.cos(angle_x) - np.cos(angle_y)))
        sky = sky + np.float32(brightness) * dot
    return sky
