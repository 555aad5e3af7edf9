"""All distances of two clips at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from workbench._errors import InputError
from workbench.measurement.quality._frames import Clip, UnavailableError, checked
from workbench.measurement.quality._images import lpips, ms_ssim, ms_ssim_scales, psnr, ssim
from workbench.measurement.quality._temporal import seam, temporal_error, variation
from workbench.measurement.quality._vmaf import vmaf


@dataclass(frozen=True, kw_only=True, slots=True)
class Quality:
    """How a clip differs from its reference. None: this machine cannot say, and `absent` has the reason."""

    psnr_db: float
    """Infinite for equal clips."""
    ssim: float | None
    ms_ssim: float | None
    ms_ssim_scales: int
    """Of five; small frames have fewer, and then the figure does not compare with that of large ones."""
    vmaf: float | None
    lpips: float | None
    variation: float
    """Mean absolute change from frame to frame of the candidate, as a share of the full range."""
    variation_difference: float
    """The same less the reference's: above 0 flickers more, below 0 moves less."""
    temporal_error: float
    """Mean absolute difference of the two clips' changes from frame to frame, over pixels."""
    seam: float
    """The largest change between two frames that the reference does not have there."""
    seam_frame: int
    """The frame at which it arrives."""
    absent: tuple[str, ...]
    """Why a figure is None, a sentence each."""

    def to_json(self) -> dict[str, Any]:
        """As plain values; the PSNR of equal clips is `inf`, which JSON proper does not have, hence the word."""
        plain = asdict(self)
        return {
            **plain,
            "psnr_db": "inf" if self.psnr_db == float("inf") else self.psnr_db,
            "absent": list(self.absent),
        }


def compare(candidate: Clip, reference: Clip, *, fps: float = 8, with_vmaf: bool = True) -> Quality:
    """Every distance of a clip from its reference, the un-optimised run with the same seed.

    Args:
        fps: frames per second, for VMAF.
        with_vmaf: False spares the process that VMAF needs.

    Raises:
        InputError: no clips of bytes of one shape, or single frames.
    """
    checked(candidate, reference)
    absent: list[str] = []

    def tried(metric: Callable[[], float]) -> float | None:
        try:
            return metric()
        except (
            UnavailableError,
            InputError,
        ) as error:  # the clips are sound: what is refused here is their size
            absent.append(str(error))
            return None

    changes, expected = variation(candidate), variation(reference)
    worst, frame = seam(candidate, reference)
    figures = {
        "ssim": tried(lambda: ssim(candidate, reference)),
        "ms_ssim": tried(lambda: ms_ssim(candidate, reference)),
        "vmaf": tried(lambda: vmaf(candidate, reference, fps)) if with_vmaf else None,
        "lpips": tried(lambda: lpips(candidate, reference)),
    }
    if not with_vmaf:
        absent.append("VMAF was not asked for")
    return Quality(
        psnr_db=psnr(candidate, reference),
        ms_ssim_scales=ms_ssim_scales(*candidate.shape[1:3]),
        variation=float(changes.mean()),
        variation_difference=float(changes.mean() - expected.mean()),
        temporal_error=temporal_error(candidate, reference),
        seam=worst,
        seam_frame=frame,
        absent=tuple(absent),
        **figures,
    )
