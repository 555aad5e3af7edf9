"""A denoiser's forward on a sliding window of frames: less memory per step, the same schedule.

Shapes: B batch, C channels, T latent frames of the clip, H and W latent size, L tokens (frame by frame, T first).

The windows are all equally long: the last one is moved back to end with the clip instead of being cut short, because a denoiser that
was trained on long clips makes a short remainder badly (and its shorter sequence would be another shape to plan for). Where a window
overlaps what is already there, the new frames are faded in by a linear ramp; each frame's weights sum to one. The blend writes into one
output buffer in place, so it needs a single clip-sized tensor and the window at hand.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def window_starts(total: int, frames: int, overlap: int) -> tuple[int, ...]:
    """First frame of each window over `total` frames; one window if it covers them all."""
    if frames >= total:
        return (0,)
    return (*range(0, total - frames, frames - overlap), total - frames)


class TemporalWindow:
    """Wraps forwards of denoisers that take `hidden_states` [B, C, T, H, W].

    Arguments that belong to frames are cut with the clip: every 5-D tensor of its T frames (control and pose latents), and a
    `timestep` per token [B, L] (image-conditioned Wan 2.2). Conditioning that is concatenated to the channels is cut with the latents.
    Everything else (prompt and image embeddings) goes to every window. Each window counts its positions from its own first frame.
    """

    __slots__ = ("frames", "num_windows", "overlap", "total")

    def __init__(self, frames: int, overlap: int) -> None:
        self.frames = frames
        """Latent frames of a window."""
        self.overlap = overlap
        """Latent frames that a window shares with the one before; the last one may share more."""
        self.total = 0
        """Latent frames of the clip of the latest forward; 0 before the first one."""
        self.num_windows = 0
        """Windows of the latest forward."""

    def wrap(self, forward: Callable[..., Any]) -> Callable[..., Any]:
        """The forward on windows; it takes and returns what `forward` does."""
        signature = inspect.signature(forward)
        # plain numbers in the closure: a remembered trace is told apart by them
        frames, overlap = self.frames, self.overlap

        @functools.wraps(forward)
        def windowed(*args: Any, **kwargs: Any) -> Any:
            call = signature.bind(*args, **kwargs)
            total = call.arguments["hidden_states"].shape[2]
            starts = window_starts(total, frames, overlap)
            self.total, self.num_windows = total, len(starts)
            if len(starts) == 1:
                return forward(*args, **kwargs)
            whole: Tensor | None = None
            end = 0
            for start in starts:
                part = signature.bind(*args, **kwargs)
                for name, value in part.arguments.items():
                    part.arguments[name] = _cut(name, value, start, frames, total)
                result = forward(*part.args, **part.kwargs)
                whole = _blend(whole, result[0], start, end, total)
                wrapped = _wrapper(result)
                del part, result  # or this window's tensors would live while the next one computes
                end = start + frames
            return wrapped(whole)

        return windowed


def _cut(name: str, value: Any, start: int, frames: int, total: int) -> Any:
    """The window's part of an argument that belongs to frames; any other as it is."""
    if not isinstance(value, Tensor):
        return value
    if value.dim() == 5 and value.shape[2] == total:
        return value[:, :, start : start + frames]
    if name == "timestep" and value.dim() == 2 and value.shape[1] % total == 0:
        tokens = value.shape[1] // total
        return value[:, start * tokens : (start + frames) * tokens]
    return value


def _blend(whole: Tensor | None, part: Tensor, start: int, end: int, total: int) -> Tensor:
    """Puts a window's result into the clip's, which is filled up to `end`; the frames both have are faded over."""
    if whole is None:
        batch, channels, _, height, width = part.shape
        whole = part.new_empty(batch, channels, total, height, width)
    shared = max(0, end - start)
    if shared:
        ramp = torch.arange(1, shared + 1, dtype=part.dtype, device=part.device) / (shared + 1)
        whole[:, :, start:end].lerp_(part[:, :, :shared], ramp.view(1, 1, -1, 1, 1))
    whole[:, :, start + shared : start + part.shape[2]].copy_(part[:, :, shared:])
    return whole


def _wrapper(result: Any) -> Callable[[Tensor | None], Any]:
    """Makes a result of the same kind (a tuple, or one of diffusers' output classes) around another tensor."""
    if isinstance(result, tuple):
        rest = result[1:]
        return lambda whole: (whole, *rest)
    kind, (first, *names) = type(result), list(result)
    others = {name: result[name] for name in names}
    return lambda whole: kind(**{first: whole, **others})
