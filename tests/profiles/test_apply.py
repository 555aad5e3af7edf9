"""Applying a profile: the techniques' own apply does it, after pipeline and profile were found to go together."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from workbench._errors import ProfileError, SettingsError
from workbench.miniature import build_tiny
from workbench.models import Workload, get
from workbench.models._build import build_meta_pipeline
from workbench.techniques import Settings, apply_all


@pytest.fixture(scope="module")
def pipe():
    return build_tiny()


def message(profile, pipe, error=ProfileError, **options):
    with pytest.raises(error) as caught:
        profile.apply(pipe, **options)
    return str(caught.value)


def test_applying_does_what_apply_all_does_and_can_be_undone(profile, pipe):
    before = {key: (tensor.data_ptr(), tensor.dtype) for key, tensor in pipe.vae.state_dict().items()}
    handle = profile.apply(pipe)
    assert pipe.vae.use_tiling and pipe.vae.dtype == torch.bfloat16
    said = handle.report
    handle.remove()
    assert not pipe.vae.use_tiling
    assert {key: (tensor.data_ptr(), tensor.dtype) for key, tensor in pipe.vae.state_dict().items()} == before
    direct = apply_all(pipe, Settings.parse(profile.settings))
    assert direct.report == said
    direct.remove()


def test_the_same_profile_prepares_the_weightless_pipeline(profile):
    meta = build_meta_pipeline(get("tiny"))
    handle = profile.apply(meta)
    assert meta.vae.use_tiling and meta.vae.dtype == torch.bfloat16
    handle.remove()
    assert not meta.vae.use_tiling


def test_a_pipeline_of_another_class_is_refused_untouched(profile, pipe):
    other = dataclasses.replace(profile, pipeline_class="CogVideoXPipeline")
    assert message(other, pipe) == "this profile is for CogVideoXPipeline, got WanPipeline"
    assert not pipe.vae.use_tiling


def test_a_component_that_the_settings_name_must_be_there(profile, pipe):
    two_experts = dataclasses.replace(
        profile,
        workload=Workload.for_model("wan2.2-t2v-a14b"),
        settings={"dtype": {"transformer_2": "fp16", "vae": "bf16"}},
    )
    assert message(two_experts, pipe) == (
        "this profile has settings for transformer_2, which this WanPipeline lacks: "
        "its components are vae, text_encoder, transformer"
    )


def test_a_component_that_only_the_prediction_counts_is_reported(profile, pipe):
    two_experts = dataclasses.replace(profile, workload=Workload.for_model("wan2.2-t2v-a14b"))
    handle = two_experts.apply(pipe, model="tiny")
    assert (
        handle.report[0]
        == "the profile's prediction counts transformer_2, which this pipeline lacks: it will need less"
    )
    handle.remove()


def test_other_versions_are_reported(profile, pipe):
    here = profile.versions["diffusers"]
    old = dataclasses.replace(
        profile, versions={**profile.versions, "diffusers": "0.30.3", "sageattention": "2.2"}
    )
    handle = old.apply(pipe)
    assert handle.report[0] == (
        f"versions differ from those the prediction is of (diffusers 0.30.3 there, {here} here; "
        "sageattention 2.2 there, not installed here): memory and time may differ too"
    )
    handle.remove()
    same = profile.apply(pipe)
    assert not any("versions differ" in sentence for sentence in same.report)
    same.remove()


def test_settings_that_the_model_cannot_take_are_refused(profile, pipe):
    wrong = dataclasses.replace(profile, settings={"dtype": {"unet": "fp16"}})
    assert message(wrong, pipe, error=ValueError) == (
        "unknown component of tiny 'unet': allowed are text_encoder, transformer, vae"
    )
    conflict = {"dtype": {"transformer": "fp16"}, "quantization": {"transformer": "int4wo"}}
    with pytest.raises(SettingsError):
        dataclasses.replace(profile, settings=conflict).apply(pipe)


def test_a_handle_says_what_cannot_act_here(profile, pipe):
    if torch.cuda.is_available():
        pytest.skip("offload acts on a machine with a GPU")
    handle = profile.apply(pipe)
    assert any(sentence.startswith("offload model moved nothing") for sentence in handle.report)
    handle.remove()
