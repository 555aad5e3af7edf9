"""Tiles of every autoencoder class that a video pipeline may have: set, read back, acting, and put back; or refused."""

from __future__ import annotations

from dataclasses import replace

import diffusers
import pytest
import torch

from workbench._errors import SettingsError
from workbench.cost._calls import Call
from workbench.cost.rehearsal import Target, retrace
from workbench.models import get
from workbench.techniques import DecodeChunks, VaeTiling
from workbench.techniques._vae_tiles import WITH_FRAME_TILES, WITHOUT, kept, read, write

SMALL = {"block_out_channels": (8, 8, 8, 8), "norm_num_groups": 4, "layers_per_block": 1}
# class -> (configuration, latents of a clip larger than two tiles of `TILES`)
CLASSES = {
    "AutoencoderKLWan": ({"base_dim": 8, "num_res_blocks": 1}, (1, 16, 2, 32, 32)),
    "AutoencoderKLCogVideoX": (
        {**SMALL, "down_block_types": ("CogVideoXDownBlock3D",) * 4, "up_block_types": ("CogVideoXUpBlock3D",) * 4},
        (1, 16, 2, 32, 32),
    ),
    "AutoencoderKLHunyuanVideo": ({**SMALL, "layers_per_block": 1}, (1, 16, 2, 32, 32)),
    "AutoencoderKLMochi": (
        {"encoder_block_out_channels": (32, 32, 32, 32), "decoder_block_out_channels": (32, 32, 32, 32),
         "layers_per_block": (1, 1, 1, 1, 1)},
        (1, 12, 2, 32, 32),
    ),
    "AutoencoderKL": (
        {**SMALL, "down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4, "sample_size": 256},
        (2, 4, 32, 32),
    ),
    "AutoencoderKLLTXVideo": (
        {"block_out_channels": (8, 8, 8, 8), "decoder_block_out_channels": (8, 8, 8, 8), "layers_per_block": (1, 1, 1, 1, 1),
         "decoder_layers_per_block": (1, 1, 1, 1, 1), "latent_channels": 8},
        (1, 8, 2, 32, 32),
    ),
}  # fmt: skip
TILES = {"tile_height": 128, "tile_width": 128, "stride_height": 96, "stride_width": 96}


def build(name):
    config, latents = CLASSES[name]
    with torch.device("meta"):
        return getattr(diffusers, name)(**config).eval().requires_grad_(False), latents


@pytest.mark.parametrize("name", CLASSES)
def test_tiles_are_set_act_and_come_back(name):
    vae, latents = build(name)
    z = torch.empty(latents, device="meta")

    def decoded():
        trace = retrace(Call("vae", f"{name}.decode", (z,), {"return_dict": False}), vae, Target())
        convolutions = [
            op for op, count in trace.op_counts().items() for _ in range(count) if "conv" in op.name
        ]
        return len(convolutions)

    before, whole = kept(vae), decoded()
    vae.enable_tiling()
    write(vae, TILES)
    assert {key: value for key, value in read(vae).items() if key in TILES} == TILES
    assert decoded() > whole
    vars(vae).update(before)
    assert decoded() == whole


def test_frames_are_cut_where_the_class_can():
    vae, _ = build("AutoencoderKLLTXVideo")
    assert not vae.use_framewise_decoding
    write(vae, {"tile_frames": 32, "stride_frames": 24})
    assert (vae.tile_sample_min_num_frames, vae.tile_sample_stride_num_frames) == (32, 24)
    assert vae.use_framewise_decoding
    with pytest.raises(SettingsError, match="AutoencoderKLWan cannot set tile_frames of vae_tiling"):
        write(build("AutoencoderKLWan")[0], {"tile_frames": 32})


@pytest.mark.parametrize("name", CLASSES)
def test_frame_tiles_are_accepted_where_the_class_has_them(name):
    assert (read(build(name)[0])["tile_frames"] is not None) == (name in WITH_FRAME_TILES)


def test_tiles_of_frames_are_refused_where_the_class_has_none():
    sentence = VaeTiling(tile_frames=16, stride_frames=8).applies_to(get("tiny"), None)
    assert sentence == (
        "its VAE, AutoencoderKLWan, has no tiles along the frames: leave out tile_frames and stride_frames"
    )


def test_a_class_with_one_size_for_both_sides_says_so():
    with pytest.raises(SettingsError, match="keeps one tile and one overlap for height and width"):
        write(build("AutoencoderKL")[0], {**TILES, "tile_width": 256})


@pytest.mark.parametrize("name", WITHOUT)
def test_a_class_is_refused_only_as_long_as_its_decode_has_no_tiles(name):
    kind = getattr(diffusers, name)
    assert not any(callable(getattr(kind, method, None)) for method in ("tiled_decode", "_tiled_decode"))
    part = get("tiny").component("vae")
    model = replace(
        get("tiny"),
        components=tuple(
            replace(other, class_name=name) if other is part else other for other in get("tiny").components
        ),
    )
    sentence = VaeTiling().applies_to(model, None)
    assert sentence == f"its VAE, {name}, has no tiles: {WITHOUT[name]}"


def test_decode_chunks_are_for_autoencoders_of_images():
    assert DecodeChunks(frames=4).applies_to(get("tiny"), None) == (
        "its VAE, AutoencoderKLWan, decodes a clip as a whole; vae_tiling or temporal tiles cut it"
    )
    with pytest.raises(
        SettingsError, match="frames of decode_chunks must be a whole number of at least 1, got 0"
    ):
        DecodeChunks(frames=0)
