"""The one `apply`: it prepares the weightless pipeline for a prediction and the real one for a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench.techniques._settings import Settings
from workbench.techniques._technique import Handle

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline


def apply_all(pipe: DiffusionPipeline, settings: Settings) -> Handle:
    """Applies every technique in the order of `ORDER`, in place; if one fails, those before it are undone.

    Returns:
        One handle for all: its report has every technique's sentences, `remove` undoes them last first.
    """
    whole = Handle()
    with whole.whole_or_not_at_all():
        for technique in settings.techniques:
            whole.include(technique.apply(pipe))
    return whole
