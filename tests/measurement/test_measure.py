"""A session of real processes: one is killed, the same call goes on, what fails is a row, equal settings give equal clips."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest

from workbench._cli import main
from workbench._errors import InputError
from workbench.measurement import measure
from workbench.records import load

SIZE = {"frames": 5, "height": 32, "width": 32, "steps": 2}
HALF, REFUSED = {"dtype": {"transformer": "bf16"}}, {"decode_chunks": {"frames": 2}}
CANDIDATES = [HALF, REFUSED, {}]
PROMPT = "a red fox"


def command(out, *more):
    size = [text for name, value in SIZE.items() for text in (f"--{name}", str(value))]
    settings = [text for one in CANDIDATES for text in ("--settings", json.dumps(one))]
    fixed = ["--model", "tiny", "--prompt", PROMPT, "--seed", "7", "--repeats", "2", "--warmup", "0"]
    return ["measure", *fixed, *size, *settings, "--out", str(out), *more]


def call(out, **changes):
    fixed = {"prompt": PROMPT, "seed": 7, "repeats": 2, "warmup": 0, "out": out, **SIZE}
    return measure("tiny", CANDIDATES, **{**fixed, **changes})


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """The command, killed as soon as its first run is in the record; the record's ids, and the processes it left."""
    out = tmp_path_factory.mktemp("measure") / "m.nc"
    process = subprocess.Popen(
        [sys.executable, "-m", "workbench", *command(out)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    give_up = time.monotonic() + 500
    while not out.exists() and process.poll() is None and time.monotonic() < give_up:
        time.sleep(0.02)
    children = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
    process.kill()
    _, said = process.communicate()
    assert out.exists(), said.decode()
    return out, load(out)["trial"].values.tolist(), children


@pytest.fixture(scope="module")
def found(killed):
    """The same measurement from Python, which goes on."""
    return call(killed[0])


def test_a_process_of_a_killed_measurement_ends(killed):
    _, alive = psutil.wait_procs(killed[2], timeout=60)
    assert alive == []


def test_it_goes_on_with_what_is_missing(killed, found):
    _, before, _ = killed
    rows = found.records.where(found.records["configuration"] == "baseline", drop=True)
    assert rows["trial"].values.tolist()[: len(before)] == before
    assert rows["repeat"].values.tolist() == [0.0, 1.0]
    assert found.baseline.num_runs == 2 and found.baseline.status == "ok"


def test_every_configuration_is_there_and_what_fails_is_a_row(found):
    half, refused, same = found.candidates
    assert [one.num_runs for one in found] == [2, 2, 0, 2]
    assert (refused.status, refused.total_s, refused.clip) == ("failed", None, None)
    assert refused.error.startswith("SettingsError: decode_chunks does not apply to tiny: ")
    assert half.total_s.low <= half.total_s.median <= half.total_s.high
    assert not found.is_good and found[same.name] is same
    assert found.records["status"].values.tolist() == ["ok"] * 4 + ["failed"] + ["ok"] * 2
    assert set(found.records["process"].values) == {"fresh"}


def test_equal_settings_give_the_baselines_clip(found):
    same = found.candidates[2]
    assert np.array_equal(np.load(same.clip), np.load(found.baseline.clip))
    quality = same.quality
    assert quality["psnr_db"] == math.inf
    assert (quality["ssim"], quality["temporal_error"], quality["seam"]) == (1.0, 0.0, 0.0)
    assert same.clip != found.baseline.clip and same.video.stat().st_size > 0


def test_quality_is_that_of_the_clips(found):
    half = found.candidates[0]
    error = np.load(half.clip).astype(float) - np.load(found.baseline.clip).astype(float)
    assert np.abs(error).mean() > 0
    expected = 10 * math.log10(255**2 / (error**2).mean())
    assert half.quality["psnr_db"] == pytest.approx(expected, rel=1e-4)
    assert any("LPIPS" in sentence for sentence in half.quality_absent) == (half.quality["lpips"] is None)
    reference = found.records.sel(trial=found.records["configuration"] == half.name)["reference"].values
    assert set(reference) == {found.records["trial"].values[0]}


def test_the_prediction_is_beside(found):
    for one in (found.baseline, found.candidates[0]):
        assert [stage.name for stage in one.stages] == ["text_encode", "denoise", "decode"]
        for stage in one.stages:
            assert stage.seconds.median > 0 and stage.predicted_s > 0
            # live tensors of a real run; the prediction adds workspaces of GPU libraries
            assert 0 < stage.measured_bytes <= stage.predicted_bytes
            assert stage.bytes_ratio == stage.measured_bytes / stage.predicted_bytes
        assert one.time_ratio == one.total_s.median / one.predicted["time"]["total_s"]
    assert found.candidates[1].report == (
        "the prediction is without decode_chunks {'frames': 2}, which does not act on a CPU",
    )


def test_speed_up_is_of_the_medians(found):
    half = found.candidates[0]
    assert found.speedup(half) == found.baseline.total_s.median / half.total_s.median
    assert found.speedup(found.candidates[1]) is None


def test_it_shows_itself(found):
    text, html = repr(found), found._repr_html_()
    for words in (
        "Side by side",
        "PSNR dB",
        "equal",
        "Stages of baseline",
        "What went wrong",
        "lowest to highest",
    ):
        assert words in text and words in html


def test_a_whole_measurement_is_not_made_again_and_is_json(found, capsys, monkeypatch):
    monkeypatch.setattr(
        "workbench.measurement._sources.run_fresh", lambda *_, **__: pytest.fail("it ran again")
    )
    code = main(command(found.record, "--json"))
    said = json.loads(capsys.readouterr().out)
    assert code == 0 and said == json.loads(json.dumps(found.to_json()))
    assert set(said) == {
        *("workload", "prompt", "seed", "device", "spread", "baseline", "candidates", "record", "versions")
    }
    assert set(said["candidates"][0]) == {
        *(
            "name",
            "settings",
            "profile",
            "status",
            "error",
            "process",
            "runs",
            "total_s",
            "warmup_s",
            "load_s",
        ),
        *(
            "stages",
            "memory",
            "predicted",
            "time_ratio",
            "quality",
            "quality_absent",
            "clip",
            "video",
            "report",
        ),
        "speedup",
    }
    assert said["candidates"][2]["quality"]["psnr_db"] == "inf"
    assert main(command(found.record)) == 0 and "Side by side" in capsys.readouterr().out


def test_what_failed_or_more_repeats_are_measured_if_asked(found, tmp_path, monkeypatch):
    copy = tmp_path / "m.nc"
    copy.write_bytes(found.record.read_bytes())
    asked = []

    def run(job, folder, **_):
        asked.append((dict(job.settings), job.repeats))
        raise InputError("enough seen")

    monkeypatch.setattr("workbench.measurement._sources.run_fresh", run)
    for changes in ({"again": "failed"}, {"again": "all"}, {"repeats": 3}, {"seed": 8}):
        with pytest.raises(InputError, match="enough seen"):
            call(copy, **changes)
    assert asked == [(REFUSED, 2), ({}, 2), ({}, 1), ({}, 2)]
    assert load(copy).sizes == load(found.record).sizes  # nothing was written


def test_the_figure_shows_what_was_measured(found):
    from workbench.views import plot_measured
    from workbench.views._measurements import _info

    info = _info(found)
    assert info.names == tuple(one.name for one in found)
    assert [stage.name for stage in info.time] == ["text encode", "denoise", "decode"]
    measured = [stage.measured[0] for stage in info.time]
    assert sum(measured) == pytest.approx(
        sum(stage.seconds.median for stage in found.baseline.stages) / info.unit.seconds
    )
    assert info.quality["PSNR (dB)"] == (None, found.candidates[0].quality["psnr_db"], None, math.inf)
    figure = plot_measured(found)
    assert {trace.name for trace in figure.data if trace.name} == {"text encode", "denoise", "decode"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"out": "clip.mp4"}, "the record's file name must end in .nc, got 'clip.mp4'"),
        ({"again": "yes"}, "again must be one of nothing, failed, all, got 'yes'"),
        ({"repeats": 0}, "repeats must be a whole number of at least 1, got 0"),
        ({"frames": 6}, "tiny makes 4*k+1 frames, got 6: nearest are 5 and 9"),
    ],
)
def test_nothing_runs_when_the_input_is_wrong(tmp_path, monkeypatch, changes, message):
    monkeypatch.setattr("workbench.measurement._sources.run_fresh", lambda *_, **__: pytest.fail("it ran"))
    with pytest.raises(InputError) as caught:
        call(**{"out": tmp_path / "m.nc", **changes})
    assert str(caught.value) == message
