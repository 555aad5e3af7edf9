"""Temporal chunks: video frames become latent frames, and the report says what a run did."""

from __future__ import annotations

import pytest

from workbench.models import get
from workbench.techniques import Settings, TemporalChunks, apply_all


@pytest.mark.parametrize(
    ("frames", "overlap", "latent"),
    [(33, 8, (9, 2)), (1, 0, (1, 0)), (4, 3, (1, 0)), (5, 4, (2, 1)), (8, 7, (2, 1))],
)
def test_video_frames_become_latent_frames(frames, overlap, latent):
    assert TemporalChunks(frames=frames, overlap=overlap).latent(4) == latent


@pytest.mark.parametrize(
    ("frames", "overlap", "clip", "windows"),
    [(33, 8, 81, 3), (41, 0, 81, 2), (81, 8, 81, 1), (161, 0, 81, 1), (5, 4, 81, 20)],
)
def test_windows_of_a_call(frames, overlap, clip, windows):
    from workbench.runtime import window_starts

    chunks = TemporalChunks(frames=frames, overlap=overlap)
    assert chunks.num_windows(clip, 4) == windows
    assert len(window_starts((clip - 1) // 4 + 1, *chunks.latent(4))) == windows


def test_the_report_says_what_the_run_did(miniature):
    settings = Settings.of([TemporalChunks(frames=5, overlap=4)])
    handle = apply_all(miniature.pipe, settings)
    assert handle.report == ["transformer runs on windows of 2 latent frames (5 video frames) that share 1"]
    miniature.frames(settings)
    assert handle.report[1:] == ["transformer ran on 2 windows per call for 3 latent frames"]
    handle.remove()


def test_a_window_that_covers_the_clip_is_said_to_do_nothing(miniature):
    settings = Settings.of([TemporalChunks(frames=81)])
    handle = apply_all(miniature.pipe, settings)
    miniature.frames(settings)
    handle.remove()
    assert handle.report[1:] == [
        "temporal_chunks changed nothing for transformer: its window covers the 3 latent frames of the clip"
    ]


def test_a_denoiser_that_is_given_positions_of_the_whole_clip_gets_a_sentence():
    assert TemporalChunks(frames=33).applies_to(get("wan2.2-t2v-a14b"), None) is None
    assert TemporalChunks(frames=33).applies_to(get("ltx-video"), None) == (
        "its denoiser, LTXVideoTransformer3DModel, is not known to take a window of a clip: it must count positions itself"
    )


def test_a_pipeline_that_does_not_state_its_compression_is_asked_for_that_of_its_vae(miniature):
    pipe = miniature.weightless()
    before = apply_all(pipe, Settings.of([TemporalChunks(frames=5)])).report
    other = miniature.weightless()
    del other.vae_scale_factor_temporal
    assert apply_all(other, Settings.of([TemporalChunks(frames=5)])).report == before
