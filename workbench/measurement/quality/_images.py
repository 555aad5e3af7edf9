"""Distances of frames, by torchmetrics: PSNR, SSIM, MS-SSIM, LPIPS."""

from __future__ import annotations

import importlib.util
import warnings
from typing import TYPE_CHECKING

import numpy as np

from workbench._errors import InputError
from workbench.measurement.quality._frames import Clip, UnavailableError, checked

if TYPE_CHECKING:
    import torch

_KERNEL = 11
"""Pixels of the Gaussian window of SSIM, of deviation 1.5: Wang et al. 2004, https://doi.org/10.1109/TIP.2003.819861"""

_SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Of the scales of MS-SSIM, the finest first: Wang et al. 2003, https://doi.org/10.1109/ACSSC.2003.1292216"""

_ALEXNET = "alexnet-owt-7be5be79.pth"
"""The file in which torchvision keeps AlexNet's weights, below torch.hub's folder `checkpoints`."""


def psnr(candidate: Clip, reference: Clip) -> float:
    """Peak signal-to-noise ratio in dB, of the squared error over all pixels and frames; infinite for equal clips.

    Raises:
        InputError: no clips of bytes of one shape.
    """
    checked(candidate, reference)
    if np.array_equal(candidate, reference):
        return float("inf")
    from torchmetrics.functional.image import peak_signal_noise_ratio

    return float(peak_signal_noise_ratio(_images(candidate), _images(reference), data_range=1.0))


def ssim(candidate: Clip, reference: Clip) -> float:
    """Structural similarity, 1 for equal clips: the mean over frames and channels, with a Gaussian window of 11 pixels.

    Raises:
        InputError: no clips of bytes of one shape, or of fewer than 11 pixels on a side.
    """
    checked(candidate, reference)
    if min(candidate.shape[1:3]) < _KERNEL:
        raise InputError(
            f"SSIM needs {_KERNEL} pixels on each side, got {candidate.shape[1]}x{candidate.shape[2]}"
        )
    from torchmetrics.functional.image import structural_similarity_index_measure

    found = structural_similarity_index_measure(_images(candidate), _images(reference), data_range=1.0)
    return float(found)


def ms_ssim_scales(height: int, width: int) -> int:
    """How many of the five scales of MS-SSIM frames of this size have: at each, the window has to fit."""
    return sum(min(height, width) // 2**scale >= _KERNEL for scale in range(len(_SCALE_WEIGHTS)))


def ms_ssim(candidate: Clip, reference: Clip) -> float:
    """Structural similarity over several scales, 1 for equal clips, mean over frames.

    All five scales need 176 pixels on each side; smaller frames have fewer (`ms_ssim_scales`), with the weights of those in proportion, so
    figures of clips of different size do not compare.

    Raises:
        InputError: no clips of bytes of one shape, or too small for two scales.
    """
    checked(candidate, reference)
    scales = ms_ssim_scales(*candidate.shape[1:3])
    if scales < 2:
        raise InputError(
            f"MS-SSIM needs {2 * _KERNEL} pixels on each side, got {candidate.shape[1]}x{candidate.shape[2]}"
        )
    from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

    total = sum(_SCALE_WEIGHTS[:scales])
    weights = tuple(weight / total for weight in _SCALE_WEIGHTS[:scales])
    found = multiscale_structural_similarity_index_measure(
        _images(candidate), _images(reference), data_range=1.0, betas=weights, normalize="relu"
    )
    return float(found)


def lpips(candidate: Clip, reference: Clip) -> float:
    """Learned perceptual distance on AlexNet (Zhang et al. 2018, https://arxiv.org/abs/1801.03924), 0 for equal clips, mean over frames.

    torchmetrics brings the metric's own weights; AlexNet's must be where torchvision keeps them. They are not fetched.

    Raises:
        InputError: no clips of bytes of one shape.
        UnavailableError: torchvision or AlexNet's weights are not on this machine.
    """
    checked(candidate, reference)
    if importlib.util.find_spec("torchvision") is None:
        raise UnavailableError(
            "LPIPS needs torchvision, which is not installed (it must fit the installed torch)"
        )
    from pathlib import Path

    import torch

    path = Path(torch.hub.get_dir()) / "checkpoints" / _ALEXNET
    if not path.is_file():
        raise UnavailableError(f"LPIPS needs AlexNet's weights at {str(path)!r}; nothing is downloaded")
    from torchmetrics.functional.image import learned_perceptual_image_patch_similarity

    with warnings.catch_warnings():  # torchvision's own, about arguments that torchmetrics passes
        warnings.simplefilter("ignore", UserWarning)
        found = learned_perceptual_image_patch_similarity(
            _images(candidate), _images(reference), net_type="alex", normalize=True
        )
    return float(found)


def _images(clip: Clip) -> torch.Tensor:
    """Frames as a batch of images, [F, 3, H, W] in 0..1."""
    import torch

    return torch.from_numpy(clip.astype(np.float32)).permute(0, 3, 1, 2).div_(255).contiguous()
