"""The composition that a plan searches: the lean one, and where nothing of it fits what else may help."""

from __future__ import annotations

from collections.abc import Callable

from workbench._estimate import Predictor
from workbench.cost.outline import Outline
from workbench.devices import Device
from workbench.search._composing import Composed, Composition
from workbench.search._outlines import Outlines
from workbench.search.pins import Pins
from workbench.search.space import Space
from workbench.techniques import Settings

HELPS = {
    "text": ("text_encode",),
    "denoiser": ("denoise", "denoise_2"),
    "cfg": ("denoise", "denoise_2"),
}
"""Dimensions that save memory, and the stages in which they do; what else takes a trace of its own saves time, or little memory."""
FOUR_BITS = ("nf4", "nf4_double")
"""Of the further kinds of quantisation, what is tried where nothing fits: the smallest that runs on every card."""


def composed_for(
    predictor: Predictor,
    device: Device,
    pins: Pins,
    *,
    more: bool = False,
    allow: Callable[[Settings, Outline], bool] | None = None,
) -> Composition:
    """The composed space of a workload on a device.

    Args:
        more: whether the choices that take traces of their own are searched in any case.
        allow: whether a configuration may be chosen, by other limits than memory.

    Raises:
        SettingsError: what is pinned cannot act on this model, card or workload.
    """
    outlines, blocks = Outlines(predictor, device), predictor.num_blocks()
    whole = predictor.spec, predictor.workload, device, pins
    found = Composition(Space.of(*whole, blocks=blocks, more=more), outlines, allow)
    if more:
        found.explore()
        return found
    if not found.all() or any(composed.fits for composed in found.all()):
        return found
    wider = Space.of(*whole, blocks=blocks, more=True)
    helping = {name: wider.lean[name] for name in wider.dimensions if name not in HELPS}
    helping |= {name: tuple(dict.fromkeys((*wider.lean[name], *FOUR_BITS))) for name in ("text", "denoiser")}
    rescued = Composition(wider.only(**helping), outlines, allow)
    rescued.explore(lambda composed, name: _may_help(composed, name, device))
    return rescued if any(composed.fits for composed in rescued.all()) else found


def _may_help(composed: Composed, name: str, device: Device) -> bool:
    """Whether a dimension saves memory in a stage that has too little, and no other stage is beyond help."""
    lacking = {
        stage for stage, size in composed.outline.least_vram_bytes.items() if size > device.memory_bytes
    }
    helped = {stage for stages in HELPS.values() for stage in stages}
    return lacking <= helped and not lacking.isdisjoint(HELPS.get(name, ()))
