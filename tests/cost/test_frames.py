"""The host RAM that a finished video's frames take: what diffusers' own postprocessing really allocates."""

from __future__ import annotations

import inspect
import tracemalloc

import diffusers
import pytest
import torch
from diffusers.video_processor import VideoProcessor

import workbench as wb
from workbench import Workload, models
from workbench.cost.frames import AS_ARRAYS, frames_ram_bytes

VIDEO = (16, 128, 256)
NUMBERS = 3 * 16 * 128 * 256


def traced_peak(output_type, num_videos, dtype):
    """Bytes of numpy's arrays at their most. torch's float copies are not seen by this: they are added."""
    video = torch.zeros(num_videos, 3, *VIDEO, dtype=dtype)
    processor = VideoProcessor(vae_scale_factor=8)
    tracemalloc.start()
    try:
        frames = processor.postprocess_video(video, output_type=output_type)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(frames) == num_videos
    return peak


@pytest.mark.parametrize("num_videos", [1, 3])
def test_arrays_are_stacked_into_a_copy(num_videos):
    floats = 4 * NUMBERS * num_videos
    predicted = frames_ram_bytes(VIDEO, num_videos, "WanPipeline")
    assert traced_peak("np", num_videos, torch.bfloat16) + floats == pytest.approx(predicted, rel=0.02)


def test_images_come_from_three_copies():
    predicted = frames_ram_bytes(VIDEO, 1, "LTXPipeline")
    assert traced_peak("pil", 1, torch.bfloat16) + 4 * NUMBERS == pytest.approx(predicted, rel=0.02)
    assert frames_ram_bytes(VIDEO, 3, "LTXPipeline") == predicted + 2 * NUMBERS * 4 // 3


def test_the_pipelines_really_give_arrays_or_images():
    names = {models.get(name).pipeline_class for name in models.names()}
    given = {
        name: inspect.signature(getattr(diffusers, name).__call__).parameters["output_type"].default
        for name in names
    }
    assert {name for name, output_type in given.items() if output_type == "np"} == AS_ARRAYS
    assert set(given.values()) == {"np", "pil"}


def test_a_long_clip_counts_in_host_ram():
    # the weights wait in host RAM; 80 frames more need what frames take
    prices = [
        wb.estimate(
            Workload.for_model("wan2.1-t2v-1.3b", frames=frames, height=720, width=1280, steps=2),
            {"offload": {"mode": "model"}},
            "rtx-4090",
        ).price
        for frames in (1, 81)
    ]
    more = prices[1].host_ram_bytes - prices[0].host_ram_bytes
    assert more == 8 * 3 * 80 * 720 * 1280
    assert frames_ram_bytes(None, 1, "WanPipeline") == 0
