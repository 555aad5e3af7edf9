"""The search: an Optuna study over a space, under the device's VRAM and RAM, for time and caution.

Memory is a maximum over stages and time a sum, so the study does not start blind: the whole space is composed (`_composing.py`), the
best of each caution and of each size of host RAM enter the study first, and TPE explores from there. A configuration is never priced
twice.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from workbench._errors import SettingsError
from workbench.devices import Device
from workbench.search._choices import Point
from workbench.search._composing import Composed, Composition
from workbench.search._result import Candidate
from workbench.search._storage import opened, study_name
from workbench.search._workers import search
from workbench.search.caution import TOLERATED
from workbench.search.space import VERSION
from workbench.techniques import Settings

if TYPE_CHECKING:
    import optuna

Price = Callable[[Settings], Candidate]
"""Prices settings; see `_plan.py`."""

_MOST_SEEDS = 64


class Evaluated:
    """Every configuration priced in full so far, each once."""

    def __init__(self, composition: Composition, price: Price) -> None:
        self.composition, self.space = composition, composition.space
        self._price = price
        self._by_settings: dict[str, Candidate] = {}
        self._by_composed: dict[int, Candidate] = {}

    @property
    def refused(self) -> SettingsError | None:
        """Why the last point that could not be priced was refused."""
        return self.composition.refused

    def at(self, point: Point) -> Candidate | None:
        """The priced configuration at a point, or what makes it needless; None if its techniques conflict."""
        composed = self.composition.needed(point)
        return None if composed is None else self.of(composed)

    def of(self, composed: Composed) -> Candidate:
        """The full price of a composed configuration."""
        if id(composed) not in self._by_composed:
            key = composed.settings.canonical()
            if key not in self._by_settings:
                self._by_settings[key] = self._price(composed.settings)
            self._by_composed[id(composed)] = self._by_settings[key]
        return self._by_composed[id(composed)]

    @property
    def all(self) -> tuple[Candidate, ...]:
        """In the order in which they were priced."""
        return tuple(self._by_settings.values())


def run(
    evaluated: Evaluated,
    device: Device,
    *,
    trials: int,
    seed: int,
    storage: str | None,
    first: Sequence[Composed] | None = None,
) -> optuna.Study:
    """Runs the study; what was priced is in `evaluated`.

    Args:
        first: what it begins with; None means what composition finds (`seeds`).
        trials: TPE trials beyond the seeds.
        storage: an Optuna storage URL or the path of a journal file; None keeps the study in memory.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    space = evaluated.space
    study = optuna.create_study(
        directions=["minimize", "minimize"],
        sampler=_sampler(seed),
        storage=None if storage is None else opened(storage),
        study_name=study_name(
            f"{VERSION}-more" if space.has_more else VERSION, space.workload, device, space.pins
        ),
        load_if_exists=storage is not None,
    )
    with _without_experimental_warnings():
        study.set_metric_names(["seconds", "caution"])
    first = seeds(evaluated.composition) if first is None else first
    for composed in first:
        evaluated.of(composed)
    search(
        study,
        lambda trial: _objective(trial, evaluated),
        storage=storage,
        first=[composed.point for composed in first],
        trials=trials,
        sampler=_sampler,
        seed=seed,
    )
    if storage is not None:  # what earlier sessions and other workers found
        for trial in study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,)):
            evaluated.at(trial.params)
    return study


def seeds(composition: Composition) -> list[Composed]:
    """What a study begins with: all that is worth a full price; if nothing fits, the nearest misses."""
    return composition.chosen()[:_MOST_SEEDS] or composition.misses()[:4]


def _objective(trial: optuna.Trial, evaluated: Evaluated) -> tuple[float, float]:
    """Seconds and caution of one trial. The constraint is set on every path: a trial without one would count as feasible."""
    space = evaluated.space
    point: dict[str, Any] = {}
    for name, choices in space.dimensions.items():
        if space.exists(name, point):
            point[name] = trial.suggest_categorical(name, choices)
    candidate = evaluated.at(point)
    if candidate is None:
        trial.set_constraint("memory_gib", 1e6)
        return 1e9, 100.0
    trial.set_constraint("memory_gib", candidate.cost.missing_bytes / 2**30)
    trial.set_user_attr("settings", candidate.settings.canonical())
    trial.set_user_attr("required_vram_gib", candidate.cost.required_vram_bytes / 2**30)
    trial.set_user_attr("binds", candidate.cost.binds.binds)
    return candidate.cost.total_s, float(candidate.caution)


@contextlib.contextmanager
def _without_experimental_warnings() -> Iterator[None]:
    """Optuna warns of every option that may still change; ours are pinned by a test of the study."""
    import optuna

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        yield


def _sampler(seed: int) -> optuna.samplers.BaseSampler:
    import optuna

    with _without_experimental_warnings():
        return optuna.samplers.TPESampler(seed=seed, multivariate=True, group=True, constant_liar=True)


def choose(front: tuple[Candidate, ...]) -> Candidate | None:
    """The best plan of a front, fastest first: the fastest of tolerated caution; if there is none, of the least caution."""
    if not front:
        return None
    least = max(TOLERATED, min(candidate.caution for candidate in front))
    return next(candidate for candidate in front if candidate.caution <= least)
