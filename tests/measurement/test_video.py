"""Videos: what is written is read back by another library, frame for frame."""

from __future__ import annotations

import av
import imageio_ffmpeg
import numpy as np
import pytest
import torch

from workbench._errors import InputError
from workbench.measurement import write_mp4
from workbench.measurement._video import checked_mp4, to_uint8


def moving_square(frames, height, width):
    video = np.full((frames, height, width, 3), (20, 60, 140), dtype=np.uint8)
    for k in range(frames):
        video[k, 4:14, 2 * k : 2 * k + 10] = (220, 40, 30)
    return video


def read(path):
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(stream)])
        return frames, stream.average_rate, stream.codec_context.pix_fmt, stream.codec_context.name


def test_an_mp4_is_read_back(tmp_path):
    video = moving_square(17, 48, 64)
    path = write_mp4(video, tmp_path / "clip.mp4", fps=8)
    frames, rate, pixels, codec = read(path)
    assert (frames.shape, rate, pixels, codec) == (video.shape, 8, "yuv420p", "h264")
    assert np.abs(frames.astype(int) - video).mean() < 4  # lossy, but this picture
    assert [item.name for item in tmp_path.iterdir()] == ["clip.mp4"]


@pytest.mark.parametrize(
    ("height", "width", "written"),
    [(33, 47, (34, 48)), (32, 47, (32, 48)), (16, 16, (16, 16)), (40, 56, (40, 56))],
)
def test_sizes_are_not_rescaled_and_odd_ones_get_one_more_row_or_column(tmp_path, height, width, written):
    video = moving_square(3, height, width)
    frames, *_ = read(write_mp4(video, tmp_path / "clip.mp4", fps=16))
    assert frames.shape[1:3] == written
    assert np.abs(frames[:, :height, :width].astype(int) - video).mean() < 4


def test_a_single_frame_is_a_video(tmp_path):
    frames, *_ = read(write_mp4(moving_square(1, 32, 32), tmp_path / "one.MP4", fps=1))
    assert len(frames) == 1


def test_a_failed_write_leaves_nothing_behind_and_the_old_video_whole(tmp_path, monkeypatch):
    path = write_mp4(moving_square(3, 32, 32), tmp_path / "clip.mp4", fps=8)
    before = path.read_bytes()

    def fail(target, *_, **__):
        with open(target, "wb") as file:
            file.write(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(imageio_ffmpeg, "write_frames", fail)
    with pytest.raises(OSError, match=r"^no space left on device$"):
        write_mp4(moving_square(3, 32, 32), path, fps=8)
    assert [item.name for item in tmp_path.iterdir()] == ["clip.mp4"] and path.read_bytes() == before


def message(of, *args):
    with pytest.raises(InputError) as caught:
        of(*args)
    return str(caught.value)


def test_names_that_no_video_can_have(tmp_path):
    assert message(checked_mp4, "clip.gif") == "the video's file name must end in .mp4, got 'clip.gif'"
    assert message(checked_mp4, "clip") == "the video's file name must end in .mp4, got 'clip'"
    folder = tmp_path / "folder.mp4"
    folder.mkdir()
    assert message(checked_mp4, folder) == f"the video's file name must not be a folder, got {str(folder)!r}"
    absent = tmp_path / "no" / "clip.mp4"
    assert message(checked_mp4, absent) == (
        f"cannot write the video {str(absent)!r}: there is no folder {str(absent.parent)!r}"
    )


@pytest.mark.parametrize("shape", [(0, 8, 8, 3), (2, 8, 8, 4), (8, 8, 3)])
def test_frames_of_another_shape_are_refused(tmp_path, shape):
    assert message(write_mp4, np.zeros(shape, np.uint8), tmp_path / "a.mp4", 8) == (
        f"frames must be uint8 of shape [frames, height, width, 3], got uint8 of shape {list(shape)}"
    )


def test_pixels_are_rounded_not_cut():
    video = torch.tensor([-0.1, 0.0, 0.5, 0.999, 1.0, 1.2]).view(1, 1, 1, 6).expand(2, 3, 1, 6)
    assert to_uint8(video).shape == (2, 1, 6, 3)
    assert to_uint8(video)[0, 0, :, 0].tolist() == [0, 0, 128, 255, 255, 255]
