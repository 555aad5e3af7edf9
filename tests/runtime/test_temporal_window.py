"""The sliding window: where windows lie, that frames are blended with weights that sum to one, and what is cut with the frames."""

from __future__ import annotations

import itertools

import pytest
import torch
from diffusers.models.modeling_outputs import Transformer2DModelOutput

from workbench.runtime import TemporalWindow, window_starts

SIZES = [
    (total, frames, overlap)
    for total in (5, 9, 13, 21)
    for frames in (1, 2, 5, 8, 21)
    for overlap in (0, 1, 3, 7)
]
SIZES = [(total, frames, overlap) for total, frames, overlap in SIZES if overlap < frames]


def clip(total: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(2, 3, total, 4, 4, generator=torch.Generator().manual_seed(0)).to(dtype)


def pointwise(hidden_states, timestep=None, encoder_hidden_states=None, return_dict=True):
    """A denoiser that looks at no other frame."""
    out = torch.sin(hidden_states) * 2
    return Transformer2DModelOutput(sample=out) if return_dict else (out,)


@pytest.mark.parametrize(("total", "frames", "overlap"), SIZES)
def test_windows_are_equally_long_and_cover_the_clip(total, frames, overlap):
    starts = window_starts(total, frames, overlap)
    assert starts[0] == 0
    assert list(starts) == sorted(set(starts))
    if frames >= total:
        assert starts == (0,)
        return
    assert starts[-1] + frames == total
    shared = [start + frames - after for start, after in itertools.pairwise(starts)]
    assert all(share >= overlap for share in shared)
    assert all(share == overlap for share in shared[:-1])


@pytest.mark.parametrize(("total", "frames", "overlap"), SIZES)
def test_a_denoiser_of_single_frames_gives_the_same_in_windows(total, frames, overlap):
    hidden = clip(total)
    whole = pointwise(hidden).sample
    windowed = TemporalWindow(frames, overlap).wrap(pointwise)(hidden_states=hidden).sample
    torch.testing.assert_close(windowed, whole, atol=1e-6, rtol=0)


@pytest.mark.parametrize(("total", "frames", "overlap"), SIZES)
def test_each_frames_weights_sum_to_one(total, frames, overlap):
    calls = []

    def marks_its_window(hidden_states, return_dict=False):
        # every window predicts 1 in a channel of its own, so the channels of the result are the windows' weights
        calls.append(hidden_states.shape[2])
        out = torch.zeros(1, 64, hidden_states.shape[2], 1, 1)
        out[:, len(calls) - 1] = 1
        return (out,)

    [weights] = TemporalWindow(frames, overlap).wrap(marks_its_window)(clip(total))
    assert set(calls) == {min(frames, total)}
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(1, total, 1, 1))
    assert weights.min() >= 0


def test_shared_frames_are_faded_over_linearly():
    def number(hidden_states, return_dict=False):
        number.calls += 1
        return (torch.full_like(hidden_states, float(number.calls)),)

    number.calls = 0
    [out] = TemporalWindow(6, 3).wrap(number)(torch.zeros(1, 1, 9, 1, 1))
    assert out.flatten().tolist() == [1, 1, 1, 1.25, 1.5, 1.75, 2, 2, 2]


@pytest.mark.parametrize("frames", [9, 12])
def test_a_window_that_covers_the_clip_calls_the_denoiser_once_with_what_it_was_given(frames):
    seen = []

    def forward(hidden_states, timestep=None):
        seen.append((hidden_states, timestep))
        return (hidden_states,)

    hidden, timestep = clip(9), torch.ones(2)
    window = TemporalWindow(frames, 4)
    [out] = window.wrap(forward)(hidden, timestep=timestep)
    assert out is hidden
    assert seen == [(hidden, timestep)]
    assert (window.total, window.num_windows) == (9, 1)


def test_what_belongs_to_frames_is_cut_with_them_and_the_rest_is_not():
    seen = []

    def forward(hidden_states, timestep, encoder_hidden_states, control_hidden_states=None, return_dict=True):
        seen.append((timestep, encoder_hidden_states, control_hidden_states))
        return Transformer2DModelOutput(sample=hidden_states)

    tokens = torch.arange(9).repeat_interleave(6).repeat(2, 1)  # [B, T*h*w]: the frame of each token
    control = torch.arange(9.0).view(1, 1, 9, 1, 1).expand(2, 5, 9, 4, 4)
    text = torch.randn(2, 9, 8)
    TemporalWindow(4, 1).wrap(forward)(
        clip(9), tokens, encoder_hidden_states=text, control_hidden_states=control
    )
    assert [part[0][0].unique().tolist() for part in seen] == [[0, 1, 2, 3], [3, 4, 5, 6], [5, 6, 7, 8]]
    assert [part[0].shape for part in seen] == [(2, 24)] * 3
    assert [part[2][0, 0, :, 0, 0].tolist() for part in seen] == [[0, 1, 2, 3], [3, 4, 5, 6], [5, 6, 7, 8]]
    assert all(part[1] is text for part in seen)


def test_one_timestep_per_video_goes_to_every_window():
    seen = []

    def forward(hidden_states, timestep):
        seen.append(timestep)
        return (hidden_states,)

    timestep = torch.tensor([7, 7])
    TemporalWindow(4, 0).wrap(forward)(clip(8), timestep)
    assert len(seen) == 2 and all(part is timestep for part in seen)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_result_keeps_its_dtype(dtype):
    hidden = clip(9, dtype)
    out = TemporalWindow(4, 2).wrap(pointwise)(hidden, return_dict=False)[0]
    assert out.dtype == dtype
    torch.testing.assert_close(out, pointwise(hidden).sample, atol=2e-2, rtol=0)


def test_no_more_than_the_clip_and_a_window_are_alive_at_once():
    from workbench.cost._recorder import Recorder

    hidden = torch.empty(1, 16, 32, 8, 8, device="meta")
    frame = hidden.numel() // 32 * 4
    recorder = Recorder()
    forward = TemporalWindow(8, 2).wrap(lambda hidden_states: (hidden_states * 2,))
    with recorder:
        out = forward(hidden)
    peak = max(live for _, _, live in recorder.trace("windows").walk())
    assert out[0].shape == hidden.shape
    assert peak <= (32 + 8) * frame + 64  # the clip, a window, and a ramp of two numbers
