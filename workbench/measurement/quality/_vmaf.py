"""VMAF by the ffmpeg that imageio-ffmpeg carries. Starts a process and writes temporary files."""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path

from workbench.measurement.quality._frames import Clip, UnavailableError, checked

MODEL = "vmaf_v0.6.1"
"""libvmaf's default model, built into it: scores as on a 1080p television. On small clips it ranks, and says no more."""

_LIMIT_S = 600


def vmaf(candidate: Clip, reference: Clip, fps: float = 8) -> float:
    """VMAF from 0 to 100, the mean over frames. Equal clips score near 100, not always 100: the model is a fitted one.

    Both are converted to 8-bit yuv420p, which the model expects; no codec is involved.

    Raises:
        InputError: no clips of bytes of one shape.
        UnavailableError: there is no ffmpeg, it was built without libvmaf, or libvmaf refuses the clip (it wants 16 pixels or more).
    """
    checked(candidate, reference)
    program = _ffmpeg()
    _, height, width, _ = candidate.shape
    with tempfile.TemporaryDirectory() as folder:
        inputs = []
        for name, clip in (("candidate.rgb", candidate), ("reference.rgb", reference)):
            (Path(folder) / name).write_bytes(clip.tobytes())
            inputs += [
                "-f",
                "rawvideo",
                "-pix_fmt",
                "rgb24",
                "-s",
                f"{width}x{height}",
                "-r",
                str(fps),
                "-i",
                name,
            ]
        # libvmaf takes the distorted clip first; the log's name is relative, so that no path has to be escaped in the filter
        graph = (
            "[0:v]format=yuv420p[d];[1:v]format=yuv420p[r];"
            f"[d][r]libvmaf=model=version={MODEL}:log_fmt=json:log_path=vmaf.json"
        )
        command = [
            program,
            "-hide_banner",
            "-nostdin",
            "-loglevel",
            "error",
            *inputs,
            "-lavfi",
            graph,
            "-f",
            "null",
            "-",
        ]
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=_LIMIT_S, check=False
        )
        log = Path(folder) / "vmaf.json"
        if done.returncode or not log.is_file():
            raise UnavailableError(f"VMAF: ffmpeg failed on {width}x{height}: {done.stderr.strip()[:400]}")
        found = json.loads(log.read_text(encoding="utf-8"))
    return float(found["pooled_metrics"]["vmaf"]["mean"])


def _ffmpeg() -> str:
    """The program, if it has libvmaf.

    Raises:
        UnavailableError: it has not, or there is none.
    """
    import imageio_ffmpeg

    try:
        program = str(imageio_ffmpeg.get_ffmpeg_exe())
    except RuntimeError as error:
        raise UnavailableError(f"VMAF needs ffmpeg: {error}") from error
    filters = subprocess.run(
        [program, "-hide_banner", "-filters"], capture_output=True, text=True, timeout=60, check=False
    )
    if " libvmaf " not in filters.stdout:
        raise UnavailableError(f"VMAF needs an ffmpeg with libvmaf; {program!r} was built without it")
    return program
