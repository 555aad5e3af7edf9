"""What the metrics take, and what they raise."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from workbench._errors import InputError, WorkbenchError

Clip = npt.NDArray[np.uint8]
"""A video: [F, H, W, 3], red, green, blue, 0 to 255."""


class UnavailableError(WorkbenchError):
    """A metric that this machine cannot compute: weights or a program are missing. The message says which, and where they belong."""


def checked(candidate: Clip, reference: Clip) -> None:
    """Raises InputError unless both are clips of bytes of one size."""
    for name, clip in (("candidate", candidate), ("reference", reference)):
        if clip.ndim != 4 or clip.shape[-1] != 3 or clip.dtype != np.uint8:
            raise InputError(
                f"{name} must be bytes of shape [F, H, W, 3], got {clip.dtype} of shape {list(clip.shape)}"
            )
    if candidate.shape != reference.shape:
        raise InputError(
            f"candidate and reference must have one shape, got {list(candidate.shape)} and {list(reference.shape)}"
        )
