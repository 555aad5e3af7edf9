"""What every question is asked with: a workload and limits, read once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench._plan import Limits
from workbench.models import ModelSpec, Workload
from workbench.search.pins import Pins
from workbench.techniques import Settings

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

Tell = Callable[[str], None]


def silent(words: str) -> None:
    """Tells nobody."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """A workload, and what a plan for it must keep to."""

    workload: Workload
    limits: Limits
    pins: Pins

    @classmethod
    def of(
        cls,
        model: ModelSpec | str | Path | DiffusionPipeline,
        size: Mapping[str, Any],
        *,
        max_seconds: float | None = None,
        min_quality: float | None = None,
        max_caution: int | None = None,
        pin: Settings | Mapping[str, Any] | None = None,
        forbid: Sequence[str] = (),
    ) -> Asked:
        """Reads what a caller gave.

        Args:
            size: values of the workload; those that are None are the model's native ones.

        Raises:
            InputError: something of this is wrong; the message says what, which value, and what is allowed.
        """
        return cls(
            workload=Workload.for_model(model, **{k: v for k, v in size.items() if v is not None}),
            limits=Limits.checked(max_seconds=max_seconds, min_quality=min_quality),
            pins=Pins.of(pin, forbid, max_caution),
        )

    def to_json(self) -> dict[str, Any]:
        """The part of every answer's JSON that says what was asked."""
        return {
            "workload": self.workload.to_json(),
            **self.pins.to_json(),
            "max_seconds": self.limits.max_seconds,
            "min_quality": self.limits.min_quality,
        }
