"""The whole way: a profile is applied, a video is written, and what it took is recorded beside what was predicted."""

from __future__ import annotations

import dataclasses
import json

import av
import numpy as np
import pytest

from workbench._errors import InputError, ProfileError
from workbench.measurement import Measurement, RunError, generate
from workbench.miniature import save_tiny
from workbench.records import load, merge


@pytest.fixture(scope="module")
def made(profile, tmp_path_factory):
    """One run, and its folder."""
    folder = tmp_path_factory.mktemp("made")
    path = profile.save(folder / "small.json")
    return generate(path, prompt="a red fox", out=folder / "clip.mp4", seed=7), folder


def frames_of(path):
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return np.stack(
            [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
        ), stream.average_rate


def test_the_video_is_the_workloads(made):
    measurement, folder = made
    frames, rate = frames_of(folder / "clip.mp4")
    workload = measurement.workload
    assert frames.shape == (workload.frames, workload.height, workload.width, 3) == (5, 32, 32, 3)
    assert rate == workload.fps == 8
    assert frames.std() > 5  # something is to be seen
    assert sorted(item.name for item in folder.iterdir()) == ["clip.mp4", "clip.nc", "small.json"]


def test_the_profile_was_applied_and_what_could_not_act_is_said(made):
    measurement, _ = made
    assert (measurement.profile, measurement.workload.steps) == ("small", 3)
    assert any(sentence.startswith("offload model moved nothing") for sentence in measurement.report)
    assert any(sentence.startswith("vae is in bf16") for sentence in measurement.report)
    denoise = next(stage for stage in measurement.stages if stage.name == "denoise")
    assert denoise.num_calls == 2 * 3  # with and without the prompt


def test_predicted_and_measured_are_beside_each_other(made):
    measurement, _ = made
    assert measurement.predicted.workload == dataclasses.replace(measurement.workload, steps=8)
    assert measurement.predicted.device.name == "cpu"
    assert [row.name for row in measurement.beside] == ["text_encode", "denoise", "decode"]
    for row in measurement.beside:
        assert row.predicted_s > 0 and row.measured_s > 0
        # live tensors of a real run; the prediction adds workspaces of GPU libraries
        assert 0 < row.measured_bytes <= row.predicted_bytes
    assert sum(row.measured_s for row in measurement.beside) == pytest.approx(measurement.total_s)


def test_the_record_says_it_all(made):
    measurement, folder = made
    record = load(folder / "clip.nc").sel(trial=measurement.id)
    assert (record["status"].item(), record["profile"].item(), record["seed"].item()) == ("ok", "small", 7)
    assert record["prompt"].item() == "a red fox"
    assert json.loads(record["settings"].item()) == measurement.settings
    assert record["total_s"].item() == measurement.total_s
    assert record["predicted_total_s"].item() == measurement.predicted.total_s
    for stage in measurement.stages:
        row = record.sel(stage=stage.name)
        assert row["stage_s"].item() == stage.seconds
        assert row["stage_tensors_peak_bytes"].item() == stage.memory["tensors_peak_bytes"]
        assert row["predicted_stage_s"].item() > 0
    assert json.loads(record.attrs["report"]) == list(measurement.report)
    assert json.loads(record.attrs["versions"]) == measurement.versions


def test_it_is_json(made):
    measurement, folder = made
    data = json.loads(json.dumps(measurement.to_json()))
    assert (data["video"], data["record"]) == (str(folder / "clip.mp4"), str(folder / "clip.nc"))
    assert set(data["measured"]["memory_meanings"]) == set(data["measured"]["memory"])
    assert data["predicted"]["time"]["basis"] == "catalogue"


def test_the_same_seed_gives_the_same_video_from_a_saved_folder(made, profile, tmp_path):
    folder = save_tiny(tmp_path / "saved")
    again = generate(
        profile, model=folder, prompt="a red fox", out=tmp_path / "again.mp4", seed=7, count_tensors=False
    )
    frames, _ = frames_of(made[1] / "clip.mp4")
    assert np.array_equal(frames_of(tmp_path / "again.mp4")[0], frames)
    assert "tensors_peak_bytes" not in again.memory
    other = generate(profile, prompt="a red fox", out=tmp_path / "other.mp4", seed=8, count_tensors=False)
    assert not np.array_equal(frames_of(other.video)[0], frames)


def test_without_a_profile(tmp_path):
    measurement = generate(
        out=tmp_path / "clip.mp4", frames=1, height=16, width=32, steps=1, guidance=1.0, count_tensors=False
    )
    assert isinstance(measurement, Measurement) and (
        measurement.settings,
        measurement.profile,
        measurement.report,
    ) == ({}, "", ())
    assert frames_of(tmp_path / "clip.mp4")[0].shape == (1, 16, 32, 3)
    assert [stage.num_calls for stage in measurement.stages] == [1, 1, 1]


def test_a_failed_run_is_a_record_and_no_video(made, profile, tmp_path, monkeypatch):
    from diffusers import AutoencoderKLWan

    def decode(*_, **__):
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(AutoencoderKLWan, "decode", decode)
    with pytest.raises(RunError) as caught:
        generate(profile, out=tmp_path / "clip.mp4")
    failed = caught.value.measurement
    assert str(caught.value) == (
        f"WanPipeline ran out of memory in stage decode after {failed.total_s:.1f} s: {failed.error} (recorded in {failed.record})"
    )
    assert [item.name for item in tmp_path.iterdir()] == ["clip.nc"]
    record = load(tmp_path / "clip.nc")
    assert (record["status"].item(), record["error"].item()) == ("out_of_memory", failed.error)
    both = merge([tmp_path / "clip.nc", made[1] / "clip.nc"])
    assert both["status"].values.tolist() == ["out_of_memory", "ok"]


def test_nothing_runs_when_the_input_is_wrong(profile, tmp_path, monkeypatch):
    from workbench.measurement import _generate

    monkeypatch.setattr(_generate, "open_pipeline", lambda *_: pytest.fail("a pipeline was loaded"))
    wrong = dataclasses.replace(profile, pipeline_class="CogVideoXPipeline")
    with pytest.raises(ProfileError, match=r"^this profile is for CogVideoXPipeline, got WanPipeline$"):
        generate(wrong, out=tmp_path / "clip.mp4")
    with pytest.raises(InputError, match=r"^the video's file name must end in \.mp4, got 'clip\.webm'$"):
        generate(profile, out="clip.webm")
    with pytest.raises(
        ProfileError,
        match=r"^there is no profile 'absent\.json': pass the path of a file that Profile\.save wrote$",
    ):
        generate("absent.json", out=tmp_path / "clip.mp4")
    assert list(tmp_path.iterdir()) == []
