"""Fréchet distances between two sets of clips: Gaussians are fitted to their features, and the distance is that of the Gaussians.

Dowson and Landau 1982; as a score of generated images: Heusel et al. 2017, https://arxiv.org/abs/1706.08500; of videos: Unterthiner et al.
2018, https://arxiv.org/abs/1812.01717. A distance means something beside others of the same features and the same number of clips only.
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from workbench._errors import InputError
from workbench.measurement.quality._frames import UnavailableError

Clips = npt.NDArray[np.uint8]
"""A set of clips: [N, F, H, W, 3], bytes."""

I3D_VARIABLE = "WORKBENCH_I3D"
"""Environment variable that names a TorchScript file of I3D, as StyleGAN-V's FVD loads it."""


def frechet_distance(first: npt.NDArray[Any], second: npt.NDArray[Any]) -> float:
    """Squared Fréchet distance of Gaussians fitted to two sets of features, [N, D] each; 0 for equal sets.

    With fewer clips than features the covariances are singular: the figure is then biased upwards, equally for sets of equal size.

    Raises:
        InputError: no two sets of at least two clips with the same number of features.
    """
    for features in (first, second):
        if features.ndim != 2 or len(features) < 2:
            raise InputError(
                f"features must be [N, D] with two clips or more, got shape {list(features.shape)}"
            )
    if first.shape[1] != second.shape[1]:
        raise InputError(f"both sets need the same features, got {first.shape[1]} and {second.shape[1]}")
    one, other = first.astype(np.float64), second.astype(np.float64)
    covariances = [np.atleast_2d(np.cov(features, rowvar=False)) for features in (one, other)]
    # trace of the root of a product of two covariances, by the symmetric matrix that has the same eigenvalues
    values, vectors = np.linalg.eigh(covariances[0])
    root = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
    cross = np.sqrt(np.clip(np.linalg.eigvalsh(root @ covariances[1] @ root), 0, None)).sum()
    apart = float(((one.mean(0) - other.mean(0)) ** 2).sum())
    return max(0.0, apart + float(np.trace(covariances[0]) + np.trace(covariances[1]) - 2 * cross))


def frechet_miniature(made: Clips, real: Clips) -> float:
    """Fréchet distance on the features of the miniature's own classifier. It is no FVD: other features, another scale.

    Raises:
        InputError: too few clips, or the miniature's weights are not in this package.
    """
    from workbench.miniature import load_classifier

    classifier = load_classifier()
    return frechet_distance(_features(classifier, made), _features(classifier, real))


def fvd(made: Clips, real: Clips, weights: str | Path | None = None) -> float:
    """Fréchet Video Distance: on the 400 outputs of I3D trained on Kinetics.

    Args:
        weights: a TorchScript file that takes `(video, rescale=True, resize=True, return_features=True)`; None means what the environment
            variable `WORKBENCH_I3D` names.

    Raises:
        InputError: too few clips, or clips of fewer than 10 frames, which I3D cannot see.
        UnavailableError: no such file. It is not fetched.
    """
    named = weights if weights is not None else os.environ.get(I3D_VARIABLE)
    if not named:
        raise UnavailableError(
            f"FVD needs I3D as a TorchScript file: pass `weights` or name it in {I3D_VARIABLE}; nothing is downloaded"
        )
    if not Path(named).is_file():
        raise UnavailableError(
            f"FVD needs I3D's weights, and {str(named)!r} is no file; nothing is downloaded"
        )
    for clips in (made, real):
        if clips.ndim != 5 or clips.shape[1] < 10:
            raise InputError(
                f"FVD needs clips [N, F, H, W, 3] of 10 frames or more, got shape {list(clips.shape)}"
            )
    import torch

    with (
        warnings.catch_warnings()
    ):  # TorchScript is what the file is; that torch would rather have another is not the caller's to mend
        warnings.simplefilter("ignore", DeprecationWarning)
        network = torch.jit.load(str(named), map_location="cpu").eval()

    def features(clips: Clips) -> npt.NDArray[np.float32]:
        with torch.no_grad():
            found = [
                network(
                    torch.from_numpy(clips[at : at + 8].astype(np.float32)).permute(0, 4, 1, 2, 3),
                    rescale=True,
                    resize=True,
                    return_features=True,
                )
                for at in range(0, len(clips), 8)
            ]
        array: npt.NDArray[np.float32] = torch.cat(found).numpy()
        return array

    return frechet_distance(features(made), features(real))


def _features(classifier: Any, clips: Clips) -> npt.NDArray[np.float32]:
    import torch

    from workbench.miniature._classifier import as_input

    with torch.no_grad():
        found = [classifier.features(as_input(clips[at : at + 32])) for at in range(0, len(clips), 32)]
    array: npt.NDArray[np.float32] = torch.cat(found).numpy()
    return array
