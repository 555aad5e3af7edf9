"""Steps: a default of the call, not an order."""

from __future__ import annotations

import pytest

from workbench.techniques import Settings, Steps, apply_all


def count_steps(pipe, *args, **kwargs):
    taken = []

    def note(pipe, step, timestep, tensors):
        taken.append(step)
        return {}

    small = {"height": 32, "width": 32, "num_frames": 1, "max_sequence_length": 16, "output_type": "latent"}
    pipe(*args, **{**small, **kwargs}, callback_on_step_end=note)
    return len(taken)


def test_the_call_defaults_to_the_count_and_the_caller_may_say_otherwise(miniature):
    kind = type(miniature.pipe)
    handle = apply_all(miniature.pipe, Settings.of([Steps(count=3)]))
    assert count_steps(miniature.pipe, "a fox") == 3
    assert count_steps(miniature.pipe, "a fox", num_inference_steps=1) == 1
    positional = ("a fox", None, 32, 32, 1, 2)  # prompt, negative prompt, height, width, frames, steps
    assert count_positional(miniature.pipe, positional) == 2
    assert isinstance(miniature.pipe, kind) and type(miniature.pipe).__name__ == kind.__name__
    handle.remove()
    assert type(miniature.pipe) is kind


def count_positional(pipe, args):
    taken = []
    pipe(
        *args,
        max_sequence_length=16,
        output_type="latent",
        callback_on_step_end=lambda *_: taken.append(1) or {},
    )
    return len(taken)


def test_a_pipeline_with_steps_saves_under_its_own_name(miniature):
    handle = apply_all(miniature.pipe, Settings.of([Steps(count=3)]))
    assert miniature.pipe.__class__.__module__ == "diffusers.pipelines.wan.pipeline_wan"
    handle.remove()


@pytest.mark.parametrize("count", [1, 7])
def test_the_workloads_own_number_is_left_out_of_the_call(miniature, count):
    settings = Settings.of([Steps(count=count)])
    assert "num_inference_steps" not in miniature.call_kwargs(settings)
