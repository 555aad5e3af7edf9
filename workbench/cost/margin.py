"""How much more memory than predicted a run may need, and how likely it is that it fits: from how far predictions have been off.

`residuals.csv` holds published and measured peaks beside what was predicted for them (`studies/residuals` makes it). Of those, each case
once, a run's own under-prediction is taken for one more draw: with n of them, exchangeable with the new one, the k-th smallest is exceeded
with a probability of at most 1 - k / (n + 1), whatever their distribution (split conformal prediction, one-sided: Vovk, Gammerman and
Shafer 2005; Lei et al. 2018). Two things follow that no code can change. The most that n measurements support is n / (n + 1). And the
claim is about runs like those in the file: for a network that resembles none of them it is a guess like any other.

Nothing of the predictor is fitted to these numbers; they only say how far it has been off.
"""

from __future__ import annotations

import csv
import functools
import math
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final

from workbench._errors import InputError

FILE: Final = Path(__file__).with_name("residuals.csv")
WANTED: Final = 0.98
"""The probability of fitting that a plan's margin is for."""
RESERVE_FRACTION: Final = 0.02
"""On top of the worst under-prediction seen, where there are too few measurements for the wanted probability. A judgement, not a
measurement: it makes the claim no stronger."""
MIN_OWN: Final = 9
"""Measurements from which on a kind of peak is judged by its own: fewer do not support 0.9."""
KINDS: Final = ("denoiser", "autoencoder", "text_encoder", "weights")
METRICS: Final = ("allocated", "reserved")

_WORDS: Final = {
    "denoiser": "denoisers",
    "autoencoder": "autoencoders",
    "text_encoder": "text encoders",
    "weights": "weights",
}
_KIND_OF_STAGE: Final = {
    "text_encode": "text_encoder",
    "image_encode": "autoencoder",
    "denoise": "denoiser",
    "denoise_2": "denoiser",
    "decode": "autoencoder",
}


def kind_of(stage: str) -> str:
    """What kind of peak a stage has; of a stage without a name of its own, the denoiser's."""
    return _KIND_OF_STAGE.get(stage, "denoiser")


@dataclass(frozen=True, kw_only=True, slots=True)
class Residual:
    """One measurement beside its prediction."""

    study: str
    """Where it was put beside its prediction: `published_memory`, `traced` or `gpu_validation`."""
    id: str
    source: str
    versions: str
    """Of the libraries that predict; of those that measured for `gpu_validation`."""
    model: str
    kind: str
    """One of `KINDS`."""
    metric: str
    """One of `METRICS`: `torch.cuda.max_memory_allocated` or `max_memory_reserved`."""
    unit: str
    """Of `measured` and `predicted`; a slope has GiB per 1000 tokens."""
    case: str
    """Equal for measurements of the same thing, which count once."""
    not_counted: str
    """Why it says nothing of how far a prediction is off; empty for those that count."""
    measured: float
    predicted: float

    @property
    def fraction(self) -> float:
        """By what part of the prediction the measurement was above it; negative where less was needed."""
        return self.measured / self.predicted - 1.0


COLUMNS: Final = tuple(item.name for item in fields(Residual))


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """`fraction` of the prediction more is enough with at least `probability`."""

    probability: float
    fraction: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Margin:
    """What is left free on top of a predicted peak."""

    fraction: float
    """Of the predicted reserved memory."""
    probability: float
    """With which it is enough: the wanted one, or the most that the measurements support."""
    basis: str
    """Where it is from, in words."""


class Residuals:
    """All measurements, and what they say."""

    def __init__(self, rows: Iterable[Residual]) -> None:
        self.rows = tuple(rows)
        worst: dict[str, Residual] = {}
        for row in self.rows:
            if not row.not_counted and (row.case not in worst or row.fraction > worst[row.case].fraction):
                worst[row.case] = row
        self.counted = tuple(worst.values())
        """Those that count, of each case the one that was furthest above its prediction."""
        self._steps: dict[str, tuple[Step, ...]] = {}

    def without(self, name: str) -> Residuals:
        """All but the measurement of that id and everything of its cases: what is known before it was measured."""
        cases = {row.case for row in self.rows if row.id == name}
        return Residuals(row for row in self.rows if row.id != name and row.case not in cases)

    def of_kind(self, kind: str) -> tuple[Residual, ...]:
        """The cases by which a kind of peak is judged: its own where they are enough, else those of all kinds.

        Raises:
            InputError: there is no such kind.
        """
        if kind not in KINDS:
            raise InputError(f"a kind of peak must be one of {', '.join(KINDS)}, got {kind!r}")
        own = tuple(row for row in self.counted if row.kind == kind)
        return own if len(own) >= MIN_OWN else self.counted

    def steps(self, kind: str) -> tuple[Step, ...]:
        """Probabilities that the cases support, ascending, with the fraction that each takes, which never falls.

        A kind with enough cases of its own is judged by them as far as they go; what is beyond n / (n + 1) takes all kinds together,
        and at least what its own cases took.
        """
        if kind not in self._steps:
            found: list[Step] = []
            for pool in (self.of_kind(kind), self.counted):
                ordered = sorted(row.fraction for row in pool)
                for k, fraction in enumerate(ordered, start=1):
                    probability, last = k / (len(ordered) + 1), found[-1] if found else None
                    if last is None:
                        found.append(Step(probability=probability, fraction=fraction))
                    elif probability > last.probability:
                        found.append(Step(probability=probability, fraction=max(fraction, last.fraction)))
            self._steps[kind] = tuple(found)
        return self._steps[kind]

    def margin(self, kind: str, probability: float = WANTED) -> Margin:
        """What to leave free for a kind of peak.

        Args:
            probability: with which it is to be enough. Where the cases support less, the margin is the worst that was seen and
                `RESERVE_FRACTION`, and says the lower probability.

        Raises:
            InputError: no such kind, or no probability above 0 and below 1.
        """
        if not 0 < probability < 1:
            raise InputError(f"probability must be above 0 and below 1, got {probability!r}")
        steps = self.steps(kind)
        enough = next((step for step in steps if step.probability >= probability), None)
        if enough is not None:
            return Margin(fraction=max(0.0, enough.fraction), probability=probability, basis=self.basis(kind))
        needed = math.ceil(probability / (1 - probability) - 1e-9)
        worst, supported = (max(0.0, steps[-1].fraction), steps[-1].probability) if steps else (0.0, 0.0)
        return Margin(
            fraction=worst + RESERVE_FRACTION,
            probability=supported,
            basis=f"{self.basis(kind)}; {100 * RESERVE_FRACTION:g} % in reserve, since {probability:g} takes {needed} of them",
        )

    def fit_probability(self, kind: str, slack_bytes: int, predicted_bytes: int) -> float:
        """At least how likely a peak of this kind needs no more than `slack_bytes` beyond what is predicted; 0 if nothing is known."""
        enough = 0.0
        for step in self.steps(kind):
            if slack_bytes < step.fraction * predicted_bytes:
                break
            enough = step.probability
        return enough

    def basis(self, kind: str) -> str:
        """`"31 measured peaks of 9 models, 11 of them of autoencoders; worst under-prediction 1.2 %"`."""
        pool = self.counted
        if not pool:
            return "no measurement"
        models = _counted(len({row.model for row in pool}), "model")
        worst = max(row.fraction for row in pool)
        said = f"worst under-prediction {100 * worst:.1f} %" if worst > 0 else "none above its prediction"
        own = sum(row.kind == kind for row in pool) or "none"
        peaks = _counted(len(pool), "measured peak")
        return f"{peaks} of {models}, {own} of them of {_WORDS[kind]}; {said}"


def _counted(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def read(path: Path = FILE) -> Residuals:
    """The measurements of a file.

    Raises:
        InputError: a row that cannot be; the message has its number.
    """
    with path.open(newline="", encoding="utf-8") as file:
        return Residuals([_residual(row, number) for number, row in enumerate(csv.DictReader(file), start=1)])


def _residual(row: dict[str, str], number: int) -> Residual:
    if set(row) != set(COLUMNS):
        raise InputError(f"row {number} of the residuals must have the columns {', '.join(COLUMNS)}")
    if row["kind"] not in KINDS or row["metric"] not in METRICS:
        raise InputError(
            f"row {number} of the residuals must have a kind of {', '.join(KINDS)} and a metric of {', '.join(METRICS)}, "
            f"got {row['kind']!r} and {row['metric']!r}"
        )
    numbers = {name: float(row[name]) for name in ("measured", "predicted")}
    if not all(math.isfinite(value) and value > 0 for value in numbers.values()):
        raise InputError(f"row {number} of the residuals must have positive numbers, got {numbers}")
    return Residual(**{**row, **numbers})  # type: ignore[arg-type]


@functools.cache
def known() -> Residuals:
    """The measurements that ship with the package."""
    return read()


@functools.cache
def stage_margin(stage: str) -> Margin:
    """What a plan leaves free on top of a stage's peak."""
    return known().margin(kind_of(stage))


def stage_fit_probability(stage: str, slack_bytes: int, reserved_bytes: int) -> float:
    """At least how likely a stage's peak needs no more than `slack_bytes` beyond what is predicted to be reserved."""
    return known().fit_probability(kind_of(stage), slack_bytes, reserved_bytes)


def margin_bytes(stage: str, reserved_bytes: int, residuals: Residuals | None = None) -> int:
    """The same in bytes; `residuals` are others than those that ship."""
    margin = stage_margin(stage) if residuals is None else residuals.margin(kind_of(stage))
    return math.ceil(margin.fraction * reserved_bytes)
