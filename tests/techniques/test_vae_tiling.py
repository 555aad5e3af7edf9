"""Tiling: sizes are checked against the VAE, its own come back, and a replayed tiled decode is the full one."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from workbench._errors import SettingsError
from workbench.cost._calls import Call, watched
from workbench.cost._lowering import lowered
from workbench.cost._memo import Memo
from workbench.cost._recorder import Recorder
from workbench.cost._trace import Trace
from workbench.models import get
from workbench.models._build import build_component
from workbench.techniques import Settings, VaeTiling, apply_all
from workbench.testing import contract


def tiled(**parameters: int) -> Settings:
    return Settings.of([VaeTiling(**parameters)])


WRONG = [
    (
        {"tile_height": 100},
        "tile_height of vae_tiling must be a multiple of the VAE's spatial compression 8, got 100",
    ),
    (
        {"stride_width": 60},
        "stride_width of vae_tiling must be a multiple of the VAE's spatial compression 8, got 60",
    ),
    (
        {"tile_width": 128},
        "stride_width of vae_tiling must be at most tile_width, got a stride of 192 for a tile of 128",
    ),
]


@pytest.mark.parametrize(("parameters", "message"), WRONG)
def test_sizes_are_checked_with_the_defaults_of_the_class(miniature, parameters, message):
    before = contract.snapshot(miniature.pipe)
    with pytest.raises(SettingsError) as caught:
        apply_all(miniature.pipe, tiled(**parameters))
    assert str(caught.value) == message
    assert contract.snapshot(miniature.pipe) == before


def test_the_report_has_the_sizes(miniature):
    sizes = {"tile_height": 64, "tile_width": 128, "stride_height": 48, "stride_width": 96}
    for parameters, said in ((sizes, "64x128 pixels every 48x96"), ({}, "256x256 pixels every 192x192")):
        handle = apply_all(miniature.pipe, tiled(**parameters))
        handle.remove()
        assert handle.report == [f"the VAE decodes in tiles of {said}"]
    assert not miniature.pipe.vae.use_tiling


def test_tiles_that_are_larger_than_the_frames_are_said_to_do_nothing(miniature):
    for parameters, said in (
        ({}, ["vae_tiling changed nothing: the frames are no larger than a tile"]),
        ({"tile_height": 32, "tile_width": 32, "stride_height": 24, "stride_width": 24}, []),
    ):
        handle = apply_all(miniature.pipe, tiled(**parameters))
        miniature.frames(Settings())
        assert handle.report[1:] == said
        handle.remove()


def test_a_pipeline_without_a_vae_gets_a_sentence(miniature):
    pipe = miniature.weightless()
    pipe.register_modules(vae=None)
    for settings, name in ((tiled(), "vae_tiling"), (Settings.parse({"vae_slicing": {}}), "vae_slicing")):
        with pytest.raises(
            SettingsError, match=rf"^{name} needs a VAE with enable_\w+, and WanPipeline has none$"
        ):
            apply_all(pipe, settings)


def decoded(memo: Memo | None) -> Trace:
    """A tiled decode of two rows of three tiles and three frames, with or without replay."""
    vae: Any = build_component(get("tiny"), "vae")
    vae.enable_tiling(32, 32, 24, 24)
    latents = torch.empty(1, 16, 3, 6, 9, device="meta")
    call = Call("vae", "AutoencoderKLWan.decode", (latents,), {"return_dict": False})
    recorder = Recorder(memo=memo)
    args, kwargs = call.arguments()
    with torch.no_grad(), lowered(recorder, "cuda", "flash"), recorder, watched(recorder, {"vae": vae}):
        recorder.adopt_all(args, kwargs)
        result = vae.decode(*args, **kwargs)
    del result
    return recorder.trace("decode")


def test_the_replay_of_a_tiled_decode_is_the_full_trace():
    full, replayed = decoded(None), decoded(Memo())
    contract.assert_same_walk(replayed.walk(), full.walk())
    assert replayed.peak() == full.peak()
    assert len(replayed.events) < len(full.events) / 100
