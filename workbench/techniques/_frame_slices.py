"""Attention of an autoencoder within each frame, a few frames at a time. Imports torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class FrameSlices:
    """An attention processor in front of another: [batch, channels, frames, height, width] in slices along the frames."""

    processor: Any
    frames: int

    def __call__(self, attn: Any, hidden_states: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        if attention_mask is not None or hidden_states.shape[2] <= self.frames:
            whole: Tensor = self.processor(attn, hidden_states, attention_mask)
            return whole
        slices = hidden_states.split(self.frames, dim=2)
        return torch.cat([self.processor(attn, part, None) for part in slices], dim=2)
