"""A pipeline in memory: loaded anew by a fresh process where that gives the same one, else measured here and said to be."""

from __future__ import annotations

import pytest

from workbench._errors import InputError
from workbench.measurement import measure
from workbench.measurement._child import check_same
from workbench.measurement._fingerprint import fingerprint_of, folder_fingerprint
from workbench.measurement._sources import Live
from workbench.miniature import build_tiny, load_tiny, save_tiny

SIZE = {"frames": 5, "height": 32, "width": 32, "steps": 2}
ONCE = {"repeats": 1, "warmup": 0, "count_tensors": False, **SIZE}


@pytest.fixture
def built():
    """A pipeline that is nowhere on the disk."""
    return build_tiny()


def test_a_pipeline_from_nowhere_is_measured_here_and_left_as_it_was(built, tmp_path):
    before = fingerprint_of(built)
    candidates = {"tiled": {"vae_tiling": {}}, "refused": {"decode_chunks": {"frames": 2}}}
    found = measure(built, candidates, out=tmp_path / "m.nc", limit_s=500, **{**ONCE, "repeats": 2})
    tiled, refused = found.candidates
    assert {one.process for one in found} == {"caller"} and fingerprint_of(built) == before
    assert (found.baseline.num_runs, tiled.num_runs, refused.status) == (2, 2, "failed")
    assert refused.error.startswith("SettingsError: decode_chunks does not apply to tiny: ")
    for one in found:
        assert (
            "measured in the process that asked, beside all that it holds: it was not loaded from a folder that is still there"
            in one.report
        )
        assert "the time limit cannot be kept there" in one.report
    assert tiled.quality["psnr_db"] > 20  # one tile holds all of so small a clip
    again = measure(built, candidates, out=tmp_path / "m.nc", limit_s=500, **{**ONCE, "repeats": 2})
    assert again.records["trial"].values.tolist() == found.records["trial"].values.tolist()


def test_tensors_are_counted_here_too(built, tmp_path):
    found = measure(built, out=tmp_path / "m.nc", **{**ONCE, "count_tensors": True})
    for stage in found.baseline.stages:
        assert 0 < stage.measured_bytes <= stage.predicted_bytes


def test_a_pipeline_that_is_on_the_disk_has_a_fresh_process(tmp_path):
    found = measure(load_tiny(), out=tmp_path / "m.nc", **ONCE)
    assert (found.baseline.process, found.baseline.status) == ("fresh", "ok")
    assert any(sentence.startswith("loaded anew from ") for sentence in found.baseline.report)


def test_one_that_was_changed_in_memory_is_measured_here(tmp_path):
    pipe = load_tiny()
    pipe.vae.enable_tiling()
    found = measure(pipe, out=tmp_path / "m.nc", **ONCE)
    assert (found.baseline.process, found.baseline.num_runs) == ("caller", 1)
    assert any("is not what is in memory" in sentence for sentence in found.baseline.report)
    assert found.records.sizes["trial"] == 1  # that it was tried elsewhere is no run


def test_what_is_told_apart(built):
    import torch

    loaded, other = load_tiny(), load_tiny()
    same = fingerprint_of(loaded)
    assert same == fingerprint_of(other)
    assert Live(loaded)._why_here == "" and Live(built)._why_here
    check_same("", built)
    check_same(same, other)

    other.vae.enable_slicing()
    assert fingerprint_of(other) != same
    other.vae.disable_slicing()
    assert fingerprint_of(other) == same
    with torch.no_grad():
        weight = other.transformer.proj_out.weight
        weight[0, 0] += 1
        assert fingerprint_of(other) != same
        weight[0, 0] -= 1
    other.scheduler = type(other.scheduler).from_config(other.scheduler.config, flow_shift=7.0)
    assert fingerprint_of(other) != same
    with pytest.raises(InputError, match=r"^the pipeline on the disk is not the one in memory: "):
        check_same(same, other)


def test_a_folder_is_told_apart_by_its_files(tmp_path):
    folder = save_tiny(tmp_path / "saved")
    before = folder_fingerprint(folder)
    assert folder_fingerprint(folder) == before
    (folder / "model_index.json").write_text((folder / "model_index.json").read_text() + "\n")
    assert folder_fingerprint(folder) != before
