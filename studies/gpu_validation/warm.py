"""Imported once, by the process that the cases are forked from: what most of them need, so that each begins at once.

Nothing here opens the GPU, and whatever fails to import fails again in the case that needs it.
"""

from __future__ import annotations

import contextlib
import os

_seen = os.dup(2)
os.dup2(
    os.open(os.devnull, os.O_WRONLY), 2
)  # libraries say here what they lack; a case that lacks it says so in its record
try:
    import diffusers
    import measure
    import transformers
finally:
    os.dup2(_seen, 2)

for _library, _names in (
    (diffusers, ("WanPipeline", "AutoencoderKLWan", "WanTransformer3DModel", "UniPCMultistepScheduler")),
    (transformers, ("UMT5EncoderModel", "T5EncoderModel")),
):
    for _name in _names:
        with contextlib.suppress(Exception):
            getattr(_library, _name)
measure.pipes.workbench_or_none()
