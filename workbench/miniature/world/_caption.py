"""The sentence that says what a scene shows. Every word of it is one token of the miniature's tokenizer, a test holds that."""

from __future__ import annotations

from workbench.miniature.world._scene import COLOURS, DIRECTIONS, PLACES, SHAPES, Scene, Shot, Thing

_WHERE = {
    "night": "in the night",
    "sea": "on the sea",
    "room": "in a room",
    "forest": "in the forest",
    "evening": "in the evening",
}


def caption(scene: Scene) -> str:
    """One sentence in lower case, without a full stop: the subject first, then what else there is, then where."""
    return " then ".join(_shot(shot) for shot in scene.shots)


def words() -> tuple[str, ...]:
    """Every word that a caption can have, sorted."""
    fixed = "a an big small stands still moves slowly quickly grows shrinks and turns behind gray bar while the camera pans then"
    return tuple(
        sorted({*fixed.split(), *COLOURS, *DIRECTIONS, *SHAPES, *PLACES, *" ".join(_WHERE.values()).split()})
    )


def _shot(shot: Shot) -> str:
    subject, *others = shot.things
    parts = [_thing(subject, "big" if subject.big else "")]
    if shot.bar:
        parts.append("behind a gray bar")
    parts += [f"and {_thing(other, 'small')}" for other in others]
    if shot.camera != "still":
        parts.append(f"while the camera pans {shot.camera}")
    return " ".join([*parts, _WHERE[shot.place]])


def _thing(thing: Thing, size: str) -> str:
    """`a big red star moves slowly left and turns blue`"""
    article = "an" if not size and thing.colour[0] in "aeiou" else "a"
    does = "stands still" if thing.direction == "still" else f"moves {thing.pace} {thing.direction}"
    parts = [article, size, thing.colour, thing.shape, does]
    if thing.final_radius != thing.radius:
        parts.append("and grows" if thing.final_radius > thing.radius else "and shrinks")
    if thing.turns:
        parts.append(f"and turns {thing.turns}")
    return " ".join(" ".join(parts).split())
