"""Reads colour, shape and direction of a clip's subject: how caption-following is counted, and whose features Fréchet distances use.

Imports torch at its top: import it inside functions.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

from workbench.miniature.world import COLOURS, DIRECTIONS, SHAPES

LABELS: Mapping[str, tuple[str, ...]] = {"colour": COLOURS, "shape": SHAPES, "direction": DIRECTIONS}
"""What it reads -> the answers, in the order of its outputs."""

FEATURES = 96
"""Numbers that describe a clip before they become answers."""

_MOMENTS = 5
"""Parts of a clip that are told apart: what is the subject, and its colour, is decided at the beginning."""


class ClipClassifier(nn.Module):
    """Four strided 3-D convolutions over a clip, what is where in time but not in space, and a linear answer per label."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv3d(3, 16, (1, 5, 5), (1, 2, 2), (0, 2, 2)),
            nn.GroupNorm(4, 16),
            nn.SiLU(),
            nn.Conv3d(16, 32, 3, 2, 1),
            nn.GroupNorm(8, 32),
            nn.SiLU(),
            nn.Conv3d(32, 64, 3, (1, 2, 2), 1),
            nn.GroupNorm(8, 64),
            nn.SiLU(),
            nn.Conv3d(64, 64, 3, (2, 2, 2), 1),
            nn.SiLU(),
        )
        self.summary = nn.Linear(2 * 64 * _MOMENTS, FEATURES)
        self.heads = nn.ModuleDict(
            {name: nn.Linear(FEATURES, len(values)) for name, values in LABELS.items()}
        )

    def features(self, video: torch.Tensor) -> torch.Tensor:
        """[B, FEATURES] of clips [B, 3, F, H, W] in -1..1."""
        maps = self.body(video)
        moments = (_MOMENTS, 1, 1)
        pooled = [
            functional.adaptive_avg_pool3d(maps, moments),
            functional.adaptive_max_pool3d(maps, moments),
        ]
        found: torch.Tensor = self.summary(torch.cat(pooled, 1).flatten(1))
        return found

    def forward(self, video: torch.Tensor) -> dict[str, torch.Tensor]:
        """Scores [B, answers] per label, of clips [B, 3, F, H, W] in -1..1."""
        found = functional.silu(self.features(video))
        return {name: head(found) for name, head in self.heads.items()}

    @torch.no_grad()
    def read(self, clips: npt.NDArray[np.uint8], batch: int = 32) -> list[dict[str, str]]:
        """What it sees in clips [B, F, H, W, 3]: `{"colour": "red", "shape": "ring", "direction": "left"}` of each."""
        found: list[dict[str, str]] = []
        for start in range(0, len(clips), batch):
            best = {
                name: scores.argmax(1).tolist()
                for name, scores in self(as_input(clips[start : start + batch])).items()
            }
            count = len(clips[start : start + batch])
            found += [{name: LABELS[name][best[name][row]] for name in LABELS} for row in range(count)]
        return found


def as_input(clips: npt.NDArray[np.uint8]) -> torch.Tensor:
    """Clips [B, F, H, W, 3] of bytes as a network's input [B, 3, F, H, W] in -1..1."""
    return torch.from_numpy(clips.astype(np.float32)).permute(0, 4, 1, 2, 3).div_(127.5).sub_(1)


def answers(labels: list[dict[str, str]]) -> dict[str, torch.Tensor]:
    """Labels as numbers: [B] of each."""
    return {
        name: torch.tensor([values.index(row[name]) for row in labels]) for name, values in LABELS.items()
    }
