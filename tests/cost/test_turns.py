"""Whole components on the GPU: what diffusers' and accelerate's own hooks do with modules that only note where they are."""

from __future__ import annotations

import itertools
import random

import pytest
import torch
from diffusers import DiffusionPipeline
from diffusers.pipelines import pipeline_utils
from torch import nn

from workbench.cost import CallLog, Placement, Residency, Weights
from workbench.cost.held import Held
from workbench.cost.turns import turns

GPU = "meta"
"""The device that stands for the GPU: the hooks need one that is not the CPU, and nothing is computed."""
NAMES = ("text_encoder", "image_encoder", "transformer", "vae", "connector")


class Movable(nn.Module):
    """A component that can go to the meta device and come back, which one with data cannot."""

    def __init__(self) -> None:
        nn.Module.__init__(self)
        self.weight = nn.Parameter(torch.zeros(1))
        self.dtype = torch.float32

    @property
    def device(self):
        return self.weight.device

    def to(self, *args, **kwargs):
        device = kwargs.get("device", args[0] if args else None)
        if device is not None:
            self.weight = nn.Parameter(torch.zeros(1, device=device))
        return self

    def forward(self):
        return None


class ToyPipeline(DiffusionPipeline):
    """One component is outside the sequence."""

    model_cpu_offload_seq = "text_encoder->image_encoder->transformer->vae"

    def __init__(self, text_encoder, image_encoder, transformer, vae, connector) -> None:
        DiffusionPipeline.__init__(self)
        self.register_modules(
            text_encoder=text_encoder,
            image_encoder=image_encoder,
            transformer=transformer,
            vae=vae,
            connector=connector,
        )


def log_of(visits: list[str]) -> CallLog:
    return CallLog(
        stages=(),
        visits=tuple(visits),
        visit_stages=("run",) * len(visits),
        offload_order=tuple(ToyPipeline.model_cpu_offload_seq.split("->")),
    )


def whole(*names: str) -> Residency:
    return Residency(placements={name: Placement(mode="whole") for name in names})


@pytest.mark.parametrize("seed", range(12))
def test_the_hooks_of_diffusers_agree(seed, monkeypatch):
    # the meta device has no cache that could be emptied
    monkeypatch.setattr(pipeline_utils, "empty_device_cache", lambda device: None)
    visits = random.Random(seed).choices(NAMES, k=12)
    visits = [name for name, _ in itertools.groupby(visits)]
    pipe = ToyPipeline(**{name: Movable() for name in NAMES})
    pipe.enable_model_cpu_offload(device=GPU)
    seen = []
    for name in visits:
        getattr(pipe, name)()
        seen.append({other for other in NAMES if getattr(pipe, other).weight.is_meta})
    found = turns(log_of(visits), whole(*NAMES))
    assert [set(turn.on_gpu) for turn in found] == seen
    pipe.maybe_free_model_hooks()
    assert not any(getattr(pipe, name).weight.is_meta for name in NAMES)
    assert set(found[-1].sends_back) >= seen[-1]


def test_what_comes_goes():
    visits = ["vae", "text_encoder", "transformer", "vae", "transformer", "vae"]
    found = turns(log_of(visits), whole(*NAMES))
    came = [name for turn in found for name in turn.brings]
    went = [name for turn in found for name in turn.sends_back]
    assert sorted(came) == sorted(went)
    # the autoencoder, last in the sequence, has nothing after it that would send it away
    assert came.count("vae") == 1 and came.count("transformer") == 2


def test_an_autoencoder_that_has_encoded_stays_beside_the_denoiser(weights):
    sizes = {
        "text_encoder": weights(10),
        "transformer": weights(7),
        "vae": weights(2),
        "image_encoder": weights(1),
    }
    log = log_of(["text_encoder", "vae", "transformer", "vae"])
    held = Held(log, sizes, whole(*sizes)).while_running("transformer", "run")
    # the image encoder, before it in the sequence, was never called, so nothing sent the text encoder back either
    assert held == {"text_encoder": 10, "vae": 2, "transformer": 7}


def test_a_component_that_is_excluded_stays(weights):
    log = CallLog(
        stages=(),
        visits=("vae",),
        visit_stages=("run",),
        offload_order=("vae",),
        never_offloaded=("checker",),
    )
    held = Held(log, {"vae": weights(2), "checker": weights(1)}, whole("vae", "checker"))
    assert held.while_running("vae", "run") == {"vae": 2, "checker": 1}


def test_nothing_is_whole_unless_it_is_placed_so(weights):
    assert [turn.on_gpu for turn in turns(log_of(["text_encoder", "vae"]), Residency())] == [(), ()]
    assert isinstance(weights(1), Weights)
