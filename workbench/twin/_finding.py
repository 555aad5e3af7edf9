"""What trying settings on a twin says of them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

UNTESTABLE = "not testable here"


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """What verification says of settings on a model."""

    model: str
    settings: Mapping[str, Any]
    """Settings JSON."""
    verdict: str
    """`acts`, `does nothing`, `fails`, `refused` (by `apply` itself, with a sentence) or `not testable here`."""
    detail: str
    """What changed, or what went wrong, as a sentence."""
    refusal: str | None
    """What `applies_to` says against it; None if it accepts."""
    where: str = ""
    """`run on the CPU`, `traced for CUDA` where no CPU can show it, or empty where nothing could be run."""
    restored: str | None = None
    """None if removal put everything back, else what it did not."""
    said: tuple[str, ...] = ()
    """The handle's report."""
    flops_ratio: float | None = None
    """FLOPs with it, divided by those without."""
    weights_ratio: float | None = None
    """Bytes of weights, likewise."""
    peak_ratio: float | None = None
    """Peak bytes of a run without its weights, likewise."""
    output_difference: float | None = None
    """Largest absolute difference of the output, of values from 0 to 1."""
    hooks: int = 0
    """Modules that got a hook or a forward of their own."""

    @property
    def disagreement(self) -> str | None:
        """None if `applies_to` is right and removal complete, else what we have to repair."""
        acts = self.verdict == "acts"
        if self.verdict == UNTESTABLE:
            return None
        if self.refusal is not None:  # and so never applied: what it would leave behind does not matter
            return f"refused, although it acts ({self.detail}): {self.refusal}" if acts else None
        if not acts:
            return f"accepted, but it {self.verdict.replace('refused', 'is refused')}: {self.detail}"
        return f"not undone: {self.restored}" if self.restored is not None else None

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, the disagreement included."""
        return {**asdict(self), "said": list(self.said), "disagreement": self.disagreement}
