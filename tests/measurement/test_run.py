"""One call, measured; what fails is measured up to the failure."""

from __future__ import annotations

import pytest
import torch

from workbench.cost.weigh import weigh
from workbench.measurement import AbstractProgress, RunError, run_once
from workbench.measurement._measurement import MEANINGS
from workbench.measurement._run import is_out_of_memory


class Seen(AbstractProgress):
    """Keeps what it is told."""

    def __init__(self):
        self.told = []

    def start(self, title, num_steps, expected_s):
        self.told.append(("start", title, num_steps, expected_s))

    def stage(self, name):
        self.told.append(name)

    def step(self, done):
        self.told.append(done)

    def close(self, *, well):
        self.told.append(("close", well))


@pytest.fixture
def failing(pipe):
    """Lets the VAE's decode raise an error."""

    def fail_with(error):
        def decode(*_, **__):
            raise error

        pipe.vae.decode = decode

    yield fail_with
    del pipe.vae.decode


def test_a_run_is_measured_by_stage(pipe, kwargs):
    progress = Seen()
    measured, output = run_once(pipe, kwargs, progress=progress)
    assert tuple(output.frames.shape) == (1, 5, 3, 32, 32)
    assert (measured.status, measured.error, measured.pipeline_class) == ("ok", "", "WanPipeline")
    assert [(stage.name, stage.num_calls) for stage in measured.stages] == [
        ("text_encode", 2),
        ("denoise", 4),
        ("decode", 1),
    ]
    assert all(stage.seconds > 0 for stage in measured.stages)
    assert sum(stage.seconds for stage in measured.stages) == pytest.approx(measured.total_s)
    assert progress.told == ["text_encode", "denoise", 1, 2, "decode"]
    assert measured.versions["torch"] and measured.device is not None


def test_memory_is_named_and_explained(pipe, kwargs):
    measured, _ = run_once(pipe, kwargs)
    assert set(measured.memory) <= set(MEANINGS)
    parts = (pipe.text_encoder, pipe.transformer, pipe.vae)
    assert measured.memory["weights_bytes"] == sum(weigh(part).total_bytes for part in parts)
    assert measured.memory["rss_peak_bytes"] >= max(
        stage.memory["rss_peak_bytes"] for stage in measured.stages
    )
    assert measured.memory["rss_before_bytes"] > measured.memory["weights_bytes"]


def test_the_pipelines_own_bar_and_callback_are_as_they_were(pipe, kwargs):
    pipe.set_progress_bar_config(desc="mine")
    called = []

    def callback(pipe, step, timestep, tensors):
        called.append(step)
        return tensors

    run_once(pipe, {**kwargs, "callback_on_step_end": callback})
    assert (pipe._progress_bar_config, called) == ({"desc": "mine"}, [0, 1])
    pipe.set_progress_bar_config(disable=True)


def test_tensors_are_counted_without_changing_the_run(pipe, kwargs):
    seeded = {**kwargs, "generator": torch.Generator().manual_seed(3)}
    _, plain = run_once(pipe, seeded)
    progress = Seen()
    seeded["generator"].manual_seed(3)
    measured, output = run_once(pipe, seeded, progress=progress, count_tensors=True)
    assert torch.equal(output.frames, plain.frames)
    assert progress.told[-1] == "counting tensors" and measured.report == ()
    peaks = [stage.memory["tensors_peak_bytes"] for stage in measured.stages]
    assert max(peaks) == measured.memory["tensors_peak_bytes"] and min(peaks) > 0


@pytest.mark.parametrize(
    ("error", "status", "what"),
    [
        (ValueError("no such latent"), "failed", "failed"),
        (torch.OutOfMemoryError("CUDA out of memory."), "out_of_memory", "ran out of memory"),
        (MemoryError(), "out_of_memory", "ran out of memory"),
    ],
)
def test_a_failed_run_is_measured_up_to_the_failure(pipe, kwargs, failing, error, status, what):
    failing(error)
    with pytest.raises(RunError) as caught:
        run_once(pipe, kwargs)
    measured = caught.value.measurement
    raised = f"{type(error).__name__}: {error}"
    assert str(caught.value) == f"WanPipeline {what} in stage decode after {measured.total_s:.1f} s: {raised}"
    assert caught.value.__cause__ is error
    assert (measured.status, measured.error) == (status, raised)
    assert [stage.name for stage in measured.stages] == ["text_encode", "denoise", "decode"]
    assert not pipe.transformer._forward_pre_hooks


def test_a_failure_before_the_first_stage_says_so(pipe, kwargs):
    with pytest.raises(
        RunError, match=r"^WanPipeline failed before its first stage after 0\.\d s: ValueError: .*height.*$"
    ) as caught:
        run_once(pipe, {**kwargs, "height": 31})
    assert caught.value.measurement.stages == ()


def test_an_interrupt_is_not_a_failure(pipe, kwargs, failing):
    failing(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        run_once(pipe, kwargs)
    assert not pipe.transformer._forward_pre_hooks


def test_what_a_cpu_says_when_memory_is_missing():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**62, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)
    assert not is_out_of_memory(RuntimeError("shapes differ")) and not is_out_of_memory(ValueError())
