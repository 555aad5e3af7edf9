"""Stages: their borders are the calls of components, their seconds add up to the whole, and nothing stays on the pipeline."""

from __future__ import annotations

import pytest
import torch

from workbench.measurement._monitor import Monitor
from workbench.measurement._progress import NoProgress
from workbench.measurement._stages import StageClock, calls_reported, components_of


@pytest.fixture
def clock_at(probe):
    """A clock that shows these times one after the other."""
    return lambda times: StageClock(Monitor(probe, interval_s=60), NoProgress(), clock=iter(times).__next__)


def test_stages_add_up_to_the_whole(clock_at):
    clock = clock_at([0.0, 1.0, 3.0, 6.0, 10.0, 15.0])
    clock.called("text_encoder", "UMT5EncoderModel")  # 1.0: what came before belongs to it
    clock.called("text_encoder", "UMT5EncoderModel")
    clock.called("transformer", "WanTransformer3DModel")  # 3.0
    clock.called("transformer_2", "WanTransformer3DModel")  # 6.0
    clock.called("vae", "AutoencoderKLWan.decode")  # 10.0
    clock.stop()  # 15.0
    assert clock.seconds == {"text_encode": 3.0, "denoise": 3.0, "denoise_2": 4.0, "decode": 5.0}
    assert sum(clock.seconds.values()) == clock.total_s == 15.0
    assert clock.calls == {"text_encode": 2, "denoise": 1, "denoise_2": 1, "decode": 1}


def test_a_stage_that_comes_back_is_one_stage(clock_at):
    clock = clock_at([0.0, 0.0, 1.0, 2.0, 4.0])
    for component, call in (("image_encoder", "CLIP"), ("text_encoder", "UMT5"), ("vae", "Vae.encode")):
        clock.called(component, call)
    clock.stop()
    assert clock.seconds == {"image_encode": 3.0, "text_encode": 1.0}


def test_calls_of_a_real_pipeline_are_reported_and_nothing_stays(pipe, kwargs):
    pipe.set_progress_bar_config(disable=True)
    pipe(**kwargs)  # from its first decode on, the autoencoder keeps its caches as attributes
    before = {
        name: (dict(vars(part)), len(part._forward_pre_hooks)) for name, part in components_of(pipe).items()
    }
    seen = []
    with calls_reported(pipe, lambda *call: seen.append(call)):
        pipe(**kwargs)
    denoiser = ("transformer", "WanTransformer3DModel")
    assert seen == [
        *[("text_encoder", "UMT5EncoderModel")] * 2,
        *[denoiser] * 4,
        ("vae", "AutoencoderKLWan.decode"),
    ]
    after = {
        name: (dict(vars(part)), len(part._forward_pre_hooks)) for name, part in components_of(pipe).items()
    }
    assert after.keys() == before.keys()
    for name, (state, hooks) in after.items():
        assert hooks == before[name][1] and set(state) == set(before[name][0])


def test_a_method_that_was_shadowed_before_is_shadowed_again(pipe):
    def mine(*_):
        return "mine"

    pipe.vae.decode = mine
    try:
        seen = []
        with calls_reported(pipe, lambda *call: seen.append(call)):
            assert pipe.vae.decode(torch.zeros(1)) == "mine"
        assert (vars(pipe.vae)["decode"], seen) == (mine, [("vae", "AutoencoderKLWan.decode")])
    finally:
        del pipe.vae.decode


def test_nothing_stays_after_a_failure(pipe):
    with pytest.raises(KeyError), calls_reported(pipe, lambda *_: None):
        raise KeyError("x")
    assert "decode" not in vars(pipe.vae) and not pipe.transformer._forward_pre_hooks
