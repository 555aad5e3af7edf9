"""The moving-shapes world: the same clip for the same number, captions that are true of the pixels, every kind of scene."""

from __future__ import annotations

import dataclasses
from collections import Counter

import numpy as np
import pytest

from workbench._errors import InputError, UnknownNameError
from workbench.miniature import world
from workbench.miniature._tokenizer import tiny_tokenizer

FACES = {name: np.asarray(world.PALETTE[name], float) for name in world.COLOURS}


def first(kind, count, split="train", **labels):
    """The first scenes of a kind whose labels are these."""
    found = []
    for number in range(20_000):
        scene = world.scene(split, number)
        if scene.kind == kind and all(scene.labels[name] == value for name, value in labels.items()):
            found.append(scene)
            if len(found) == count:
                return found
    raise AssertionError(f"fewer than {count} scenes of {kind} {labels}")


def alone(scene):
    """What the subject adds to the picture: the clip's difference to the same clip without it, [F, H, W]."""
    shots = tuple(dataclasses.replace(shot, things=shot.things[1:]) for shot in scene.shots)
    without = dataclasses.replace(scene, shots=shots)
    return np.abs(world.draw(scene).astype(float) - world.draw(without).astype(float)).sum(-1)


def middles(scene):
    """Centre of what the subject adds, per frame: x and y, [F, 2]."""
    weight = np.maximum(alone(scene) - 60, 0)
    grid = np.arange(world.SIZE) + 0.5
    total = weight.sum((1, 2))
    return np.stack([(weight.sum(1) * grid).sum(1), (weight.sum(2) * grid).sum(1)], 1) / total[:, None]


def test_a_number_is_one_clip_and_another_number_another():
    one = world.draw(world.scene("train", 3))
    assert one.shape == (17, 64, 64, 3) and one.dtype == np.uint8
    assert np.array_equal(one, world.draw(world.scene("train", 3)))
    assert not np.array_equal(one, world.draw(world.scene("train", 4)))


def test_splits_share_no_scene():
    scenes = {split: {repr(world.scene(split, number)) for number in range(400)} for split in world.SPLITS}
    assert all(len(found) == 400 for found in scenes.values())
    assert len(set.union(*scenes.values())) == 1200


def test_every_kind_has_its_share_and_every_label_occurs():
    scenes = [world.scene("validation", number) for number in range(3000)]
    kinds = Counter(scene.kind for scene in scenes)
    for kind, share in world.KINDS.items():
        assert kinds[kind] / 3000 == pytest.approx(share, abs=0.025)
    for label, values in (
        ("colour", world.COLOURS),
        ("shape", world.SHAPES),
        ("direction", world.DIRECTIONS),
    ):
        assert set(values) == {scene.labels[label] for scene in scenes}
    assert {shot.place for scene in scenes for shot in scene.shots} == set(world.PLACES)


@pytest.mark.parametrize("colour", world.COLOURS)
def test_the_caption_names_the_colour_that_is_drawn(colour):
    for scene in first("slow", 3, colour=colour):
        assert f" {colour} {scene.subject.shape} " in world.caption(scene)
        clip, added = world.draw(scene).astype(float), alone(scene)
        # light, rim and vignette change brightness, not hue
        face = np.median(clip[added > 0.6 * added.max()], axis=0)
        nearest = min(FACES, key=lambda name: np.abs(FACES[name] - face).sum())
        assert nearest == colour, face


@pytest.mark.parametrize(
    ("direction", "axis", "sign"), [("left", 0, -1), ("right", 0, 1), ("up", 1, -1), ("down", 1, 1)]
)
@pytest.mark.parametrize(
    ("kind", "word", "least", "most"), [("slow", "slowly ", 0.7, 1.1), ("fast", "quickly ", 2.0, 2.5)]
)
def test_the_caption_names_the_motion_that_is_drawn(kind, word, least, most, direction, axis, sign):
    scene = first(kind, 1, direction=direction)[0]
    assert f" moves {word}{direction} " in world.caption(scene)
    path = middles(scene)
    inner = path[4:13]  # where no edge of the picture cuts it
    step = np.diff(inner[:, axis]).mean() * sign
    assert least - 0.2 < step < most + 0.2
    assert np.ptp(inner[:, 1 - axis]) < 1.0


def test_what_stands_still_stays_and_the_rest_too():
    for scene in first("static", 3):
        clip = world.draw(scene)
        assert " stands still " in world.caption(scene)
        assert np.array_equal(clip, np.broadcast_to(clip[:1], clip.shape))


def test_what_grows_covers_more_and_what_shrinks_less():
    words = set()
    for scene in first("size", 8):
        area = (alone(scene) > 60).sum((1, 2))
        word = "grows" if area[-1] > 1.8 * area[0] else "shrinks"
        assert area[-1] > 1.8 * area[0] or area[0] > 1.8 * area[-1]
        assert f" and {word} " in world.caption(scene)
        words.add(word)
    assert words == {"grows", "shrinks"}


def test_what_turns_has_the_second_colour_at_the_end():
    for scene in first("colour", 6):
        subject = scene.subject
        assert f" and turns {subject.turns} " in world.caption(scene)
        clip, added = world.draw(scene).astype(float), alone(scene)
        for frame, colour in ((0, subject.colour), (16, subject.turns)):
            face = np.median(clip[frame][added[frame] > 0.6 * added[frame].max()], axis=0)
            assert min(FACES, key=lambda name: np.abs(FACES[name] - face).sum()) == colour


def test_a_bar_hides_what_moves_behind_it_and_leaves_some_of_it():
    for scene in first("occlusion", 4):
        assert " behind a gray bar " in world.caption(scene)
        bare = dataclasses.replace(scene, shots=(dataclasses.replace(scene.shots[0], bar=None),))
        hidden, whole = (alone(scene) > 60).sum((1, 2)), (alone(bare) > 60).sum((1, 2))
        assert (hidden / whole).min() < 0.75  # the bar takes a quarter of it at least once
        assert (hidden / whole).min() > 0.15


def test_company_is_named_and_smaller_than_the_subject():
    for scene in first("several", 4):
        subject, *others = scene.shots[0].things
        assert world.caption(scene).count(" small ") == len(others) >= 1
        assert all(other.radius < 0.5 * subject.radius and other.colour != subject.colour for other in others)


def test_a_pan_moves_the_place_and_what_stands_in_it_against_the_camera():
    for scene in first("pan", 4):
        shot = scene.shots[0]
        vx, vy = shot.camera_velocity()
        assert f" while the camera pans {shot.camera} " in world.caption(scene)
        assert scene.labels["direction"] == "still"
        step = np.diff(middles(scene)[5:12], axis=0).mean(0)
        assert step == pytest.approx([-vx, -vy], abs=0.25)
        empty = world.draw(dataclasses.replace(scene, shots=(dataclasses.replace(shot, things=()),)))
        assert not np.array_equal(empty[0], empty[-1])


def test_a_cut_changes_everything_between_two_frames():
    for scene in first("cut", 4):
        clip = world.draw(scene).astype(float)
        change = np.abs(np.diff(clip, axis=0)).mean((1, 2, 3))
        assert change.argmax() == 8 and change[8] > 3 * np.delete(change, 8).max()
        assert " then " in world.caption(scene)


def test_backgrounds_repeat_without_a_seam_and_are_darker_than_things():
    from workbench.miniature.world._draw import _texture

    for place in world.PLACES:
        texture = _texture(place)
        inside = max(np.abs(np.diff(texture, axis=axis)).max() for axis in (0, 1))
        seam = max(np.abs(texture[0] - texture[-1]).max(), np.abs(texture[:, 0] - texture[:, -1]).max())
        assert seam <= 1.01 * inside
        assert 255 * texture.mean() < 100


def test_captions_are_words_of_the_tokenizer_and_fit_into_32_tokens():
    tokenizer = tiny_tokenizer(32)
    vocabulary = tokenizer.get_vocab()
    assert all(word in vocabulary for word in world.words())
    seen = {word for number in range(3000) for word in world.caption(world.scene("test", number)).split()}
    assert seen == set(world.words())
    longest = max(
        (world.caption(world.scene("test", number)) for number in range(3000)),
        key=lambda text: len(text.split()),
    )
    assert len(tokenizer(longest).input_ids) <= 32


def test_bad_input_is_named():
    with pytest.raises(UnknownNameError, match=r"unknown split 'dev'"):
        world.scene("dev", 0)
    with pytest.raises(InputError, match=r"^number of a clip must be 0 or more, got -1$"):
        world.scene("train", -1)
