"""Guidance in one call or two: the same output from another number of calls, and a sentence where nothing changes."""

from __future__ import annotations

import pytest

from workbench.cost.rehearsal import record
from workbench.models import get
from workbench.techniques import Cfg, Settings, apply_all
from workbench.testing import contract
from workbench.testing.toys import Toy

SEQUENTIAL = Cfg(mode="sequential")
BATCHED = Cfg(mode="batched")


@pytest.fixture(scope="module")
def cogvideox():
    return Toy("cogvideox")


def denoiser_calls(miniature, technique):
    """(calls of the denoiser, most bytes alive in one, sentences)."""
    settings = Settings.of([technique] if technique else [])
    handle = apply_all(miniature.pipe, settings)
    calls = []
    hook = miniature.pipe.transformer.register_forward_pre_hook(
        lambda module, args, kwargs: calls.append(kwargs["hidden_states"].shape[0]), with_kwargs=True
    )
    try:
        miniature.pipe(**miniature.call_kwargs(settings))
    finally:
        hook.remove()
        handle.remove()
    return calls, handle.report


def test_a_batch_of_both_branches_is_halved(cogvideox):
    assert denoiser_calls(cogvideox, None)[0] == [2] * 9
    calls, report = denoiser_calls(cogvideox, SEQUENTIAL)
    assert calls == [1] * 18
    assert report == [
        "transformer is asked for one half of the batch at a time",
        "transformer computed 9 of 9 calls in two halves",
    ]


def test_two_calls_become_one_from_the_second_step_on():
    miniature = contract.Miniature(num_inference_steps=4)
    assert denoiser_calls(miniature, None)[0] == [1] * 8
    calls, report = denoiser_calls(miniature, BATCHED)
    assert calls == [1, 1, 2, 2, 2]
    assert report[1:] == ["transformer computed both branches of guidance in one call for 6 of 8 calls"]


@pytest.mark.parametrize("which", ["ltx", "allegro", "latte"])
def test_halves_keep_the_contract(which):
    miniature = Toy(which)
    contract.assert_restores(miniature, SEQUENTIAL)
    contract.assert_predicts(miniature, SEQUENTIAL)
    # latents of a pipeline without noise scale reach hundreds: rounding is relative
    contract.assert_output(miniature, SEQUENTIAL, tolerance=1e-3)


@pytest.mark.parametrize("technique", [SEQUENTIAL, BATCHED], ids=lambda technique: technique.mode)
def test_two_branches_of_two_videos(technique):
    """A batch of four is halved into two, and two calls of two become one of four."""
    miniature = contract.Miniature(num_videos_per_prompt=2, num_inference_steps=3)
    contract.assert_predicts(miniature, technique)
    contract.assert_output(miniature, technique)


def test_halves_need_less_memory_and_both_at_once_fewer_passes(cogvideox):
    def peak(miniature, technique):
        settings = Settings.of([technique] if technique else [])
        handle = apply_all(miniature.pipe, settings)
        trace = record(miniature.pipe, miniature.call_kwargs(settings, num_inference_steps=2))
        handle.remove()
        return trace.peak()

    assert peak(cogvideox, SEQUENTIAL) < 0.8 * peak(cogvideox, None)


@pytest.mark.parametrize(
    ("which", "technique", "sentence"),
    [
        (
            "cogvideox",
            BATCHED,
            "cfg batched changed nothing for transformer: its pipeline computes both branches of guidance in one call, or there is one",
        ),
        (
            "skyreels",
            SEQUENTIAL,
            "cfg sequential changed nothing for transformer: its pipeline computes one branch of guidance per call, or there is one",
        ),
        (
            "kandinsky",
            BATCHED,
            "cfg batched changed nothing for transformer: the two branches differ in text_rope_pos, which cannot be stacked",
        ),
    ],
)
def test_a_mode_that_changes_nothing_says_so(which, technique, sentence):
    miniature = Toy(which)
    assert denoiser_calls(miniature, technique)[1][1:] == [sentence]


def test_a_run_without_guidance_is_left_alone():
    miniature = contract.Miniature(guidance_scale=1.0, num_inference_steps=3)
    calls, report = denoiser_calls(miniature, BATCHED)
    assert calls == [1] * 3
    assert "changed nothing" in report[1]


NOT_HERE = [
    ("wan2.1-t2v-1.3b", "sequential", "its pipeline computes one branch per call anyway"),
    ("cogvideox-2b", "batched", "its pipeline computes both branches in one call anyway"),
    ("ltx-video-0.9.7-distilled", "sequential", "its native guidance takes one call of one branch"),
    (
        "kandinsky-5.0-t2v-lite-sft-5s",
        "batched",
        "its pipeline makes its tensors anew for each call, so that a second call is not recognised",
    ),
]


@pytest.mark.parametrize(("model", "mode", "reason"), NOT_HERE)
def test_a_mode_that_would_change_nothing_is_refused(model, mode, reason):
    assert Cfg(mode=mode).applies_to(get(model), None) == reason


@pytest.mark.parametrize(
    ("model", "mode"), [("wan2.1-t2v-1.3b", "batched"), ("cogvideox-2b", "sequential"), ("tiny", "batched")]
)
def test_a_mode_that_changes_something_is_accepted(model, mode):
    assert Cfg(mode=mode).applies_to(get(model), None) is None
