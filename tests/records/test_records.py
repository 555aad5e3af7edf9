"""Records: built from the JSON of a run, written, read back, merged without losing a failed run."""

from __future__ import annotations

import json
import math
import re

import pytest
import xarray

from workbench._errors import InputError
from workbench._units import MIB, gib
from workbench.records import STATUSES, build, load, merge, save, with_quality
from workbench.records._build import attribute
from workbench.records._names import VARIABLES

WORKLOAD = {
    **{"model": "tiny", "frames": 17, "height": 64, "width": 64, "steps": 8},
    **{"guidance": 5.0, "guidance_2": None, "batch": 1, "fps": 8},
}


def predicted(stages=("text_encode", "denoise", "decode")):
    rows = [
        {
            "name": name,
            "weights_gib": gib(8 * MIB),
            "activations_gib": gib((k + 1) * MIB),
            "peak_allocated_gib": gib((k + 9) * MIB),
        }
        for k, name in enumerate(stages)
    ]
    memory = {
        "peak_allocated_gib": 1.0,
        "peak_reserved_gib": 1.5,
        "required_vram_gib": 2.0,
        "host_ram_gib": 3.0,
    }
    time = {
        "total_s": 6.0,
        "low_s": 4.0,
        "high_s": 9.0,
        "stages": [{"name": name, "seconds": 2.0} for name in stages],
    }
    return {"memory": {**memory, "stages": rows}, "time": time}


def run(ident="a", **changes):
    stages = [
        {"name": "text_encode", "seconds": 0.5, "num_calls": 2, "memory": {"rss_peak_bytes": 500}},
        {"name": "denoise", "seconds": 1.5, "num_calls": 16, "memory": {"rss_peak_bytes": 600}},
        {"name": "decode", "seconds": 1.0, "num_calls": 1, "memory": {"rss_peak_bytes": 700}},
    ]
    measured = {
        "total_s": 3.0,
        "load_s": 0.25,
        "stages": stages,
        "memory": {"rss_before_bytes": 400, "rss_peak_bytes": 700},
    }
    return {
        "id": ident,
        "status": "ok",
        "created_at": "2026-11-21T08:00:00+00:00",
        "workload": WORKLOAD,
        "settings": {"vae_tiling": {}, "dtype": {"vae": "bf16"}},
        "prompt": "a red fox",
        "seed": 0,
        "measured": measured,
        "predicted": predicted(),
        "versions": {"torch": "2.13.0", "diffusers": "0.42.1"},
        "device": {"name": "cpu", "ram_gib": None},
        "report": ["vae_tiling: on"],
        **changes,
    }


def failed(ident="b", **changes):
    measured = {
        "total_s": 0.5,
        "stages": [{"name": "text_encode", "seconds": 0.5, "num_calls": 2, "memory": {}}],
        "memory": {},
    }
    return run(ident, status="out_of_memory", error="OutOfMemoryError: no room", measured=measured, **changes)


def test_a_record_holds_what_was_asked_measured_and_predicted():
    record = build(run())
    assert dict(record.sizes) == {"trial": 1, "stage": 3}
    one = record.sel(trial="a")
    assert (one["model"].item(), one["frames"].item(), one["seed"].item(), one["status"].item()) == (
        "tiny",
        17,
        0,
        "ok",
    )
    assert json.loads(one["settings"].item()) == {"dtype": {"vae": "bf16"}, "vae_tiling": {}}
    assert "guidance_2" not in record  # absent, not invented
    assert one["stage_s"].values.tolist() == [0.5, 1.5, 1.0]
    assert one["predicted_stage_s"].sum().item() == one["predicted_total_s"].item() == 6.0
    assert one["predicted_stage_activations_bytes"].values.tolist() == [MIB, 2 * MIB, 3 * MIB]
    assert json.loads(one["prediction"].item()) == predicted()


def test_names_units_and_attributes_are_those_of_the_schema():
    record = build(run())
    for name, variable in record.data_vars.items():
        assert variable.dims == VARIABLES[name].dims
        assert variable.attrs["long_name"] and (not name.endswith("_s") or variable.attrs["units"] == "s")
        assert not name.endswith("_bytes") or variable.attrs["units"] == "B"
        assert (variable.dtype == object) == VARIABLES[name].text
    assert record.attrs["type"] == "workbench-record"
    assert json.loads(record.attrs["versions"]) == {"torch": "2.13.0", "diffusers": "0.42.1"}
    assert json.loads(record.attrs["device"]) == {"name": "cpu", "ram_gib": None}
    assert json.loads(record.attrs["report"]) == ["vae_tiling: on"]
    assert "commit" not in record.attrs


def test_the_schema_names_every_variable_and_no_other(root):
    text = (root / "workbench" / "records" / "schema.md").read_text(encoding="utf-8")
    section = text.split("## Variables")[1].split("## Attributes")[0]
    named = {
        name
        for row in re.findall(r"^\| (`.*?) \|", section, re.MULTILINE)
        for name in re.findall(r"`(\w+)`", row)
    }
    assert named == set(VARIABLES)
    assert all(f"`{status}`" in section for status in STATUSES)


@pytest.mark.parametrize(
    ("value", "held"),
    [(True, "true"), (None, "null"), ({"b": 1}, '{"b": 1}'), ([1], "[1]"), ("x", "x"), (3, 3)],
)
def test_attributes_are_what_netcdf_can_hold(value, held):
    assert attribute(value) == held


def test_a_record_is_read_back_as_it_was_written(tmp_path):
    record = build(run())
    path = save(record, tmp_path / "clip.nc")
    again = load(path)
    assert set(again.data_vars) == set(record.data_vars)
    assert again.attrs == record.attrs
    for name in record.data_vars:
        assert again[name].values.tolist() == record[name].values.tolist()
        assert again[name].attrs["long_name"] == record[name].attrs["long_name"]
    assert [item.name for item in tmp_path.iterdir()] == ["clip.nc"]
    save(build(run("c")), path)  # replaces, also while nothing holds the file open
    assert load(path)["trial"].item() == "c"


def test_merging_keeps_failed_runs_and_fills_what_they_lack():
    merged = merge([build(run("a")), build(failed("b"))])
    assert merged["trial"].values.tolist() == ["a", "b"]
    assert merged["status"].values.tolist() == ["ok", "out_of_memory"]
    assert merged["error"].values.tolist() == ["", "OutOfMemoryError: no room"]
    assert merged["stage"].values.tolist() == ["text_encode", "denoise", "decode"]
    assert merged["stage_s"].sel(trial="b", stage="text_encode").item() == 0.5
    assert math.isnan(merged["stage_s"].sel(trial="b", stage="decode").item())
    assert math.isnan(merged["load_s"].sel(trial="b").item())
    assert merged["predicted_total_s"].values.tolist() == [6.0, 6.0]


def test_merging_files_in_which_stages_attributes_and_variables_differ(tmp_path):
    two_experts = predicted(("text_encode", "denoise", "denoise_2", "decode"))
    paths = [
        save(build(run("a", predicted=None)), tmp_path / "a.nc"),
        save(
            build(run("b", predicted=two_experts, versions={"torch": "2.14.0"}, commit="abc")),
            tmp_path / "b.nc",
        ),
    ]
    merged = merge(paths)
    assert merged["stage"].values.tolist() == ["text_encode", "denoise", "denoise_2", "decode"]
    assert merged["prediction"].sel(trial="a").item() == ""
    assert json.loads(merged["versions"].sel(trial="b").item()) == {"torch": "2.14.0"}
    assert merged["commit"].values.tolist() == ["", "abc"]
    assert "versions" not in merged.attrs and merged.attrs["type"] == "workbench-record"
    third = save(build(run("c", versions={"torch": "2.15.0"})), tmp_path / "c.nc")
    again = merge([save(merged, tmp_path / "all.nc"), third, paths[0]])
    assert again["trial"].values.tolist() == ["a", "b", "c"]  # a came twice
    assert [json.loads(text).get("torch") for text in again["versions"].values] == [
        "2.13.0",
        "2.14.0",
        "2.15.0",
    ]
    assert again["commit"].values.tolist() == ["", "abc", ""]


def message(of, *args):
    with pytest.raises(InputError) as caught:
        of(*args)
    return str(caught.value)


def test_bad_input(tmp_path):
    broken = tmp_path / "broken.nc"
    broken.write_text("not NetCDF")
    other = tmp_path / "other.nc"
    xarray.Dataset({"x": 1.0}).to_netcdf(other)
    newer = tmp_path / "newer.nc"
    build(run()).assign_attrs(schema_version=2).to_netcdf(newer)
    absent = tmp_path / "no" / "a.nc"
    assert (
        message(build, run(status="oom"))
        == "status of a run must be one of ok, out_of_memory, timed_out, failed, got 'oom'"
    )
    assert (
        message(save, build(run()), absent)
        == f"cannot write the record {str(absent)!r}: there is no folder {str(absent.parent)!r}"
    )
    assert message(load, absent) == f"there is no record {str(absent)!r}"
    assert message(load, broken).startswith(
        f"record {str(broken)!r} is damaged: it cannot be read as NetCDF ("
    )
    assert (
        message(load, other)
        == f"{str(other)!r} is not a record: its attribute 'type' must be 'workbench-record', got None"
    )
    assert message(load, newer) == (
        f"record {str(newer)!r} has schema version 2; this workbench reads up to 1: upgrade diffusion-workbench"
    )
    assert message(merge, []) == "merge needs at least one record, got none"


def test_a_failed_write_leaves_nothing_behind_and_the_old_file_whole(tmp_path, monkeypatch):
    path = save(build(run("a")), tmp_path / "clip.nc")

    def fail(self, target, **_):
        target.write_text("half")
        raise OSError("no space left on device")

    monkeypatch.setattr(xarray.Dataset, "to_netcdf", fail)
    with pytest.raises(OSError, match=r"^no space left on device$"):
        save(build(run("b")), path)
    assert [item.name for item in tmp_path.iterdir()] == ["clip.nc"]
    assert load(path)["trial"].item() == "a"


# --- harness and quality --------------------------------------------------------------------------------------------------


def test_a_record_says_how_it_was_run_and_nothing_where_nobody_knows():
    harness = {"process": "fresh", "configuration": "tiled", "repeat": 1, "warmup_s": 2.5, "limit_s": None}
    record = build(run(harness=harness)).sel(trial="a")
    assert (record["process"].item(), record["configuration"].item()) == ("fresh", "tiled")
    assert (record["repeat"].item(), record["warmup_s"].item()) == (1.0, 2.5)
    assert "limit_s" not in record and "psnr_db" not in record and "job" not in build(run())


def test_quality_is_added_to_a_record_and_read_back(tmp_path):
    figures = {"psnr_db": "inf", "ssim": 1.0, "vmaf": None, "absent": ["VMAF was not asked for"]}
    record = with_quality(build(run()), figures, "z")
    back = load(save(merge([record, build(failed())]), tmp_path / "a.nc"))
    assert back["psnr_db"].values.tolist()[0] == math.inf and math.isnan(back["psnr_db"].values[1])
    assert back["psnr_db"].attrs["units"] == "dB"
    assert back["reference"].values.tolist() == ["z", ""]
    assert json.loads(back["quality_absent"].values[0]) == ["VMAF was not asked for"]
    assert "vmaf" not in back
    again = with_quality(back.isel(trial=[0]), {"psnr_db": 30.0}, "y")
    assert (again["psnr_db"].item(), again["reference"].item()) == (30.0, "y")


def test_calls_of_a_stage_that_nobody_counted_are_unknown():
    cut = run(measured={**run()["measured"], "stages": [{"name": "denoise", "seconds": 1.0, "memory": {}}]})
    record = build(cut).sel(trial="a")
    assert math.isnan(record["stage_num_calls"].sel(stage="denoise"))
    assert record["stage_num_calls"].sel(stage="decode") == 0
