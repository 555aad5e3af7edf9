"""What happens between frames: how much a clip changes, and whether it changes as another one does."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from workbench._errors import InputError
from workbench.measurement.quality._frames import Clip, checked


def variation(clip: Clip) -> npt.NDArray[np.float64]:
    """Mean absolute change from each frame to the next, [F - 1], as a share of the full range: 0 for a still picture."""
    if len(clip) < 2:
        raise InputError(f"variation needs two frames or more, got {len(clip)}")
    change: npt.NDArray[np.float64] = np.abs(np.diff(clip.astype(np.float32) / 255, axis=0)).mean(
        (1, 2, 3), dtype=np.float64
    )
    return change


def temporal_error(candidate: Clip, reference: Clip) -> float:
    """Mean absolute difference, over pixels, of the two clips' changes from frame to frame, as a share of the full range.

    An error that stays where it is costs nothing here; flicker, a jump and another motion do.

    Raises:
        InputError: no clips of bytes of one shape, or single frames.
    """
    checked(candidate, reference)
    if len(candidate) < 2:
        raise InputError(f"temporal_error needs two frames or more, got {len(candidate)}")
    off = (candidate.astype(np.float32) - reference.astype(np.float32)) / 255
    return float(np.abs(np.diff(off, axis=0)).mean(dtype=np.float64))


def seam(candidate: Clip, reference: Clip) -> tuple[float, int]:
    """The largest change between two frames that the reference does not have there, and the frame at which it arrives.

    A share of the full range: 0 or less where the candidate nowhere changes more than the reference. Chunks that do not meet show here.

    Raises:
        InputError: no clips of bytes of one shape, or single frames.
    """
    checked(candidate, reference)
    excess = variation(candidate) - variation(reference)
    at = int(excess.argmax())
    return float(excess[at]), at + 1
