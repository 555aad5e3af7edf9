"""Offloading on a machine without a GPU: it says so; and, with the CPU in the GPU's place, diffusers' hooks go on and come off."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from accelerate import cpu_offload

from workbench._errors import UnknownNameError
from workbench.techniques import Offload, Settings, _placing, apply_all
from workbench.techniques._tensors import modules_of
from workbench.testing import contract


@pytest.fixture
def cpu_as_gpu(monkeypatch):
    """The CPU takes the GPU's part: nothing moves, but every hook is installed and runs."""
    monkeypatch.setattr(_placing, "onload_device", lambda: torch.device("cpu"))


def hooked(pipe):
    return {
        name
        for name, module in modules_of(pipe).items()
        if any(
            "_hf_hook" in vars(part) or getattr(vars(part).get("_diffusers_hook"), "hooks", None)
            for part in module.modules()
        )
    }


@pytest.mark.parametrize("mode", ["none", "model", "sequential", "group"])
def test_without_a_gpu_it_says_so(miniature, mode, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    settings = Settings.of([Offload(mode=mode)])
    assert apply_all(miniature.pipe, settings).report == [
        f"offload {mode} moved nothing: this machine has no CUDA device, everything stays in host RAM"
    ]
    assert apply_all(miniature.weightless(), settings).report == [
        f"offload {mode} moved nothing: the pipeline has no weights"
    ]
    assert hooked(miniature.pipe) == set()


ON_CPU = (
    Offload(mode="none"),
    Offload(mode="model"),
    Offload(mode="group"),
    Offload(mode="group", blocks_per_group=2, components=("transformer", "vae")),
)


@pytest.mark.parametrize(
    "others",
    [
        {},
        {"quantization": {"transformer": "int8wo", "text_encoder": "nf4"}},
        {"temporal_chunks": {"frames": 5, "overlap": 4}},
    ],
)
@pytest.mark.parametrize("offload", ON_CPU, ids=lambda technique: str(technique.to_json()))
def test_offloading_changes_no_pixel_and_can_be_taken_off(miniature, cpu_as_gpu, offload, others):
    without = Settings.parse(others)
    assert miniature.baseline is not None
    before = contract.snapshot(miniature.pipe)
    handle = apply_all(miniature.pipe, without)
    expected = miniature.frames(without)
    handle.remove()
    handle = apply_all(miniature.pipe, Settings.of([*without.techniques, offload]))
    for _ in range(2):  # diffusers takes its model hooks off and puts them on again after each call
        assert np.array_equal(miniature.frames(without), expected)
    on = hooked(miniature.pipe)
    handle.remove()
    assert bool(on) == (offload.mode != "none")
    assert hooked(miniature.pipe) == set()
    assert without_memory(contract.snapshot(miniature.pipe)) == without_memory(before)
    assert np.array_equal(miniature.frames(Settings()), miniature.baseline)


def without_memory(state):
    """A snapshot but for where tensors are: moving a component copies it."""
    return {
        key: (value[0], *value[2:]) if isinstance(value, tuple) and len(value) == 5 else value
        for key, value in state.items()
    }


@pytest.mark.parametrize("kind", [None, "int8wo", "nf4", "fp8_storage"])
def test_layers_are_offloaded_one_at_a_time_whatever_they_hold(miniature, cpu_as_gpu, monkeypatch, kind):
    # diffusers would name the device cpu:0, which accelerate (1.15) does not take for the cpu when weights are tied
    monkeypatch.setattr(
        type(miniature.pipe),
        "enable_sequential_cpu_offload",
        lambda pipe, device: [
            cpu_offload(module, torch.device("cpu"), offload_buffers=len(module._parameters) > 0)
            for module in modules_of(pipe).values()
        ],
    )
    without = Settings.parse(
        {} if kind is None else {"quantization": {"transformer": kind, "text_encoder": kind}}
    )
    assert miniature.baseline is not None
    before = contract.snapshot(miniature.pipe)
    handle = apply_all(miniature.pipe, without)
    expected = miniature.frames(without)
    handle.remove()
    handle = apply_all(miniature.pipe, Settings.of([*without.techniques, Offload(mode="sequential")]))
    assert np.array_equal(miniature.frames(without), expected)
    assert hooked(miniature.pipe) == {"transformer", "text_encoder", "vae"}
    handle.remove()
    assert hooked(miniature.pipe) == set()
    assert contract.snapshot(miniature.pipe) == before
    encoder = miniature.pipe.text_encoder
    assert encoder.shared.weight is encoder.encoder.embed_tokens.weight  # still tied
    assert np.array_equal(miniature.frames(Settings()), miniature.baseline)


def test_groups_are_the_blocks_of_each_component(miniature, cpu_as_gpu):
    handle = apply_all(miniature.pipe, Settings.of([Offload(mode="group", blocks_per_group=2)]))
    groups = {
        name: len(
            {
                id(part._diffusers_hook.get_hook("group_offloading").group)
                for part in module.modules()
                if "_diffusers_hook" in vars(part)
            }
        )
        for name, module in modules_of(miniature.pipe).items()
    }
    handle.remove()
    # three transformer blocks in two groups and two T5 blocks in one, each with one more group for what is outside the blocks
    assert groups == {"transformer": 3, "text_encoder": 2, "vae": 0}


def test_a_component_that_the_pipeline_lacks_is_named(miniature):
    with pytest.raises(UnknownNameError, match=r"^unknown component of WanPipeline 'unet': allowed are "):
        apply_all(miniature.pipe, Settings.of([Offload(mode="group", components=("unet",))]))
