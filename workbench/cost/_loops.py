"""Loops of library code that do the same to a hundred thousand rows: recorded for one row of each kind, and its events repeated.

HunyuanVideo-1.5's autoencoder fills its attention mask row by row. At 720p that is 111 600 rows, six seconds in which a rehearsal
learns nothing; on the GPU the rows are as many kernels, so they must stay in the trace. A test holds the trace against the loop's own.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from unittest import mock

import torch
from torch import Tensor

from workbench.cost._recorder import Recorder

_HUNYUAN15 = "diffusers.models.autoencoders.autoencoder_kl_hunyuanvideo15"


@contextlib.contextmanager
def shortened(recorder: Recorder) -> Iterator[None]:
    """Repeats the events of such loops instead of the loops, as long as the context lasts. Only of modules that are imported."""
    library = sys.modules.get(_HUNYUAN15)
    if library is None:
        yield
        return

    def causal_mask(
        frames: int, size: int, dtype: torch.dtype, device: torch.device, batch_size: int | None = None
    ) -> Tensor:
        """[frames * size, frames * size]: each row sees the frames up to its own."""
        mask = torch.full((frames * size, frames * size), float("-inf"), dtype=dtype, device=device)
        for frame in range(frames):
            start = len(recorder.events)
            mask[frame * size, : (frame + 1) * size] = 0
            recorder.events.extend(recorder.events[start:] * (size - 1))
        return mask if batch_size is None else mask.unsqueeze(0).expand(batch_size, -1, -1)

    block = library.HunyuanVideo15AttnBlock
    with mock.patch.object(block, "prepare_causal_attention_mask", staticmethod(causal_mask)):
        yield
