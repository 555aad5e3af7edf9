"""One session of measured tuning: what is run, in which order, and what the study is told. Starts processes; touches the disk and clock."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from workbench._errors import SettingsError
from workbench._estimate import Predictor
from workbench._plan import Limits, pricing
from workbench._units import format_seconds
from workbench.devices import Device
from workbench.measurement._sources import AbstractSource
from workbench.measurement._tuned import Tried, Tuned, worth_a_run
from workbench.measurement._watch import AbstractWatch
from workbench.measurement.fresh import FreshJob
from workbench.records import load, save
from workbench.search import Candidate, Plan
from workbench.search._storage import opened
from workbench.search._words import describe_settings
from workbench.search._workers import FIRST, ITEM, point_text, search
from workbench.search.pins import Pins
from workbench.techniques import Settings

if TYPE_CHECKING:
    import optuna

_LEAST_LIMIT_S: Final = 600.0


class Tuning:
    """One session."""

    def __init__(
        self,
        *,
        plan: Plan,
        pool: Sequence[Priced],
        source: AbstractSource,
        job: FreshJob,
        folder: Path,
        storage: str,
        run_id: str,
        study_id: str,
        watch: AbstractWatch,
        until: float,
        runs: int | None,
    ) -> None:
        import optuna

        self.plan, self.source, self.job, self.watch = plan, source, job, watch
        self.storage, self.folder, self.until, self.runs = storage, folder, until, runs
        self._pool = {point_text(priced.point): priced for priced in pool}
        self._run_id, self._ran = run_id, 0
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.study = optuna.create_study(
            directions=["minimize", "minimize"],
            storage=opened(storage),
            study_name=study_id,
            load_if_exists=True,
            sampler=_no_sampler(0),
        )
        (folder / "records").mkdir(exist_ok=True)

    def outcome(self, started: float) -> Tuned:
        """Runs until the budget is spent or nothing is worth a run any more."""
        front = {candidate.settings.canonical() for candidate in self.plan.front}
        priced = sorted(self._pool.values(), key=lambda one: one.candidate.order)
        best = self.plan.best or self.plan.nearest_miss
        assert best is not None, "a plan has a best configuration or a nearest miss"
        first = [one for one in priced if one.candidate.settings.canonical() in front] or [
            one for one in priced if one.candidate.settings == best.settings
        ]
        first.sort(key=lambda one: one.candidate.settings != best.settings)  # what matters most comes first
        try:
            self._work([one.point for one in first])
            while self._go_on():
                left = self._left()
                following = worth_a_run(self.tried(), [one.candidate for one in left])
                if following is None:
                    break
                self._work([one.point for one in left if one.candidate is following])
        finally:
            self.watch.close()
        return Tuned(
            workload=self.plan.workload,
            device=self.plan.device,
            tried=self.tried(),
            predicted_front=self.plan.front,
            study=self.study,
            ran=self._ran,
            seconds=time.monotonic() - started,
            ended=self._why(),
            folder=self.folder,
        )

    def _go_on(self) -> bool:
        return time.monotonic() < self.until and (self.runs is None or self._ran < self.runs)

    def _why(self) -> str:
        if self.runs is not None and self._ran >= self.runs:
            return "as many were run as asked for"
        return "the budget is spent" if time.monotonic() >= self.until else "nothing else is worth a run"

    def _work(self, points: Sequence[Mapping[str, Any]]) -> None:
        search(
            self.study,
            self._objective,
            storage=self.storage,
            first=points,
            trials=0,
            sampler=_no_sampler,
            seed=0,
            wait=False,
            go_on=self._go_on,
        )

    def _objective(self, trial: optuna.Trial) -> tuple[float, float]:
        """Measured seconds and caution of one trial; both constraints are set on every path."""
        import optuna

        priced = self._pool.get(trial.user_attrs[ITEM].removeprefix(FIRST))
        if priced is None:  # queued by a session that planned otherwise: before a calibration, for one
            raise optuna.TrialPruned
        for name in priced.point:
            trial.suggest_categorical(name, priced.distributions[name].choices)
        tried = self._run(priced.candidate)
        trial.set_constraint("memory_gib", tried.over_gib)
        trial.set_constraint("ended_badly", float(tried.status != "ok"))
        trial.set_user_attr("settings", priced.candidate.settings.canonical())
        trial.set_user_attr("predicted_s", priced.candidate.cost.total_s)
        trial.set_user_attr(
            "tried",
            {
                "status": tried.status,
                "error": tried.error,
                "seconds": tried.seconds,
                "needed_bytes": tried.needed_bytes,
                "record": tried.record.name,
            },
        )
        # What did not run to its end has no time: the prediction stands for it, and the constraints rule it out.
        seconds = priced.candidate.cost.total_s if tried.seconds is None else tried.seconds
        return seconds, float(priced.candidate.caution)

    def _run(self, candidate: Candidate) -> Tried:
        """Runs a configuration, unless its record is there already: of a session that was killed before it could tell the study, or of
        another search among the same runs."""
        name = digest(self._run_id, candidate.settings.canonical())
        record = self.folder / "records" / f"{name}.nc"
        if not record.exists():
            self._ran += 1
            cost = candidate.cost
            job = dataclasses.replace(
                self.job,
                settings=candidate.settings.to_json(),
                predicted=cost.to_json(),
                limit_s=self.job.limit_s or max(_LEAST_LIMIT_S, 5 * cost.price.seconds[2]),
            )
            title = describe_settings(candidate.settings.to_json())
            result = self.source.run(
                job, self.folder / "runs" / name, watch=self.watch, title=title, ran=lambda run: None
            )
            save(result.record(), record)
            if result.clip is not None:
                result.clip.unlink()  # as large as all its pixels; the record has what was measured
            took = "" if result.total_s is None else f" {format_seconds(result.total_s)},"
            self.watch.said(f"{title}:{took} {result.status.replace('_', ' ')}")
        return _tried(candidate, record, self.plan.device)

    def tried(self) -> tuple[Tried, ...]:
        """Everything that was run, by whichever session, in order."""
        from optuna.trial import TrialState

        found = []
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
            priced = self._pool.get(trial.user_attrs[ITEM].removeprefix(FIRST))
            if priced is not None:
                told = {**trial.user_attrs["tried"], "cap_bytes": self.plan.device.memory_bytes}
                record = self.folder / "records" / told.pop("record")
                found.append(Tried(candidate=priced.candidate, record=record, **told))
        return tuple(found)

    def _left(self) -> list[Priced]:
        """What no trial stands for yet, of this session or another."""
        from optuna.trial import TrialState

        states = (TrialState.WAITING, TrialState.RUNNING, TrialState.COMPLETE)
        standing = {
            trial.user_attrs.get(ITEM) for trial in self.study.get_trials(deepcopy=False, states=states)
        }
        return [one for text, one in self._pool.items() if f"{FIRST}{text}" not in standing]


def _tried(candidate: Candidate, record: Path, device: Device) -> Tried:
    """What the rows of one configuration's record say: it ended as its last call did."""
    rows = load(record)
    statuses = [str(status) for status in rows["status"].values]
    good = [position for position, status in enumerate(statuses) if status == "ok"]
    return Tried(
        candidate=candidate,
        status=statuses[-1],
        error=str(rows["error"].values[-1]),
        seconds=float(rows["total_s"].isel(trial=good).median()) if good else None,
        needed_bytes=_needed_bytes(rows, device),
        cap_bytes=device.memory_bytes,
        record=record,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Priced:
    """A configuration of the plan, with the point of the space that stands for it."""

    candidate: Candidate
    point: Mapping[str, Any]
    distributions: Mapping[str, Any]


def pool_of(
    plan: Plan, predictor: Predictor, device: Device, limits: Limits, pins: Pins
) -> tuple[Priced, ...]:
    """Every configuration of the plan's study that may be used, each once."""
    price = pricing(predictor, device, pins)
    known = {
        c.settings.canonical(): c for c in (*plan.front, *([plan.nearest_miss] if plan.nearest_miss else []))
    }
    found: dict[str, Priced] = {}
    for trial in plan.study.get_trials(deepcopy=False):
        text = trial.user_attrs.get("settings")
        if text is None or text in found:
            continue
        settings = Settings.parse(text)
        try:
            candidate = known.get(text) or price(settings)
        except SettingsError:
            continue
        usable = candidate.cost.fits and limits.allow(candidate)
        if (usable and pins.allow(settings.to_json(), plan.workload.steps)) or text in known:
            found[text] = Priced(
                candidate=candidate, point=dict(trial.params), distributions=dict(trial.distributions)
            )
    return tuple(found.values())


def _needed_bytes(rows: Any, device: Device) -> int | None:
    """What the runs needed of the memory that is capped; None if no run came as far as to say."""

    def most(name: str) -> int | None:
        values = [float(value) for value in rows[name].values if value == value] if name in rows else []
        return round(max(values)) if values else None

    if device.architecture != "cpu":
        reserved = most("reserved_peak_bytes")
        return None if reserved is None else reserved + device.context_bytes + device.desktop_bytes
    weights, tensors = most("weights_bytes"), most("tensors_peak_bytes")
    return None if weights is None or tensors is None else weights + tensors


def digest(*parts: Any) -> str:
    """Sixteen hex digits over values that JSON can say."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _no_sampler(seed: int) -> optuna.samplers.BaseSampler:
    """Every trial's parameters are given."""
    import optuna

    return optuna.samplers.RandomSampler(seed=seed)
