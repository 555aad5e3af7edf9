"""What the finished video takes of host RAM while diffusers turns it into frames."""

from __future__ import annotations

from typing import Final

AS_ARRAYS: Final = frozenset(
    {
        "HunyuanVideo15ImageToVideoPipeline",
        "HunyuanVideo15Pipeline",
        "SkyReelsV2DiffusionForcingPipeline",
        "SkyReelsV2ImageToVideoPipeline",
        "SkyReelsV2Pipeline",
        "WanImageToVideoPipeline",
        "WanPipeline",
        "WanVACEPipeline",
    }
)
"""Pipelines that give arrays by default, `output_type="np"` (diffusers 0.42); the others give PIL images."""

_ARRAY_BYTES = 4
_IMAGE_BYTES = 4 / 3
"""PIL keeps four bytes for three colours."""


def frames_ram_bytes(video: tuple[int, int, int] | None, num_videos: int, pipeline_class: str) -> int:
    """The most bytes of host RAM that a finished video's frames take, from `VideoProcessor.postprocess_video` on.

    An array: fp32, and `np.stack` copies all of them once more. PIL images: `numpy_to_pil` has the fp32 frames of one video three times
    (as they came, times 255, and rounded), beside the images of the videos before it. Exporting afterwards takes less: a byte for each
    number (`export_to_video`). Read in diffusers 0.42: `video_processor.py`, `image_processor.py`; tests/cost/test_frames.py runs it.

    Args:
        video: (frames, height, width) of one; None if the pipeline does not say, which counts as nothing.
    """
    if video is None:
        return 0
    numbers = 3 * video[0] * video[1] * video[2]
    if pipeline_class in AS_ARRAYS:
        return 2 * _ARRAY_BYTES * numbers * num_videos
    return round(numbers * (3 * _ARRAY_BYTES + _IMAGE_BYTES * (num_videos - 1)))
