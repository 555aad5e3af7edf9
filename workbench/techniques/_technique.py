"""What a technique is, and the handle that applying one gives back."""

from __future__ import annotations

import abc
import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Self

from workbench.cost import Residency
from workbench.cost.allocator import AllocatorOptions
from workbench.techniques._checks import read_parameters

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
    """Undoes what was applied, and says what really happened."""

    _sentences: list[Callable[[], str | None]] = field(default_factory=list)
    _undo: list[Callable[[], Any]] = field(default_factory=list)

    @property
    def report(self) -> list[str]:
        """One sentence per thing done or not done; nothing is silently skipped. Some are known only after a run."""
        return [said for sentence in self._sentences if (said := sentence()) is not None]

    def did(self, sentence: str, undo: Callable[[], Any] | None = None) -> None:
        """Notes something that was done (or could not be), and how to undo it."""
        self._sentences.append(lambda: sentence)
        if undo is not None:
            self._undo.append(undo)

    def undoing(self, undo: Callable[[], Any]) -> None:
        """Adds one more thing that `remove` does, before all that were added earlier."""
        self._undo.append(undo)

    def watch(self, sentence: Callable[[], str | None]) -> None:
        """Notes something that is known only once the pipeline has run; None until then."""
        self._sentences.append(sentence)

    def include(self, other: Handle) -> None:
        """Takes over what another handle says and undoes; it is undone before everything that was here earlier."""
        self._sentences.extend(other._sentences)
        self._undo.append(other.remove)

    @contextlib.contextmanager
    def whole_or_not_at_all(self) -> Iterator[None]:
        """If what happens in here fails, what was done so far is undone."""
        try:
            yield
        except BaseException:
            self.remove()
            raise

    def remove(self) -> None:
        """Puts the pipeline back as it was, last change first. Removing twice does nothing more."""
        while self._undo:
            self._undo.pop()()


class AbstractTechnique(abc.ABC):
    """One way to trade memory, time and quality. Leaves are frozen dataclasses: their fields are the parameters.

    `apply` is the one thing that prepares the weightless pipeline for a prediction and the real one for a run, so what is predicted
    is what is run. Everything else here is pure and needs no torch.
    """

    id: ClassVar[str]
    """The key in settings JSON."""
    __slots__ = ()

    @classmethod
    def parse(cls, parameters: object) -> Self:
        """From the JSON value under this technique's id; the default takes an object whose keys are the fields.

        Raises:
            SettingsError: no object, a parameter that does not exist or is missing, or a value out of range.
        """
        return cls(**read_parameters(cls, parameters))

    def to_json(self) -> dict[str, Any]:
        """The JSON value, canonical: `parse(to_json())` is equal, defaults left out."""
        values = {f.name: (getattr(self, f.name), f.default) for f in dataclasses.fields(self)}  # type: ignore[arg-type]
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, (value, default) in values.items()
            if value != default
        }

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

    def call_kwargs(self, kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """A workload's arguments of the pipeline call, with what this technique sets itself taken out."""
        return dict(kwargs)

    def narrowed(self, component: str) -> AbstractTechnique:
        """The same technique as far as it concerns one component (a mapping by component keeps that entry only)."""
        return self

    def dtypes(self, dtypes: Mapping[str, str]) -> dict[str, str]:
        """Loading dtype of each component under this technique, given the one without it."""
        return dict(dtypes)

    def residency(self, model: ModelSpec, residency: Residency) -> Residency:
        """How it changes where weights are when; the default leaves that alone."""
        return residency

    def allocator_options(self, options: AllocatorOptions) -> AllocatorOptions:
        """How it changes the options that a prediction's allocator runs under; the default leaves them alone."""
        return options

    def notes(self, model: ModelSpec, device: Device | None) -> tuple[str, ...]:
        """What a reader of a prediction should know, one sentence each."""
        return ()

    def effect(self) -> Effect:
        """What is known of the loss."""
        return EXACT
