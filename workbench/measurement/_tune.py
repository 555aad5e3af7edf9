"""`tune`: a plan, confirmed and refined by real runs, each in a process of its own. Starts processes; touches the disk and the clock.

The predicted front is run first. Then whatever else was priced is run, one after the other, as long as it may beat what was measured:
predictions are corrected by what the runs so far have shown (`_tuned.worth_a_run`). Every run is a trial of an Optuna study that is stored
beside the records: one that runs out of memory, fails or takes too long is a finished trial that breaks a constraint. A session that is
killed is gone on with by the same call, and several may work on one folder.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from workbench._errors import InputError, SettingsError
from workbench._estimate import Predictor
from workbench._plan import Limits, check_counts, pricing, searched
from workbench._units import format_seconds
from workbench.devices import Device, resolve
from workbench.measurement._run import machine
from workbench.measurement._sources import AbstractSource, source_of
from workbench.measurement._tuned import Tried, Tuned, worth_a_run
from workbench.measurement._watch import AbstractWatch, NoWatch
from workbench.measurement.fresh import FreshJob
from workbench.models import Workload
from workbench.records import load, save
from workbench.search import Candidate, Plan
from workbench.search._storage import opened, study_name
from workbench.search._words import describe_settings
from workbench.search._workers import FIRST, ITEM, point_text, search
from workbench.search.pins import Pins
from workbench.techniques import Settings

if TYPE_CHECKING:
    import optuna
    from diffusers import DiffusionPipeline

VERSION: Final = "tune-1"
"""Part of a study's name: raised when what a trial means changes."""
JOURNAL: Final = "study.log"
_LEAST_LIMIT_S: Final = 600.0


def tune(
    model: str | Path | DiffusionPipeline | None = None,
    vram_gb: float | None = None,
    *,
    budget: float = 600.0,
    runs: int | None = None,
    frames: int | None = None,
    height: int | None = None,
    width: int | None = None,
    steps: int | None = None,
    guidance: float | None = None,
    ram_gb: float | None = None,
    max_seconds: float | None = None,
    min_quality: float | None = None,
    max_caution: int | None = None,
    pin: Settings | Mapping[str, Any] | None = None,
    forbid: Sequence[str] = (),
    prompt: str | None = None,
    negative_prompt: str | None = None,
    seed: int = 0,
    warmup: int = 0,
    repeats: int = 1,
    limit_s: float | None = None,
    trials: int = 64,
    out: str | Path = "tuned",
    storage: str | None = None,
    watch: AbstractWatch | None = None,
) -> Tuned:
    """Searches settings by prediction, then by running them on this machine.

    Args:
        model: `"miniature"`, `"tiny"`, a folder that `save_pretrained` wrote, or a pipeline in memory, which is loaded anew from where it
            came from, or else measured in this process, as `measure` does. None means the miniature, or `"tiny"` where its weights
            are not in the package.
        vram_gb: GiB that a run may take of the GPU, of the machine's memory where there is none; None means all.
        budget: seconds; no run is begun after them, one that is being run is finished.
        runs: no more runs than this in this session; None means as many as the budget allows.
        frames: with `height`, `width`, `steps` and `guidance`: None means the model's native value.
        ram_gb: host RAM that a plan may count on.
        max_seconds: with `min_quality`, `max_caution`, `pin` and `forbid`: as in `plan`, by prediction.
        prompt: None means one that the model knows.
        seed: of the initial noise and of the search.
        warmup: calls before the measured ones of each run.
        repeats: measured calls of each run; the median counts.
        limit_s: seconds that loading and each call may take; None means five times the highest prediction, ten minutes at least.
        trials: trials of the sampler in the search by prediction.
        out: folder of the study, the records and the logs, made if it is not there. The same call with the same folder goes on.
        storage: another place for the study, as in `plan`; for sessions on several machines, a database.
        watch: is told how each run is doing.

    Raises:
        InputError: something of this is wrong; nothing was run.
    """
    started = time.monotonic()
    limits = Limits.checked(max_seconds=max_seconds, min_quality=min_quality)
    check_counts(trials, seed)
    _check_budget(budget, runs)
    source = source_of(model, None)
    size = {"frames": frames, "height": height, "width": width, "steps": steps, "guidance": guidance}
    workload = Workload.for_model(
        source.spec,
        **{key: value for key, value in size.items() if value is not None},  # type: ignore[arg-type]
    )
    device = _device(vram_gb, ram_gb)
    # On a CPU there is nothing to offload from: a plan that says so would be measured as the plain one.
    barred = (*forbid, "offload") if device.architecture == "cpu" else tuple(forbid)
    pins = Pins.of(pin, barred, max_caution)
    job = FreshJob(
        model=source.name,
        dtypes=source.dtypes,
        workload=workload.to_json(),
        prompt=prompt,
        negative_prompt=negative_prompt,
        seed=seed,
        warmup=warmup,
        repeats=repeats,
        limit_s=limit_s,
        vram_gb=_for_pytorch(device),
    )
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    predictor = Predictor(workload)
    plan = searched(predictor, device, limits=limits, pins=pins, trials=trials, seed=seed)
    tuning = _Tuning(
        plan=plan,
        pool=_pool(plan, predictor, device, limits, pins),
        source=source,
        job=job,
        folder=folder,
        storage=storage or str(folder / JOURNAL),
        study_id=_study_id(plan, job, source.fingerprint),
        watch=NoWatch() if watch is None else watch,
        until=started + budget,
        runs=runs,
    )
    return tuning.outcome(started)


class _Tuning:
    """One session."""

    def __init__(
        self,
        *,
        plan: Plan,
        pool: Sequence[_Priced],
        source: AbstractSource,
        job: FreshJob,
        folder: Path,
        storage: str,
        study_id: str,
        watch: AbstractWatch,
        until: float,
        runs: int | None,
    ) -> None:
        import optuna

        self.plan, self.source, self.job, self.watch = plan, source, job, watch
        self.storage, self.folder, self.until, self.runs = storage, folder, until, runs
        self._pool = {point_text(priced.point): priced for priced in pool}
        self._ran = 0
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
                following = worth_a_run(self.tried(), [one.candidate for one in priced])
                if following is None:
                    break
                self._work([one.point for one in priced if one.candidate is following])
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
        priced = self._pool[trial.user_attrs[ITEM].removeprefix(FIRST)]
        for name in priced.point:
            trial.suggest_categorical(name, priced.distributions[name].choices)
        tried = self._run(priced.candidate)
        trial.set_constraint("memory_gib", tried.over_gib)
        trial.set_constraint("ended_badly", float(tried.status != "ok"))
        trial.set_user_attr("settings", priced.candidate.settings.canonical())
        trial.set_user_attr("status", tried.status)
        trial.set_user_attr("predicted_s", priced.candidate.cost.total_s)
        trial.set_user_attr("record", tried.record.name)
        # What did not run to its end has no time: the prediction stands for it, and the constraints rule it out.
        seconds = priced.candidate.cost.total_s if tried.seconds is None else tried.seconds
        return seconds, float(priced.candidate.caution)

    def _run(self, candidate: Candidate) -> Tried:
        """Runs a configuration, unless its record is there already: of a session that was killed before it could tell the study."""
        cost = candidate.cost
        job = dataclasses.replace(
            self.job,
            settings=candidate.settings.to_json(),
            predicted=cost.to_json(),
            limit_s=self.job.limit_s or max(_LEAST_LIMIT_S, 5 * cost.price.seconds[2]),
        )
        name = hashlib.sha256(
            f"{self.study.study_name} {candidate.settings.canonical()}".encode()
        ).hexdigest()[:16]
        record = self.folder / "records" / f"{name}.nc"
        if not record.exists():
            self._ran += 1
            title = describe_settings(candidate.settings.to_json())
            result = self.source.run(
                job, self.folder / "runs" / name, watch=self.watch, title=title, ran=lambda run: None
            )
            save(result.record(), record)
            if result.clip is not None:
                result.clip.unlink()  # as large as all its pixels; the record has what was measured
            took = "" if result.total_s is None else f" {format_seconds(result.total_s)},"
            self.watch.said(f"{title}:{took} {result.status.replace('_', ' ')}")
        return self._tried(candidate, record)

    def tried(self) -> tuple[Tried, ...]:
        """Everything that was run, by whichever session, in order."""
        from optuna.trial import TrialState

        by_settings = {one.candidate.settings.canonical(): one.candidate for one in self._pool.values()}
        found = []
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
            record = self.folder / "records" / str(trial.user_attrs["record"])
            candidate = by_settings.get(trial.user_attrs["settings"])
            if candidate is not None and record.exists():  # another machine's records are on another machine
                found.append(self._tried(candidate, record))
        return tuple(found)

    def _tried(self, candidate: Candidate, record: Path) -> Tried:
        rows = load(record)
        statuses = [str(status) for status in rows["status"].values]
        good = [position for position, status in enumerate(statuses) if status == "ok"]
        bad = [position for position, status in enumerate(statuses) if status != "ok"]
        last = bad[-1] if bad else good[-1]
        seconds = None
        if good:
            seconds = float(rows["total_s"].isel(trial=good).median())
        return Tried(
            candidate=candidate,
            status=statuses[last],
            error=str(rows["error"].values[last]),
            seconds=seconds,
            needed_bytes=_needed_bytes(rows, self.plan.device),
            cap_bytes=self.plan.device.memory_bytes,
            record=record,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Priced:
    """A configuration of the plan, with the point of the space that stands for it."""

    candidate: Candidate
    point: Mapping[str, Any]
    distributions: Mapping[str, Any]


def _pool(
    plan: Plan, predictor: Predictor, device: Device, limits: Limits, pins: Pins
) -> tuple[_Priced, ...]:
    """Every configuration of the plan's study that may be used, each once."""
    price = pricing(predictor, device, pins)
    known = {
        c.settings.canonical(): c for c in (*plan.front, *([plan.nearest_miss] if plan.nearest_miss else []))
    }
    found: dict[str, _Priced] = {}
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
            found[text] = _Priced(
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


def _device(vram_gb: float | None, ram_gb: float | None) -> Device:
    """This machine's device, capped.

    Raises:
        InputError: it has a GPU that the catalogue does not know, or less memory than asked for.
    """
    here = _here()
    if here is None:
        raise InputError(
            "the catalogue does not know this machine's GPU, so nothing can be predicted for it: workbench devices lists those it knows"
        )
    return resolve(here, vram_gb=vram_gb, ram_gb=ram_gb)


def _here() -> Device | None:
    """What runs on this machine. A process that looks at a GPU keeps a context on it, which would be missing in every run: so another
    process looks."""
    import torch

    if not torch.cuda.is_available() or torch.cuda.is_initialized():
        return machine()
    code = (
        "import json; from workbench.measurement._run import machine; d = machine(); "
        "print(json.dumps(d and d.to_json()))"
    )
    looked = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found = json.loads(looked.stdout.splitlines()[-1])
    return None if found is None else Device.from_json(found)


def _for_pytorch(device: Device) -> float | None:
    """GiB that PyTorch may reserve of a capped GPU: what context and desktop take comes on top."""
    if device.architecture == "cpu":
        return None
    return max(device.memory_bytes - device.context_bytes - device.desktop_bytes, 1) / 2**30


def _check_budget(budget: float, runs: int | None) -> None:
    number = isinstance(budget, Real) and not isinstance(budget, bool)
    if not number or not math.isfinite(budget) or budget <= 0:
        raise InputError(f"budget must be a positive number of seconds, got {budget!r}")
    if runs is not None and (isinstance(runs, bool) or not isinstance(runs, int) or runs < 1):
        raise InputError(f"runs must be a whole number of at least 1, got {runs!r}")


def _study_id(plan: Plan, job: FreshJob, fingerprint: str) -> str:
    """The study of one question, as it is measured here: other prompts or repetitions are other measurements."""
    told = {key: value for key, value in job.to_json().items() if key not in ("settings", "notes")}
    told["weights"] = fingerprint
    digest = hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()[:8]
    return f"{study_name(VERSION, plan.workload, plan.device, plan.pins)}-{digest}"


def _no_sampler(seed: int) -> optuna.samplers.BaseSampler:
    """Every trial's parameters are given."""
    import optuna

    return optuna.samplers.RandomSampler(seed=seed)
