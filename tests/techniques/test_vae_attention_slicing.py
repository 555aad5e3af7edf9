"""Attention within frames, a few at a time: the same output with less memory, only where it stays within frames, undone without a trace."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from diffusers import AutoencoderKLCosmos

import workbench as wb
from workbench import models
from workbench._errors import SettingsError
from workbench.cost._recorder import Recorder
from workbench.techniques import VaeAttentionSlicing

COSMOS = "cosmos-1.0-diffusion-7b-text2world"


@pytest.fixture(scope="module")
def vae():
    torch.manual_seed(0)
    small = {
        "latent_channels": 4,
        "encoder_block_out_channels": (16, 32),
        "decode_block_out_channels": (16, 32),
        "num_layers": 1,
        "attention_resolutions": (16,),
        "resolution": 64,
        "spatial_compression_ratio": 4,
        "temporal_compression_ratio": 4,
        "patch_size": 2,
    }
    return AutoencoderKLCosmos(**small).eval()


def decoded(vae):
    latents = torch.randn(1, 4, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    recorder = Recorder(hollow=False)
    with torch.no_grad(), recorder:
        video = vae.decode(latents, return_dict=False)[0]
    return video, recorder.trace("decode")


@pytest.mark.parametrize("frames", [1, 2])
def test_the_output_is_the_same_with_less_memory_and_removal_restores_it(vae, frames):
    whole, trace = decoded(vae)
    handle = VaeAttentionSlicing(frames=frames).apply(SimpleNamespace(components={"vae": vae}))
    sliced, less = decoded(vae)
    handle.remove()
    again, restored = decoded(vae)
    torch.testing.assert_close(sliced, whole)
    assert less.num_ops > trace.num_ops
    assert torch.equal(again, whole)
    assert [op for _, op, _ in restored.walk()] == [op for _, op, _ in trace.walk()]


def test_it_brings_the_decode_of_cosmos_into_small_cards():
    whole = wb.estimate(COSMOS, {}, "h100-80gb").price.stages[-1]
    sliced = wb.estimate(COSMOS, {"vae_attention_slicing": {}}, "h100-80gb").price.stages[-1]
    assert whole.name == sliced.name == "decode"
    assert sliced.activations_bytes < 0.4 * whole.activations_bytes


def test_it_is_refused_where_it_would_do_nothing():
    with pytest.raises(SettingsError, match="does not compute the attention within all frames at once"):
        wb.estimate("tiny", {"vae_attention_slicing": {}})
    assert VaeAttentionSlicing().applies_to(models.get(COSMOS), None) is None
    with pytest.raises(SettingsError, match="needs one of AutoencoderKLCosmos"):
        VaeAttentionSlicing().apply(SimpleNamespace(components={}))
    with pytest.raises(SettingsError, match="frames of vae_attention_slicing must be a whole number"):
        VaeAttentionSlicing(frames=0)
