"""Profiles: made of a cost, saved, read back; every way a file can be wrong has a sentence."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import datetime

import pytest

import workbench
from workbench._errors import ProfileError
from workbench.profiles import Profile
from workbench.profiles._io import FIELDS
from workbench.techniques import Settings


def test_a_profile_holds_what_was_priced(cost):
    profile = Profile.of(cost)
    assert (profile.name, profile.pipeline_class) == ("tiny 17x64x64 on rtx-3060-12gb", "WanPipeline")
    assert (profile.workload, profile.device, profile.settings) == (cost.workload, cost.device, cost.settings)
    assert profile.prediction == cost.to_json()
    assert profile.prediction["quality"]["effects"] == []  # provenance travels with the numbers
    assert profile.versions == cost.versions and profile.versions["torch"]
    assert datetime.fromisoformat(profile.created_at).utcoffset().total_seconds() == 0
    named = Profile.of(cost, name="my card", pipeline_class="OtherPipeline")
    assert (named.name, named.pipeline_class) == ("my card", "OtherPipeline")


def test_a_file_gives_the_same_profile_back(profile, tmp_path):
    path = profile.save(tmp_path / "wan.json")
    assert path == tmp_path / "wan.json"
    assert Profile.load(path) == profile == Profile.load(str(path))
    envelope = json.loads(path.read_text())
    assert (envelope["type"], envelope["version"], tuple(envelope["data"])) == (
        "workbench-profile",
        1,
        FIELDS,
    )
    profile.save(path)  # replaces
    assert [item.name for item in tmp_path.iterdir()] == ["wan.json"]


def test_a_failed_save_leaves_the_old_file_and_nothing_else(profile, tmp_path, monkeypatch):
    path = profile.save(tmp_path / "wan.json")
    before = path.read_bytes()

    def fail(self, text, encoding):
        self.write_bytes(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(type(path), "write_text", fail)
    with pytest.raises(OSError, match=r"^no space left on device$"):
        profile.save(path)
    assert [item.name for item in tmp_path.iterdir()] == ["wan.json"] and path.read_bytes() == before


def test_it_can_be_priced_again(profile):
    assert Settings.parse(profile.settings).to_json() == profile.settings
    assert workbench.Profile is Profile


def test_reading_a_profile_imports_no_torch(profile, tmp_path):
    path = profile.save(tmp_path / "wan.json")
    code = f"import sys; from workbench.profiles import Profile; Profile.load({str(path)!r}); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def loading(path):
    with pytest.raises(ProfileError) as caught:
        Profile.load(path)
    return str(caught.value)


def test_a_file_that_is_no_profile(tmp_path):
    path = tmp_path / "p.json"
    assert (
        loading(path) == f"there is no profile {str(path)!r}: pass the path of a file that Profile.save wrote"
    )
    assert loading(tmp_path) == f"profile {str(tmp_path)!r} cannot be read: Is a directory"
    path.write_text('{"type": "workbench-profile", ')
    assert loading(path) == (
        f"profile {str(path)!r} is damaged: it is not JSON "
        "(Expecting property name enclosed in double quotes at line 1 column 31)"
    )
    path.write_bytes(b"\xff\xfe\x00")
    assert loading(path) == f"profile {str(path)!r} is damaged: it is not text in UTF-8"
    path.write_text("[1, 2]")
    assert loading(path) == f"{path}: this is not a workbench profile: it must be a JSON object, got a list"
    path.write_text('{"settings": {}}')
    assert loading(path) == (
        f"{path}: this is not a workbench profile: its 'type' must be 'workbench-profile', got None"
    )


@pytest.fixture
def broken(profile):
    """The message for a profile's JSON after a change."""

    def message(change):
        envelope = profile.to_json()
        change(envelope)
        with pytest.raises(ProfileError) as caught:
            Profile.from_json(envelope)
        return str(caught.value)

    return message


def test_a_newer_schema_and_a_version_that_is_none(broken):
    assert broken(lambda e: e.update(version=3)) == (
        "this profile has schema version 3; this workbench reads up to 1: upgrade diffusion-workbench"
    )
    for value in (None, 0, True, "1"):
        assert broken(lambda e, value=value: e.update(version=value)) == (
            f"this profile is damaged: its schema version must be a whole number of at least 1, got {value!r}"
        )


def test_fields_that_are_missing_unknown_or_of_the_wrong_kind(broken):
    needs = f"this profile is damaged: its data needs exactly the fields {', '.join(FIELDS)}; "
    assert broken(lambda e: e["data"].pop("device")) == needs + "missing: device; unknown: none"
    assert broken(lambda e: e["data"].update(code="import os")) == needs + "missing: none; unknown: code"
    assert (
        broken(lambda e: e.pop("data"))
        == "this profile is damaged: its 'data' must be a JSON object, got null"
    )
    assert broken(lambda e: e["data"].update(settings=[])) == (
        "this profile is damaged: 'settings' must be a JSON object, got []"
    )
    assert broken(lambda e: e["data"].update(name="")) == (
        "this profile is damaged: 'name' must be a non-empty text, got ''"
    )
    assert (
        broken(lambda e: e["data"]["prediction"].pop("time"))
        == "this profile is damaged: its prediction lacks time"
    )


def test_values_that_this_workbench_does_not_understand(broken):
    known = ", ".join(("cpu", "volta", "turing", "ampere", "ada", "hopper", "blackwell"))
    assert broken(lambda e: e["data"]["device"].update(architecture="tpu")) == (
        f"this profile's device cannot be used: architecture of rtx-3060-12gb must be one of {known}, got 'tpu'"
    )
    assert broken(lambda e: e["data"]["workload"].update(frames=18)) == (
        "this profile's workload cannot be used: tiny makes 4*k+1 frames, got 18: nearest are 17 and 21"
    )
    version = workbench.__version__
    assert broken(lambda e: e["data"]["settings"].update(offload={"mode": "moon"})).startswith(
        f"this profile's settings, made by workbench {version}, are not understood by workbench {version}: "
    )


def test_a_profile_can_only_be_saved_in_a_folder_that_exists(profile, tmp_path):
    absent = tmp_path / "no" / "p.json"
    for path, why in (
        (absent, f"there is no folder {str(absent.parent)!r}"),
        (tmp_path, "it is a folder; name a file in it"),
    ):
        with pytest.raises(ProfileError) as caught:
            profile.save(path)
        assert str(caught.value) == f"cannot save the profile {str(path)!r}: {why}"
