"""What a technique is, and the handle that applying one gives back."""

from __future__ import annotations

import abc
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from workbench.cost import Residency

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

    from workbench.devices import Device
    from workbench.models import ModelSpec


@dataclass(frozen=True, kw_only=True, slots=True)
class Effect:
    """What is known of a technique's effect on the output, and from where."""

    provenance: str
    """`exact` (bit for bit, or to rounding), `published`, `measured on the miniature`, `measured on this model` or `unknown`."""
    loss_percent: float | None = None
    """Loss of quality in per cent as the source states it (0 when exact); None when unknown. Never a guess."""
    metric: str = ""
    """What the loss was measured with, `"PSNR"`."""
    source: str = ""
    """Where the number is from."""


EXACT = Effect(provenance="exact", loss_percent=0.0)
UNKNOWN = Effect(provenance="unknown")


@dataclass(slots=True)
class Handle:
    """Undoes what was applied, and says what really happened.

    `report` holds one sentence per thing done or not done; nothing is silently skipped.
    """

    report: list[str] = field(default_factory=list)
    _undo: list[Callable[[], Any]] = field(default_factory=list)

    def did(self, sentence: str, undo: Callable[[], Any] | None = None) -> None:
        """Notes something that was done, and how to undo it."""
        self.report.append(sentence)
        if undo is not None:
            self._undo.append(undo)

    def remove(self) -> None:
        """Puts the pipeline back as it was, last change first. Removing twice does nothing more."""
        while self._undo:
            self._undo.pop()()


class AbstractTechnique(abc.ABC):
    """One way to trade memory, time and quality. Leaves are frozen dataclasses: their fields are the parameters.

    `apply` is the one thing that prepares the weightless pipeline for a prediction and the real one for a run, so what is predicted
    is what is run. Everything else here is pure.
    """

    id: ClassVar[str]
    """The key in settings JSON."""
    __slots__ = ()

    @classmethod
    @abc.abstractmethod
    def parse(cls, parameters: object) -> AbstractTechnique:
        """From the JSON value under this technique's id; raises `SettingsError` with a whole sentence."""

    @abc.abstractmethod
    def to_json(self) -> dict[str, Any]:
        """The JSON value, canonical: `parse(to_json())` is equal, defaults left out."""

    @abc.abstractmethod
    def applies_to(self, model: ModelSpec, device: Device | None) -> str | None:
        """None if it can act on this model and device, else a sentence that says why not."""

    @abc.abstractmethod
    def apply(self, pipe: DiffusionPipeline) -> Handle:
        """Prepares a pipeline, weightless or real, in place."""

    def rewrites(self, model: ModelSpec) -> frozenset[str]:
        """Components whose ops or weights differ under this technique (their calls must be traced again)."""
        return frozenset()

    @property
    def changes_calls(self) -> bool:
        """Whether the pipeline calls its components differently (other count, other arguments)."""
        return False

    def residency(self, residency: Residency) -> Residency:
        """How it changes where weights are when; the default leaves that alone."""
        return residency

    def effect(self) -> Effect:
        """What is known of the loss."""
        return EXACT
