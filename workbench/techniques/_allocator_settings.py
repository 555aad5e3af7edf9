"""Tells PyTorch's CUDA allocator in a running process. Imports torch."""

from __future__ import annotations

from collections.abc import Callable

import torch

_EXPANDABLE = "expandable_segments"


def told(conf: str) -> Callable[[], None]:
    """Sets these options beside those that are set already, and returns what puts the old ones back.

    PyTorch resets the options that a text does not name, all but `expandable_segments` (c10/core/AllocatorConfig.cpp, `parseArgs`).
    """
    before = torch._C._accelerator_getAllocatorSettings()
    torch._C._accelerator_setAllocatorSettings(",".join(filter(None, (before, conf))))

    def undo() -> None:
        if _EXPANDABLE in conf and _EXPANDABLE not in before:
            torch._C._accelerator_setAllocatorSettings(f"{_EXPANDABLE}:False")
        torch._C._accelerator_setAllocatorSettings(before)

    return undo


def why_not() -> str | None:
    """Why this process's allocator cannot be told, or None if it can."""
    if not torch.cuda.is_available():
        return "this machine has no CUDA device"
    if not hasattr(torch._C, "_accelerator_setAllocatorSettings"):  # before PyTorch 2.9
        return f"PyTorch {torch.__version__} takes options only when it starts"
    if torch.cuda.get_allocator_backend() != "native":
        return f"its backend is {torch.cuda.get_allocator_backend()}, which has no such options"
    return None
