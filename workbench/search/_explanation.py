"""What is alive at the peak of each stage, and what would lower it. Pure; `_explain.py` finds it out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from workbench._units import gib
from workbench.cost import Cost
from workbench.search._parts import peak_parts
from workbench.techniques import Settings

CATEGORIES = ("weights", "pipeline", "activations", "workspace")
"""Of what is alive: weights; what the pipeline itself holds (latents, embeddings, the video); what the running network has made; scratch
memory of kernels."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """Tensors of one kind that are alive together."""

    category: str
    component: str
    """Component that holds them, or whose op made them; empty for the pipeline's own code."""
    path: str
    """Module path of the op that made them, the component in front."""
    op: str
    """The op; empty for weights."""
    count: int
    num_bytes: int
    """Of all of them together."""

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            name: getattr(self, name)
            for name in ("category", "component", "path", "op", "count", "num_bytes")
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class StagePeak:
    """The fullest moment of a stage."""

    stage: str
    during: str
    """The component whose call is running; empty between calls."""
    parts: tuple[Part, ...]
    """Largest first; they add up to the stage's allocated peak."""

    @property
    def num_bytes(self) -> int:
        """Allocated at this moment."""
        return sum(part.num_bytes for part in self.parts)

    def by_category(self) -> dict[str, int]:
        """Bytes of each of `CATEGORIES`."""
        return {
            name: sum(part.num_bytes for part in self.parts if part.category == name) for name in CATEGORIES
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """One change of the settings that lowers the required VRAM."""

    technique: str
    parameters: Mapping[str, Any]
    settings: Settings
    cost: Cost
    caution: int
    """How far the changed settings stray from the un-optimised run (`search/caution.py`)."""


_TITLES = {"unallocated": "allocator's extra", "context": "CUDA context"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Requirement:
    """A part of what the card must have, and why."""

    name: str
    title: str
    num_bytes: int
    why: str


@dataclass(frozen=True, kw_only=True, repr=False)
class Explanation:
    """Why a configuration needs the memory that it needs. Shows itself as a table, in a terminal and in a notebook."""

    cost: Cost
    stages: tuple[StagePeak, ...]
    changes: tuple[Change, ...]
    """Cheapest first: those of least caution, of these the fastest."""

    @property
    def peak(self) -> StagePeak:
        """The fullest of all."""
        return max(self.stages, key=lambda stage: stage.num_bytes)

    def required(self) -> tuple[Requirement, ...]:
        """What the card must have, part by part, and their sum as the last."""
        cost, device, parts = self.cost, self.cost.device, peak_parts(self.cost)
        driver = f"{gib(device.unavailable_bytes):.2f} GiB that driver and ECC keep, and "
        whys = {
            "allocated": f"alive at the peak, in {cost.binds.name}",
            "unallocated": "held by PyTorch's allocator beyond that: cached or fragmented",
            "context": f"{driver if device.unavailable_bytes else ''}the CUDA context with its kernels",
            "desktop": device.sources.get("desktop_bytes", ""),
            "margin": cost.margin_basis,
            "required": f"of {gib(device.memory_bytes):.2f} GiB on the card",
        }
        sizes = {
            **parts.shown(),
            "allocated": parts.weights_bytes + parts.activations_bytes,
            "required": cost.required_vram_bytes,
        }
        return tuple(
            Requirement(name=name, title=_TITLES.get(name, name), num_bytes=sizes[name], why=why)
            for name, why in whys.items()
        )

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values: what `--json` prints."""
        return {
            "required": [
                {"part": part.name, "gib": gib(part.num_bytes), "why": part.why} for part in self.required()
            ],
            "allocated_peak_gib": gib(self.peak.num_bytes),
            "peak_stage": self.peak.stage,
            "stages": [
                {
                    "stage": stage.stage,
                    "during": stage.during,
                    "allocated_gib": gib(stage.num_bytes),
                    "gib_by_category": {name: gib(size) for name, size in stage.by_category().items()},
                    "parts": [part.to_json() for part in stage.parts],
                }
                for stage in self.stages
            ],
            "changes": [
                {
                    "technique": change.technique,
                    "parameters": dict(change.parameters),
                    "required_vram_gib": gib(change.cost.required_vram_bytes),
                    "total_s": change.cost.total_s,
                    "caution": change.caution,
                }
                for change in self.changes
            ],
        }

    def __repr__(self) -> str:
        from workbench.search._explained import explanation_report
        from workbench.search._render_text import render_report

        return render_report(explanation_report(self))

    def _repr_html_(self) -> str:
        from workbench.search._explained import explanation_report
        from workbench.search._render_html import render_report

        return render_report(explanation_report(self))
