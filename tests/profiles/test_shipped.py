"""Shipped profiles: those in the package hold together, a file gives back what was planned, and what is stale says so."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import warnings

import pytest

import workbench
from workbench._errors import ProfileError, UnknownNameError
from workbench.models import get as get_model
from workbench.profiles import Profile, ShippedProfiles, load_shipped, shipped_models
from workbench.profiles._reference import opened
from workbench.profiles._shipped import SIZES
from workbench.techniques import Settings

SEARCH = {"space": "space-0", "trials": 0, "seed": 0}


@pytest.fixture
def shipped(cost):
    """Three sizes of the tiny model: at the smallest nothing fits."""
    small = dataclasses.replace(cost, device=cost.device.capped(memory_bytes=2**30))
    return ShippedProfiles.of(
        [(12, cost, 1), (6, small, 2), (8, cost, 1)], pipeline_class="WanPipeline", search=SEARCH
    )


@pytest.mark.parametrize("name", shipped_models())
def test_what_ships_can_be_used(name):
    profiles = load_shipped(name)
    spec = get_model(name)
    assert profiles.sizes == SIZES
    assert (profiles.pipeline_class, profiles.workload.model) == (spec.pipeline_class, name)
    for entry in profiles.entries:
        if not entry.fits:
            assert entry.missing_gib > 0
            continue
        profile = profiles.profile(entry.vram_gb)
        Settings.parse(profile.settings).check(spec, profile.device)
        assert profile.prediction["memory"]["required_vram_gib"] <= entry.vram_gb
        assert Profile.from_json(profile.to_json()) == profile


@pytest.mark.parametrize("name", shipped_models())
def test_what_ships_is_small(name):
    path = workbench.profiles._shipped.FOLDER / f"{name}.json"
    assert path.stat().st_size < 24 * 1024
    assert len(path.read_text().splitlines()) < 32  # an entry a line: a new plan changes its line


def test_a_file_gives_the_same_back(shipped, tmp_path):
    path = shipped.save(tmp_path)
    assert [item.name for item in tmp_path.iterdir()] == ["tiny.json"] == [path.name]
    assert shipped_models(tmp_path) == ("tiny",)
    assert load_shipped("tiny", tmp_path).to_json() == shipped.to_json()
    assert load_shipped("tiny", tmp_path).sizes == (6, 8, 12)


def test_a_card_between_two_sizes_takes_the_smaller(shipped, cost):
    assert [shipped.profile(size).device.memory_bytes >> 30 for size in (8, 11.9, 12, 80)] == [8, 8, 12, 12]
    profile = shipped.profile(8)
    assert dict(profile.settings) == cost.settings
    assert profile.prediction["time"]["total_s"] == pytest.approx(cost.total_s, rel=1e-3)
    assert profile.prediction["versions"] == cost.versions


def test_where_nothing_fits_it_says_what_is_missing(shipped):
    missing = shipped.entry(6)
    assert (missing.fits, missing.missing_gib) == (False, 1.0)
    with pytest.raises(ProfileError, match=r"lacks 1\.00 GiB; the smallest size that one fits is 8 GiB"):
        shipped.profile(6)
    for wrong in (4, "8", True):
        with pytest.raises(ProfileError, match="vram_gb must be a number of at least 6 GiB"):
            shipped.entry(wrong)


def test_other_versions_are_said_with_the_way_to_plan_anew(shipped):
    assert shipped.stale() == ""
    build = dataclasses.replace(shipped, versions={**shipped.versions, "torch": _other_build(shipped)})
    assert build.stale() == ""  # another build of the same version runs the same code
    old = dataclasses.replace(shipped, versions={**shipped.versions, "diffusers": "0.30.3"})
    assert "diffusers 0.30.3 there" in old.stale()
    assert "workbench plan --model tiny" in old.stale()
    assert "studies/profiles/run.py --models tiny" in old.stale()


def _other_build(shipped):
    return shipped.versions["torch"].partition("+")[0] + "+cu999"


def test_the_class_method_warns_only_of_what_is_stale(shipped, tmp_path, monkeypatch):
    monkeypatch.setattr("workbench.profiles._shipped.load_shipped", lambda model: shipped)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert Profile.shipped("tiny", 12).settings == shipped.profile(12).settings
    old = dataclasses.replace(shipped, versions={**shipped.versions, "diffusers": "0.30.3"})
    monkeypatch.setattr("workbench.profiles._shipped.load_shipped", lambda model: old)
    with pytest.warns(UserWarning, match="plan anew"):
        Profile.shipped("tiny", 12)


def test_damaged_files_say_so(shipped, tmp_path):
    path = shipped.save(tmp_path)
    data = json.loads(path.read_text())
    for wrong, said in (
        ({**data, "type": "other"}, "these are no shipped profiles"),
        ({**data, "version": 99}, "schema version of shipped profiles must be 1, got 99"),
        ({**data, "entries": []}, "there is no entry"),
        ({name: value for name, value in data.items() if name != "workload"}, "damaged"),
    ):
        path.write_text(json.dumps(wrong))
        with pytest.raises(ProfileError, match=said):
            load_shipped("tiny", tmp_path)
    path.write_text("{")
    with pytest.raises(ProfileError, match=r"tiny\.json"):
        load_shipped("tiny", tmp_path)


def test_a_reference_is_a_file_or_a_model_and_a_size(profile, tmp_path):
    path = profile.save(tmp_path / "mine.json")
    assert opened(str(path)) == (profile, "")
    odd = profile.save(tmp_path / "card@8.json")
    assert opened(str(odd))[0] == profile
    name = shipped_models()[0]
    assert opened(f"{name}@80")[0] == load_shipped(name).profile(80)
    for wrong, error, said in (
        (name, ProfileError, "named by its file or by MODEL@GIB"),
        ("nobody@8", UnknownNameError, "unknown model with shipped profiles 'nobody'"),
        (f"{name}@small", ProfileError, "must be a number of GiB, got 'small'"),
        (str(tmp_path / "none.json"), ProfileError, "there is no profile"),
    ):
        with pytest.raises(error, match=said):
            opened(wrong)


@pytest.fixture
def study(root):
    path = root / "studies" / "profiles" / "run.py"
    spec = importlib.util.spec_from_file_location("profiles_study", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_command_makes_what_is_missing_and_leaves_what_is_there(study, tmp_path, capsys):
    def run(*arguments):
        given = ["--models", "tiny", "--trials", "0", "--profiles", str(tmp_path), "--out", str(tmp_path)]
        return study.main([*given, *arguments])

    assert run("--sizes", "6") == 0
    first = load_shipped("tiny", tmp_path)
    assert first.sizes == (6,)
    before = (tmp_path / "tiny.json").read_bytes()
    assert run("--sizes", "6") == 0
    assert (tmp_path / "tiny.json").read_bytes() == before
    assert run("--sizes", "6", "8") == 0  # goes on where it was stopped
    both = load_shipped("tiny", tmp_path)
    assert both.sizes == (6, 8)
    assert both.entries[0] == first.entries[0]
    assert "| tiny | " in (tmp_path / "profiles.md").read_text()
    stale = dataclasses.replace(both, versions={**both.versions, "diffusers": "0.30.3"})
    stale.save(tmp_path)
    assert run("--sizes", "6") == 0  # everything planned with other versions goes
    assert load_shipped("tiny", tmp_path).sizes == (6,)
    assert run("--models", "nobody") == 1
    assert "UnknownNameError" in (tmp_path / "profiles.md").read_text()
    capsys.readouterr()
