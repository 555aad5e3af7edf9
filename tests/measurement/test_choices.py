"""What may be given to be measured, and under which name it is."""

from __future__ import annotations

import json

import pytest

from workbench._errors import InputError, SettingsError, UnknownNameError
from workbench._estimate import estimate
from workbench.measurement._choices import Choices
from workbench.models import get
from workbench.techniques import Settings

TINY = get("tiny")
TILED = {"vae_tiling": {}}


def names_and_settings(candidates, baseline=None):
    first, others = Choices(candidates, baseline).of(TINY)
    assert first.name == "baseline"
    return [(choice.name, choice.settings) for choice in others]


def test_one_or_many_or_named():
    [(name, settings)] = names_and_settings(TILED)
    assert settings == TILED and "tiles" in name
    assert names_and_settings([TILED]) == names_and_settings(TILED) == names_and_settings(json.dumps(TILED))
    assert names_and_settings({"small": TILED, "plain": None}) == [("small", TILED), ("plain", {})]
    assert names_and_settings(None) == names_and_settings([]) == []


def test_what_is_given_twice_has_two_names():
    assert [name for name, _ in names_and_settings([{}, None, {}])] == [
        "library defaults",
        "library defaults (2)",
        "library defaults (3)",
    ]
    assert [name for name, _ in names_and_settings({"baseline": None})] == ["baseline (2)"]


def test_a_mistyped_technique_is_no_name():
    for wrong in ({"vae_tilling": {}}, {"vae_tiling": {}, "oflod": {"mode": "model"}}):
        with pytest.raises(UnknownNameError, match=r"^unknown technique "):
            Choices(wrong, None)


def test_profiles_and_costs_and_their_files(profile, tmp_path):
    path = profile.save(tmp_path / "small.json")
    plain = tmp_path / "settings.json"
    plain.write_text(json.dumps(TILED))
    for given in (profile, path, str(path)):
        [choice] = Choices(given, None).of(TINY)[1]
        assert (choice.name, choice.profile, choice.settings) == ("small", "small", dict(profile.settings))
    assert [settings for _, settings in names_and_settings([plain, str(plain), Settings.parse(TILED)])] == [
        TILED
    ] * 3
    cost = estimate(profile.workload, TILED, "rtx-3060-12gb")
    assert names_and_settings(cost)[0][1] == TILED


def test_the_workload_is_what_is_asked_then_what_was_planned_then_native(profile):
    asked = Choices([TILED, profile], None)
    assert asked.planned_model == "tiny"
    workload = asked.workload(TINY, {"width": 64})
    assert (workload.frames, workload.height, workload.width, workload.steps) == (5, 32, 64, 8)
    native = Choices(TILED, None)
    assert native.planned_model is None and native.workload(TINY, {}).frames == 17


def test_a_profile_keeps_its_own_steps(profile):
    [choice] = Choices(profile, None).of(TINY)[1]
    assert choice.settings["steps"] == {"count": 3}  # beside the workload's, which the baseline runs


def test_bad_input(tmp_path):
    with pytest.raises(InputError, match=r"^a configuration must be settings, .*, got a int$"):
        Choices([3], None)
    with pytest.raises(SettingsError, match="cannot be read"):
        Choices(tmp_path / "absent.json", None)
