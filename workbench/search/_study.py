"""The search: an Optuna study over a space, under the device's VRAM and RAM, for time and caution.

Pricing is cheap and memory is a maximum over stages, so the study does not start blind: every configuration at the workload's own step
count is priced once (`composed`), the best of each caution enter the study first, at every step count, and TPE explores from there.
A configuration is never priced twice.
"""

from __future__ import annotations

import contextlib
import itertools
import warnings
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from workbench._errors import SettingsError
from workbench.cost import Cost
from workbench.cost.price import required_vram_bytes
from workbench.devices import Device
from workbench.search._result import Candidate
from workbench.search._storage import opened, study_name
from workbench.search._workers import search
from workbench.search.caution import TOLERATED
from workbench.search.space import SAVE_AROUND_THE_VAE, VAE_STAGES, VERSION, Point, Space
from workbench.techniques import Settings

if TYPE_CHECKING:
    import optuna

Price = Callable[[Settings], Candidate]
"""Prices settings; see `_plan.py`."""

_EVERY_CAUTION = 64
"""Seeds of the study: the fastest that fits at each caution, at most this many."""


class Evaluated:
    """Every configuration priced so far, each once."""

    def __init__(self, space: Space, price: Price) -> None:
        self.space = space
        self._price = price
        self._by_settings: dict[str, Candidate] = {}
        self._by_point: dict[tuple[str | int | bool, ...], Candidate | None] = {}
        self.refused: SettingsError | None = None
        """Why the last point that could not be priced was refused."""

    def at(self, point: Point) -> Candidate | None:
        """The priced configuration at a point, or what makes it needless; None if its techniques conflict."""
        key = tuple(point[name] for name in self.space.dimensions)
        if key not in self._by_point:
            self._by_point[key] = self._instead_of(point) or self._priced(point)
        return self._by_point[key]

    def _instead_of(self, point: Point) -> Candidate | None:
        """The configuration that makes a point needless. Tiles and the like only save memory where the autoencoder runs, for time and
        caution: without them it fits, or what they do not touch takes too much already. Pricing them would take a trace each."""
        for name in SAVE_AROUND_THE_VAE:
            choices = self.space.dimensions[name]
            position = choices.index(point[name])
            if position == 0:
                continue
            less = self.at({**point, name: choices[position - 1]})
            if less is not None and (less.cost.fits or not fits_elsewhere(less.cost)):
                return less
        return None

    def every_miss(self) -> None:
        """Prices the needless points too: where nothing fits, one of them may be the nearest miss."""
        for point in composed(self.space):
            self._priced(point)

    def _priced(self, point: Point) -> Candidate | None:
        try:
            settings = self.space.settings_of(point)
            key = settings.canonical()
            if key not in self._by_settings:
                self._by_settings[key] = self._price(settings)
        except SettingsError as error:
            self.refused = error
            return None
        return self._by_settings[key]

    @property
    def all(self) -> tuple[Candidate, ...]:
        """In the order in which they were priced."""
        return tuple(self._by_settings.values())


def fits_elsewhere(cost: Cost) -> bool:
    """Whether the stages without the autoencoder fit, and the host RAM suffices."""
    stages = [stage for stage in cost.price.stages if stage.name not in VAE_STAGES]
    device = cost.device
    if device.ram_bytes is not None and cost.host_ram_bytes > device.ram_bytes:
        return False
    return required_vram_bytes(stages, device) <= device.memory_bytes


def composed(space: Space) -> Iterator[Point]:
    """Every point at the workload's own step count."""
    names = list(space.dimensions)
    choices = [space.dimensions[name] if name != "steps" else (space.workload.steps,) for name in names]
    for combination in itertools.product(*choices):
        yield dict(zip(names, combination, strict=True))


def run(evaluated: Evaluated, device: Device, *, trials: int, seed: int, storage: str | None) -> optuna.Study:
    """Runs the study; what was priced is in `evaluated`.

    Args:
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
        study_name=study_name(VERSION, space.workload, device, space.pins),
        load_if_exists=storage is not None,
    )
    with _without_experimental_warnings():
        study.set_metric_names(["seconds", "caution"])
    points: dict[int, Point] = {}
    for point in composed(space):
        candidate = evaluated.at(point)
        if candidate is not None:
            points.setdefault(id(candidate), point)
    if not any(candidate.cost.fits for candidate in evaluated.all):
        evaluated.every_miss()
    chosen = _seeds([c for c in evaluated.all if id(c) in points])
    first = [
        {**points[id(candidate)], "steps": steps}
        for steps in space.dimensions["steps"]
        for candidate in chosen
    ]
    search(
        study,
        lambda trial: _objective(trial, evaluated),
        storage=storage,
        first=first,
        trials=trials,
        sampler=_sampler,
        seed=seed,
    )
    if storage is not None:  # what earlier sessions and other workers found
        for trial in study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,)):
            evaluated.at(trial.params)
    return study


def _objective(trial: optuna.Trial, evaluated: Evaluated) -> tuple[float, float]:
    """Seconds and caution of one trial. The constraint is set on every path: a trial without one would count as feasible."""
    point: dict[str, Any] = {
        name: trial.suggest_categorical(name, choices) for name, choices in evaluated.space.dimensions.items()
    }
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


def _seeds(candidates: list[Candidate]) -> list[Candidate]:
    """The fastest that fits at each caution, least caution first; if nothing fits, the nearest misses."""
    fitting = [candidate for candidate in candidates if candidate.cost.fits]
    if not fitting:
        return sorted(candidates, key=lambda c: c.cost.missing_bytes)[:4]
    best: dict[int, Candidate] = {}
    for candidate in fitting:
        known = best.get(candidate.caution)
        if known is None or candidate.order < known.order:
            best[candidate.caution] = candidate
    return [best[level] for level in sorted(best)][:_EVERY_CAUTION]


def choose(front: tuple[Candidate, ...]) -> Candidate | None:
    """The best plan of a front, fastest first: the fastest of tolerated caution; if there is none, of the least caution."""
    if not front:
        return None
    least = max(TOLERATED, min(candidate.caution for candidate in front))
    return next(candidate for candidate in front if candidate.caution <= least)
