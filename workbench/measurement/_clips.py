"""Keeps clips as bytes, untouched by any codec: what quality is measured on. Touches the disk."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from workbench._files import replacing

if TYPE_CHECKING:
    import numpy as np

CLIP: Final = "clip.npy"
"""Its name in the folder of a process: `numpy.save` of bytes [F, H, W, 3]."""


def keep(clip: np.ndarray[Any, Any], folder: Path) -> None:
    """Writes the clip; it appears complete or not at all."""
    import numpy as np

    with replacing(folder / CLIP) as temporary:
        np.save(temporary, clip)


def same(clip: np.ndarray[Any, Any], folder: Path) -> bool:
    """Whether it equals the one that is kept, byte for byte."""
    import numpy as np

    return bool(np.array_equal(clip, read(folder / CLIP)))


def read(path: Path) -> np.ndarray[Any, Any]:
    """A clip that was kept."""
    import numpy as np

    clip: np.ndarray[Any, Any] = np.load(path)
    return clip
