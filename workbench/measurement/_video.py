"""Writes a video that any player opens: H.264 in an mp4, 8 bit 4:2:0. Touches the disk and starts ffmpeg."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench._errors import InputError
from workbench._files import replacing

if TYPE_CHECKING:
    import numpy as np

_QUALITY = 8
"""Of imageio-ffmpeg's 1 to 10 (variable bit rate): artefacts of the codec must not pass for artefacts of a technique."""


def checked_mp4(out: str | Path) -> Path:
    """The path of a video to write, checked before anything is computed.

    Raises:
        InputError: the name does not end in .mp4, its folder does not exist, or it is a folder.
    """
    path = Path(out)
    if path.suffix.lower() != ".mp4":
        raise InputError(f"the video's file name must end in .mp4, got {str(out)!r}")
    if path.is_dir():
        raise InputError(f"the video's file name must not be a folder, got {str(out)!r}")
    if not path.parent.is_dir():
        raise InputError(f"cannot write the video {str(out)!r}: there is no folder {str(path.parent)!r}")
    return path


def write_mp4(frames: np.ndarray[Any, Any], out: str | Path, fps: int) -> Path:
    """Writes frames to an mp4; the file appears complete or not at all.

    Args:
        frames: [frames, height, width, 3] of uint8, RGB. 4:2:0 stores colour for every second pixel, so of an odd height or width the
            last row or column is repeated once; nothing is rescaled.
        fps: frames per second, at least 1.

    Raises:
        InputError: the frames have another shape or dtype, or `out` is no mp4 that can be written.
    """
    import imageio_ffmpeg
    import numpy as np

    path = checked_mp4(out)
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8 or not frames.size:
        raise InputError(
            f"frames must be uint8 of shape [frames, height, width, 3], got {frames.dtype} of shape {list(frames.shape)}"
        )
    _, height, width, _ = frames.shape
    even = np.pad(frames, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    with replacing(path) as temporary:
        writer = imageio_ffmpeg.write_frames(
            str(temporary),
            (even.shape[2], even.shape[1]),
            fps=fps,
            pix_fmt_in="rgb24",
            pix_fmt_out="yuv420p",
            quality=_QUALITY,
            macro_block_size=2,
            ffmpeg_log_level="error",
        )
        writer.send(None)
        for frame in even:
            writer.send(np.ascontiguousarray(frame))
        writer.close()
    return path


def to_uint8(video: Any) -> np.ndarray[Any, Any]:
    """A video as diffusers gives it with `output_type="pt"` ([frames, 3, height, width], 0 to 1) as uint8 [frames, height, width, 3]."""
    scaled = video.detach().float().clamp(0, 1).mul(255).round()
    return scaled.permute(0, 2, 3, 1).byte().cpu().numpy()
