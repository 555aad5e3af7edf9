"""What a card's memory goes into, part by part: the numbers behind the bar of the text, of the HTML and of the figures. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from workbench.cost import Cost, StageCost


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
    "overhead": PartStyle(title="context + margin", colour="#8C8C8C", character="░"),
}
"""In the order in which they are stacked."""

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
    margin_bytes: int

    @property
    def overhead_bytes(self) -> int:
        """CUDA context and margin."""
        return self.context_bytes + self.margin_bytes

    @property
    def required_bytes(self) -> int:
        """All of it."""
        return self.weights_bytes + self.activations_bytes + self.unallocated_bytes + self.overhead_bytes

    def by_name(self) -> dict[str, int]:
        """The bytes under the names of `PARTS`, in their order."""
        return {
            "weights": self.weights_bytes,
            "activations": self.activations_bytes,
            "unallocated": self.unallocated_bytes,
            "overhead": self.overhead_bytes,
        }


def stage_parts(cost: Cost, stage: StageCost) -> Parts:
    """The parts of one stage. The margin is a share of what is allocated, so a stage has its share of the whole call's margin."""
    price, context = cost.price, cost.device.context_bytes
    margin = price.required_vram_bytes - price.peak_reserved_bytes - context
    share = stage.peak_allocated_bytes / price.peak_allocated_bytes if price.peak_allocated_bytes else 1.0
    return Parts(
        weights_bytes=stage.weights_bytes,
        activations_bytes=stage.peak_allocated_bytes - stage.weights_bytes,
        unallocated_bytes=max(0, stage.peak_reserved_bytes - stage.peak_allocated_bytes),
        context_bytes=context,
        margin_bytes=round(margin * share),
    )


def peak_parts(cost: Cost) -> Parts:
    """The parts of the whole call, which add up to what is required: those of the stage that sets the peak, with the whole margin."""
    stage, price, context = cost.binds, cost.price, cost.device.context_bytes
    return Parts(
        weights_bytes=stage.weights_bytes,
        activations_bytes=stage.peak_allocated_bytes - stage.weights_bytes,
        unallocated_bytes=max(0, stage.peak_reserved_bytes - stage.peak_allocated_bytes),
        context_bytes=context,
        margin_bytes=price.required_vram_bytes - price.peak_reserved_bytes - context,
    )
