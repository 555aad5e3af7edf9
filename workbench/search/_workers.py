"""One study, searched by as many workers as there are, each of which may be killed at any moment.

What there is to do is a list of items: every seed, and every trial of the sampler. Each is one waiting trial in the storage, and Optuna's
storages hand a waiting trial to one worker only. So nothing is run twice, and the study ends after what was asked for, however many work on
it and however often it is resumed. An item whose worker is gone has its trial failed and is queued again.

A worker is gone when its process is (seen from the same machine), or when it has not been heard of for `GRACE_S` (from another one).
Touches the clock.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from workbench.search._storage import alone

if TYPE_CHECKING:
    import optuna

Objective = Callable[["optuna.Trial"], Sequence[float]]

HEARTBEAT_S: Final = 20.0
GRACE_S: Final = 120.0
"""A worker on another machine that was not heard of for so long is gone. Clocks of machines must agree to well below this."""
ITEM: Final = "item"
"""What a trial stands for, as its attribute says: FIRST and a point's text, or `trial 7`."""
FIRST: Final = "first "
_WORKER: Final = "worker"
_LONGEST_WAIT_S: Final = 1.0


def search(
    study: optuna.Study,
    objective: Objective,
    *,
    storage: str | None,
    first: Iterable[Mapping[str, Any]],
    trials: int,
    sampler: Callable[[int], optuna.samplers.BaseSampler],
    seed: int,
    wait: bool = True,
    go_on: Callable[[], bool] = lambda: True,
) -> None:
    """Works on a study until everything asked for is done, by this worker or, where it is stored, by others.

    Args:
        objective: one trial's values. `optuna.TrialPruned` fails the trial; another exception does too, ends this worker and is raised.
        storage: where the study is, as `_storage.opened` takes it; None for one in memory.
        first: points that are tried before the sampler's own, in this order.
        trials: of the sampler.
        sampler: makes one of a seed: each worker has its own, so that they do not all propose the same.
        wait: for what other workers are still running; False ends when nothing is left to begin.
        go_on: asked before each trial; when it says no, this worker ends.
    """
    if storage is None:
        return _search_alone(study, objective, first, trials)
    items = {f"{FIRST}{point_text(point)}": dict(point) for point in first}
    items |= {f"trial {k}": {} for k in range(trials)}
    with _registered(study, storage) as (worker, number):
        study.sampler = sampler((seed + number * 1_000_003) % 2**32)
        pause = 0.01
        _settle(study, storage, worker, items)
        while go_on():
            if _waiting(study):
                _one(study, objective, worker, storage)
                pause = 0.01
            elif _unfinished(study, items) and wait:
                time.sleep(pause)
                pause = min(2 * pause, _LONGEST_WAIT_S)
                if pause == _LONGEST_WAIT_S:
                    _settle(study, storage, worker, items)
            elif not _settle(study, storage, worker, items):
                return


def point_text(point: Mapping[str, Any]) -> str:
    """A point as text: equal points are equal text."""
    return json.dumps(dict(point), sort_keys=True)


def _search_alone(
    study: optuna.Study, objective: Objective, first: Iterable[Mapping[str, Any]], trials: int
) -> None:
    points = list(first)
    for point in points:
        study.enqueue_trial(dict(point))
    study.optimize(objective, n_trials=len(points) + trials)


def _one(study: optuna.Study, objective: Objective, worker: str, storage: str) -> None:
    """Begins and finishes one trial."""
    import optuna

    # SQLite has no lock of a row: there two workers were seen to be handed the same waiting trial
    with alone(storage) if storage.startswith("sqlite") else contextlib.nullcontext():
        trial = study.ask()
    if ITEM not in trial.user_attrs:  # another worker took the last one between our look and our asking
        study.tell(trial, state=optuna.trial.TrialState.FAIL)
        return
    # A worker that was stopped for long enough may have been taken for gone: then another does its trial, and this one's is finished.
    with contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError):
        trial.set_user_attr(_WORKER, worker)
        try:
            values = objective(trial)
        except optuna.TrialPruned:
            study.tell(trial, state=optuna.trial.TrialState.FAIL, skip_if_finished=True)
            return
        except BaseException:
            study.tell(trial, state=optuna.trial.TrialState.FAIL, skip_if_finished=True)
            raise
        study.tell(trial, values, skip_if_finished=True)


# --- what there is to do --------------------------------------------------------------------------------------------------


def _trials(study: optuna.Study, *states: optuna.trial.TrialState) -> list[optuna.trial.FrozenTrial]:
    return study.get_trials(deepcopy=False, states=states)


def _waiting(study: optuna.Study) -> bool:
    from optuna.trial import TrialState

    return bool(_trials(study, TrialState.WAITING))


def _unfinished(study: optuna.Study, items: Mapping[str, Any]) -> bool:
    """Whether an item is being run."""
    from optuna.trial import TrialState

    return any(trial.user_attrs.get(ITEM) in items for trial in _trials(study, TrialState.RUNNING))


def _settle(study: optuna.Study, storage: str, worker: str, items: Mapping[str, dict[str, Any]]) -> bool:
    """Fails the trials whose workers are gone, and queues every item that no trial stands for; whether there was anything to do.

    One worker at a time does this, so that nothing is queued twice. One that is killed meanwhile leaves the rest to the next.
    """
    from optuna.exceptions import UpdateFinishedTrialError
    from optuna.trial import TrialState

    with alone(storage):
        others = _others(study, worker)
        for trial in _trials(study, TrialState.RUNNING):
            if trial.user_attrs.get(_WORKER) != worker and _is_left(trial, others):
                with contextlib.suppress(UpdateFinishedTrialError):
                    study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)
        there = _trials(study, TrialState.WAITING, TrialState.RUNNING, TrialState.COMPLETE)
        standing = {trial.user_attrs.get(ITEM) for trial in there}
        missing = [item for item in items if item not in standing]
        for item in missing:
            study.enqueue_trial(items[item], user_attrs={ITEM: item})
    return bool(missing)


def _is_left(trial: optuna.trial.FrozenTrial, others: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether nobody is at a running trial any more."""
    worker = trial.user_attrs.get(_WORKER)
    if worker is not None:
        return worker not in others or not _is_there(others[worker])
    # killed, or not yet come as far as to sign it
    started = trial.datetime_start
    young = started is not None and time.time() - started.timestamp() < GRACE_S
    return not (young and any(_is_there(other) for other in others.values()))


# --- who works ------------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _registered(study: optuna.Study, storage: str) -> Iterator[tuple[str, int]]:
    """Signs up as a worker and stays heard of; gives its name, and how many were before it."""
    worker = secrets.token_hex(6)
    with alone(storage):
        number = sum(name.startswith(f"{_WORKER}:") for name in study.user_attrs)
        _sign(study, worker)
    over = threading.Event()
    beating = threading.Thread(target=_keep_signing, args=(study, worker, over), daemon=True)
    beating.start()
    try:
        yield worker, number
    finally:
        over.set()
        beating.join()
        _sign(study, worker, has_left=True)


def _keep_signing(study: optuna.Study, worker: str, over: threading.Event) -> None:
    while not over.wait(HEARTBEAT_S):
        _sign(study, worker)


def _sign(study: optuna.Study, worker: str, *, has_left: bool = False) -> None:
    here = {
        "machine": _machine(),
        "pid": os.getpid(),
        "born": _born(os.getpid()),
        "seen": time.time(),
        "has_left": has_left,
    }
    study.set_user_attr(f"{_WORKER}:{worker}", here)


def _others(study: optuna.Study, worker: str) -> dict[str, Mapping[str, Any]]:
    prefix = f"{_WORKER}:"
    names = {
        name.removeprefix(prefix): value
        for name, value in study.user_attrs.items()
        if name.startswith(prefix)
    }
    return {name: value for name, value in names.items() if name != worker}


def _is_there(worker: Mapping[str, Any]) -> bool:
    """Whether a worker that signed up can still finish its trial."""
    if worker["has_left"]:
        return False
    if worker["machine"] == _machine():
        born = _born(int(worker["pid"]))
        return born is not None and born == worker["born"]
    return bool(time.time() - worker["seen"] < GRACE_S)


def _machine() -> str:
    """The machine since its last start, and what its process numbers are counted in: two containers of one host are two machines."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    space = Path("/proc/self/ns/pid")
    parts = [socket.gethostname()]
    with contextlib.suppress(OSError):
        parts.append(boot.read_text().strip())
    with contextlib.suppress(OSError):
        parts.append(os.readlink(space))
    return " ".join(parts)


def _born(pid: int) -> float | None:
    """When a process was started, since its number alone may be another's by now; None if there is none, or only what is left of it."""
    import psutil

    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        return round(float(process.create_time()), 1)
    except psutil.Error:
        return None
