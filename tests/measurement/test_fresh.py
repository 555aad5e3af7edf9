"""One configuration in a real process of its own: what it gives back, also when the process ends badly."""

from __future__ import annotations

import json

import numpy as np
import psutil
import pytest

from workbench._errors import InputError
from workbench.measurement import AbstractWatch, FreshJob, run_fresh, run_once
from workbench.measurement._calling import kwargs_of
from workbench.measurement._child import settle, take_of
from workbench.measurement._following import Following, end_in_words
from workbench.measurement._video import to_uint8
from workbench.miniature import load_tiny
from workbench.records import load, save

SIZE = {"frames": 5, "height": 32, "width": 32, "steps": 2}


class Watched(AbstractWatch):
    """Keeps what it is shown; ends the process at a phase if asked."""

    def __init__(self, kill_at=None):
        self.seen, self.kill_at = [], kill_at

    def saw(self, seen):
        self.seen.append(seen)
        if seen.phase == self.kill_at:
            self.kill_at = None  # once: afterwards it is a zombie until its parent looks
            for child in psutil.Process().children():
                if "workbench.measurement._child" in child.cmdline():
                    child.kill()

    def said(self, sentence):
        pass

    def close(self):
        pass


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A job that goes well, what came of it, what was watched, and what was told when."""
    job = FreshJob(
        model="tiny", settings={"vae_tiling": {}}, workload=SIZE, prompt="a fox", seed=7, warmup=1, repeats=2
    )
    watch, told = Watched(), []
    folder = tmp_path_factory.mktemp("fresh")
    result = run_fresh(job, folder, watch=watch, ran=lambda run: told.append(json.dumps(run)), title="tiled")
    return job, result, watch, [json.loads(run) for run in told]


def test_the_runs_are_measured_and_the_warm_up_is_not_one_of_them(made):
    job, result, _, _ = made
    assert (result.status, result.error, len(result.runs), len(result.good_runs)) == ("ok", "", 2, 2)
    for run in result.runs:
        measured = run["measured"]
        assert [stage["name"] for stage in measured["stages"]] == ["text_encode", "denoise", "decode"]
        assert measured["total_s"] == pytest.approx(sum(stage["seconds"] for stage in measured["stages"]))
        assert measured["memory"]["rss_peak_bytes"] >= measured["memory"]["rss_before_bytes"] > 0
        assert run["harness"]["warmup_s"] > 0 and run["harness"]["process"] == "fresh"
        assert (run["settings"], run["prompt"], run["seed"]) == (job.settings, "a fox", 7)
        assert any("tiles" in sentence for sentence in run["report"])
        assert not any("another clip" in sentence for sentence in run["report"])
    assert result.total_s == pytest.approx(np.mean([run["measured"]["total_s"] for run in result.runs]))
    assert result.rss_peak_bytes >= max(run["measured"]["memory"]["rss_before_bytes"] for run in result.runs)
    # counted once, in a call after the last
    assert ["tensors_peak_bytes" in run["measured"]["memory"] for run in result.runs] == [False, True]


def test_the_clip_is_the_one_that_the_pipeline_makes_here(made):
    job, result, _, _ = made
    told = job.to_json()
    pipe = load_tiny()
    pipe.vae.enable_tiling()
    _, output = run_once(pipe, kwargs_of(settle(told), take_of(told, result.clip.parent), pipe))
    assert np.array_equal(result.frames(), to_uint8(output.frames[0]))
    assert result.frames().shape == (5, 32, 32, 3) and result.frames().dtype == np.uint8


def test_it_is_a_record(made, tmp_path):
    _, result, _, _ = made
    record = load(save(result.record(), tmp_path / "fresh.nc"))
    assert record["trial"].values.tolist() == [run["id"] for run in result.runs]
    assert record["process"].values.tolist() == ["fresh", "fresh"]
    assert record["warmup_calls"].values.tolist() == [1.0, 1.0]
    assert record["steps"].values.tolist() == [2.0, 2.0]
    assert (record["warmup_s"].values > 0).all()


def test_each_run_is_told_when_it_is_over(made):
    _, result, _, told = made
    first, second = (run["id"] for run in result.runs)
    assert [run["id"] for run in told] == [first, second, second]  # again when its tensors were counted
    assert told[-1] == json.loads(json.dumps(result.runs[-1]))


def test_the_process_was_watched(made):
    _, _, watch, _ = made
    phases = dict.fromkeys(seen.phase for seen in watch.seen)
    assert list(phases)[:2] == ["starting", "loading"] and {seen.title for seen in watch.seen} == {"tiled"}
    assert any(seen.rss_bytes and seen.rss_bytes > 2**26 for seen in watch.seen)
    assert [seen.elapsed_s for seen in watch.seen] == sorted(seen.elapsed_s for seen in watch.seen)


def test_settings_that_the_model_refuses_are_a_failed_run(tmp_path):
    result = run_fresh(
        FreshJob(model="tiny", settings={"decode_chunks": {"frames": 2}}, workload=SIZE), tmp_path
    )
    assert result.status == "failed" and result.clip is None and result.total_s is None
    assert result.error.startswith("SettingsError: decode_chunks does not apply to tiny: ")
    record = result.record()
    assert record["status"].values.tolist() == ["failed"]
    assert json.loads(record["settings"].item()) == {"decode_chunks": {"frames": 2}}
    assert (record["model"].item(), record["frames"].item()) == ("tiny", 5.0)
    with pytest.raises(InputError, match=r"^there is no clip: the run ended as failed \(SettingsError: "):
        result.frames()


def test_a_killed_process_is_a_run_beside_those_that_went_well(tmp_path):
    job = FreshJob(model="tiny", workload={**SIZE, "steps": 200}, repeats=2, count_tensors=False)
    watch = Watched(kill_at="run 2 of 2")
    result = run_fresh(job, tmp_path, watch=watch)
    assert [run["status"] for run in result.runs] == ["ok", "failed"]
    assert result.error.startswith(
        "the process was killed (SIGKILL, as the system does when memory runs out), "
    )
    assert "run 2 of 2" in result.error
    assert result.clip is not None and result.frames().shape == (5, 32, 32, 3)
    record = result.record()
    assert record["status"].values.tolist() == ["ok", "failed"]
    assert record["rss_peak_bytes"].values[1] == result.rss_peak_bytes > 0


def test_a_limit_ends_the_process_and_says_where(tmp_path):
    result = run_fresh(FreshJob(model="tiny", workload=SIZE, limit_s=0.3), tmp_path)
    assert [run["status"] for run in result.runs] == ["timed_out"]
    assert result.error.startswith("stopped by the workbench: over the limit of 0.3 s, while ")
    assert result.seconds < 60 and result.record()["limit_s"].item() == 0.3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"repeats": 0}, "repeats must be a whole number of at least 1, got 0"),
        ({"warmup": -1}, "warmup must be a whole number of at least 0, got -1"),
        ({"limit_s": 0}, "limit_s must be a number above 0, got 0"),
        ({"workload": {"frames": 6}}, "tiny makes 4*k+1 frames, got 6: nearest are 5 and 9"),
        ({"seed": -1}, "seed must be a whole number from 0 to 2**64 - 1, got -1"),
        ({"settings": {"cache": {"kind": "none"}}}, None),
        ({"model": "no/such/folder"}, None),
    ],
)
def test_input_that_is_wrong_in_itself_starts_nothing(tmp_path, changes, message):
    with pytest.raises(InputError) as caught:
        run_fresh(FreshJob(**{"model": "tiny", **changes}), tmp_path / "never")
    assert message is None or str(caught.value) == message
    assert not (tmp_path / "never" / "job.json").exists()


def test_a_call_that_never_reported_itself_is_put_together_from_its_events(tmp_path):
    lines = [
        {"event": "environment", "at": 10.0, "versions": {"torch": "2"}, "device": None, "commit": None},
        {"event": "opened", "at": 12.0, "load_s": 2.0, "report": ["done"]},
        {"event": "began", "at": 12.0, "kind": "run", "number": 1, "of": 2, "steps": 8},
        {"event": "stage", "at": 13.0, "name": "text_encode"},
        {"event": "stage", "at": 15.0, "name": "denoise"},
        {"event": "step", "at": 18.0, "done": 1},
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    path = tmp_path / "events.jsonl"
    following = Following(tmp_path)
    assert following.read() == [] and following.phase == "starting"
    path.write_text(text[:-20])  # the last line is not whole yet
    following.read()
    assert (following.step, following.phase, following.where()) == (
        0,
        "run 1 of 2",
        "in stage denoise of run 1 of 2, after 0 of 8 steps",
    )
    path.write_text(text)
    following.read()
    assert following.where() == "in stage denoise of run 1 of 2, after 1 of 8 steps"
    row = following.row("failed", "gone", 123, 9.0)
    assert (row["status"], row["error"], row["versions"]) == ("failed", "gone", {"torch": "2"})
    assert row["measured"]["memory"] == {"rss_peak_bytes": 123} and row["measured"]["load_s"] == 2.0
    text_encode, denoise = row["measured"]["stages"]
    assert text_encode["seconds"] == 3.0  # with what came before its first call
    assert denoise["seconds"] + 3.0 == pytest.approx(row["measured"]["total_s"])


@pytest.mark.parametrize(
    ("code", "ran_out", "expected"),
    [
        (1, False, ("failed", "the process ended with exit code 1 and said nothing")),
        (-9, True, ("out_of_memory", "the process was killed (SIGKILL): the system ran out of memory")),
        (-11, True, ("failed", "the process was killed (SIGSEGV)")),
    ],
)
def test_how_a_process_ended_in_words(code, ran_out, expected):
    assert end_in_words(code, ran_out) == expected
