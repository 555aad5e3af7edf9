"""What is replayed instead of run again, beside equal calls of modules: each time the trace is the one of the full run."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKLMagvit, AutoencoderKLWan
from torch import nn

from workbench.cost._calls import watched
from workbench.cost._loops import shortened
from workbench.cost._lowering import lowered
from workbench.cost._memo import Memo
from workbench.cost._recorder import Recorder
from workbench.cost._trace import ENTER, Trace
from workbench.cost.rehearsal import Target, rehearse
from workbench.models import Workload, get
from workbench.models._build import build_meta_pipeline, call_kwargs

MAGVIT = {
    "latent_channels": 4,
    "block_out_channels": [8, 8, 8, 8],
    "layers_per_block": 1,
    "norm_num_groups": 4,
}
WAN = {"base_dim": 8, "z_dim": 4, "latents_mean": [0.0] * 4, "latents_std": [1.0] * 4}


def _decoded(vae: nn.Module, frames: int, memo: Memo | None) -> Trace:
    latents = torch.empty(1, 4, frames, 6, 6, device="meta")
    recorder = Recorder(memo=memo)
    with (
        torch.no_grad(),
        lowered(recorder, "cuda", "flash"),
        recorder,
        watched(recorder, {"vae": vae}),
    ):
        result = vae.decode(latents, return_dict=False)
        del result
    return recorder.trace("decode")


def _spelled(trace: Trace) -> list[tuple[str, Any, int]]:
    return list(trace.walk())


@pytest.mark.parametrize("kind, config", [(AutoencoderKLMagvit, MAGVIT), (AutoencoderKLWan, WAN)])
def test_features_kept_for_the_next_frames_do_not_stop_replay(kind: Any, config: dict[str, Any]) -> None:
    with torch.device("meta"):
        vae = kind(**config).eval()
    sizes = {"tile_sample_min_height": 32, "tile_sample_min_width": 32}
    vae.enable_tiling(**sizes)
    vae.tile_sample_stride_height = vae.tile_sample_stride_width = 24
    memo = Memo()
    _decoded(vae, 7, memo)
    known = len(memo.calls)
    assert _spelled(_decoded(vae, 7, memo)) == _spelled(_decoded(vae, 7, None))
    _decoded(vae, 15, memo)
    assert len(memo.calls) < 1.2 * known, "twice the frames are the same calls more often"


def test_modules_share_what_they_do_to_their_own_features() -> None:
    with torch.device("meta"):
        vae = AutoencoderKLWan(**WAN).eval()
    memo = Memo()
    _decoded(vae, 5, memo)
    taken = {
        type(vae.get_submodule(name)).__name__: memo.places.get(id(vae.get_submodule(name)))
        for name in ("decoder", "decoder.mid_block", "decoder.mid_block.resnets.0")
    }
    assert taken["WanResidualBlock"] == 2, "one place for each of its two convolutions"
    assert taken["WanMidBlock"] == 4
    assert taken["WanDecoder3d"] == len(vae._feat_map or []) or taken["WanDecoder3d"] > 4


def test_a_loop_over_rows_is_recorded_as_if_it_had_run() -> None:
    from diffusers.models.autoencoders.autoencoder_kl_hunyuanvideo15 import HunyuanVideo15AttnBlock

    def events(shorten: bool) -> list[tuple[object, ...]]:
        recorder = Recorder(memo=Memo())
        context = shortened(recorder) if shorten else contextlib.nullcontext()
        with context, torch.no_grad(), recorder:
            mask = HunyuanVideo15AttnBlock.prepare_causal_attention_mask(
                4, 60, torch.float16, torch.device("meta"), batch_size=1
            )
            shape = mask.shape
            del mask
        assert shape == (1, 240, 240)
        return recorder.events

    assert events(shorten=True) == events(shorten=False)


def test_equal_steps_of_a_scheduler_are_recorded_once_and_leave_it_as_it_was() -> None:
    spec = get("tiny")
    workload = Workload.for_model(spec, steps=4)
    pipe, memo = build_meta_pipeline(spec), Memo()
    before = {name: repr(value) for name, value in vars(pipe.scheduler).items()}
    runs = []
    for _ in range(2):
        trace, _ = rehearse(pipe, call_kwargs(spec, workload, pipe), Target(), memo)
        runs.append(trace)
        assert {name: repr(value) for name, value in vars(pipe.scheduler).items()} == before
    first, second = (
        [event[1] for event in trace.events if event[0] == ENTER and event[1].name.endswith(".step")]
        for trace in runs
    )
    assert len(first) == workload.steps
    assert all(a is b for a, b in zip(first, second, strict=True))
    assert _spelled(runs[0]) == _spelled(runs[1])
