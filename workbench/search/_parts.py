"""What a card's memory goes into, part by part: the numbers behind the bar of the text, of the HTML and of the figures. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from workbench._units import from_gib, gib
from workbench.cost import Cost, StageCost
from workbench.cost.margin import margin_bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class PartStyle:
    """How one part of the memory is called and drawn, the same everywhere."""

    title: str
    """Name for people."""
    colour: str
    """Hex colour, from the palette of Okabe and Ito (2008), which colour-blind people tell apart; it reads on light and on dark."""
    character: str
    """What fills the bar of the text, told apart without colour."""


PARTS = {
    "weights": PartStyle(title="weights", colour="#0072B2", character="█"),
    "activations": PartStyle(title="activations", colour="#E69F00", character="▓"),
    "unallocated": PartStyle(title="unallocated", colour="#CC79A7", character="▒"),
    "context": PartStyle(title="context", colour="#8C8C8C", character="░"),
    "desktop": PartStyle(title="desktop", colour="#56B4E9", character="▚"),
    "margin": PartStyle(title="margin", colour="#C4C4C4", character="╱"),
}
"""In the order in which they are stacked: what the run allocates and reserves, then what has to be there besides."""

BOUNDS = {
    "matmul": "matrix products",
    "attention": "attention",
    "conv": "convolutions",
    "memory": "memory traffic",
    "launch": "kernel launches",
    "transfer": "waiting for weights",
}
"""What bounds a stage's time (the kinds of `StageCost.by_kind_s`), in words."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Parts:
    """One stage's required memory, split; the parts add up to `required_bytes`."""

    weights_bytes: int
    activations_bytes: int
    unallocated_bytes: int
    """Held by PyTorch's allocator beyond what is allocated: cached and fragmented segments."""
    context_bytes: int
    """The CUDA context, and what the driver keeps."""
    desktop_bytes: int
    """Held by the desktop and other programs."""
    margin_bytes: int
    """Left free for a prediction that is too low."""

    @property
    def required_bytes(self) -> int:
        """All of it."""
        return sum(self.by_name().values())

    @property
    def reserved_bytes(self) -> int:
        """What PyTorch's allocator holds at the peak."""
        return self.weights_bytes + self.activations_bytes + self.unallocated_bytes

    def shown(self) -> dict[str, int]:
        """`by_name`, with a margin such that reserved, context, desktop and margin add up to what is required in hundredths of a GiB too:
        it takes the rounding, being the part that is a judgement anyway."""
        besides = (self.reserved_bytes, self.context_bytes, self.desktop_bytes)
        rest = round(gib(self.required_bytes), 2) - sum(round(gib(size), 2) for size in besides)
        return {**self.by_name(), "margin": from_gib(max(0.0, round(rest, 2)))}

    def by_name(self) -> dict[str, int]:
        """The bytes under the names of `PARTS`, in their order."""
        return {name: getattr(self, f"{name}_bytes") for name in PARTS}


def stage_parts(cost: Cost, stage: StageCost) -> Parts:
    """The parts of one stage, with the margin of its own kind of peak."""
    return _parts(cost, stage, margin_bytes(stage.name, stage.peak_reserved_bytes))


def peak_parts(cost: Cost) -> Parts:
    """The parts of the whole call, which add up to what is required: those of the stage that sets the peak, with the whole margin."""
    return _parts(cost, cost.binds, cost.margin_bytes)


def _parts(cost: Cost, stage: StageCost, margin: int) -> Parts:
    return Parts(
        weights_bytes=stage.weights_bytes,
        activations_bytes=stage.peak_allocated_bytes - stage.weights_bytes,
        unallocated_bytes=max(0, stage.peak_reserved_bytes - stage.peak_allocated_bytes),
        context_bytes=cost.device.context_bytes,
        desktop_bytes=cost.device.desktop_bytes,
        margin_bytes=margin,
    )
