"""A stored study loses nothing and runs nothing twice, whoever is killed and however many work on it."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from workbench._errors import InputError
from workbench.search import _workers
from workbench.search._storage import alone, opened
from workbench.testing.postgresql import missing, server

WORKER = Path(__file__).with_name("workers.py")
NAME = "a study"


def start(storage, account, *, seeds=6, trials=14, pause_s=0.0):
    arguments = [storage, NAME, seeds, trials, pause_s, account]
    return subprocess.Popen([sys.executable, str(WORKER), *map(str, arguments)])


def trials_of(storage):
    there = opened(storage)
    try:
        return optuna.load_study(study_name=NAME, storage=there).trials
    finally:
        if isinstance(there, optuna.storages.RDBStorage):
            there.remove_session()
            there.engine.dispose()


def check(storage, accounts, *, seeds=6, trials=14):
    """Every item is done once, nothing is left running, and what was finished is still there."""
    found = trials_of(storage)
    complete = [trial for trial in found if trial.state == TrialState.COMPLETE]
    done = Counter(trial.user_attrs["item"] for trial in complete)
    assert len(done) == len(complete) == seeds + trials, [item for item, count in done.items() if count > 1]
    assert {trial.state for trial in found} <= {TrialState.COMPLETE, TrialState.FAIL}
    points = {
        (trial.params["x"], trial.params["y"]) for trial in complete if "first" in trial.user_attrs["item"]
    }
    assert points == {(k % 12, k // 12) for k in range(seeds)}
    for trial in complete:
        assert trial.values == [trial.params["x"], trial.params["y"] ** 2]
        assert trial.constraints["sum"] == trial.params["x"] + trial.params["y"] - 12
    finished = [int(line) for account in accounts if account.exists() for line in account.read_text().split()]
    assert finished, "the workers said of no trial that it was finished"
    assert {number for number in finished} <= {trial.number for trial in complete}
    return found


def test_a_study_that_is_killed_again_and_again_resumes(tmp_path):
    storage, account = str(tmp_path / "study.log"), tmp_path / "account"
    moment = random.Random(0)
    kills = 0
    for _ in range(3):
        worker = start(storage, account, pause_s=0.05)
        before = len(Path(storage).read_bytes()) if Path(storage).exists() else 0
        while worker.poll() is None and (
            not Path(storage).exists() or Path(storage).stat().st_size < before + 2000
        ):
            time.sleep(0.005)
        time.sleep(moment.uniform(0, 0.3))
        if worker.poll() is None:
            worker.send_signal(signal.SIGKILL)
            kills += 1
        worker.wait()
    assert kills == 3
    last = start(storage, account)
    assert last.wait(timeout=120) == 0
    found = check(storage, [account])
    assert any(trial.state == TrialState.FAIL for trial in found)
    size = Path(storage).stat().st_size
    assert start(storage, account).wait(timeout=120) == 0  # finished: nothing is run again
    assert len(trials_of(storage)) == len(found)
    assert Path(storage).stat().st_size < size + 2500  # it signed in and out


@pytest.fixture(params=["journal", "sqlite", "postgresql"])
def storage(request, tmp_path):
    if request.param == "postgresql":
        return request.getfixturevalue("postgresql")
    return str(tmp_path / "study.log") if request.param == "journal" else f"sqlite:///{tmp_path}/study.db"


def test_four_workers_search_one_study(storage, tmp_path):
    accounts = [tmp_path / f"account{k}" for k in range(4)]
    workers = [start(storage, account, trials=30, pause_s=0.02) for account in accounts]
    assert [worker.wait(timeout=240) for worker in workers] == [0, 0, 0, 0]
    found = check(storage, accounts, trials=30)
    by_worker = Counter(
        trial.user_attrs.get("worker") for trial in found if trial.state == TrialState.COMPLETE
    )
    assert len(by_worker) > 1, "one worker did everything"


def test_what_a_killed_worker_left_is_done_by_the_others(tmp_path):
    storage, account = str(tmp_path / "study.log"), tmp_path / "account"
    stuck = start(storage, tmp_path / "none", pause_s=1000)
    while not Path(storage).exists() or b'"worker":' not in Path(storage).read_bytes():
        time.sleep(0.01)
    other = start(storage, account)
    while not account.exists():
        time.sleep(0.01)
    stuck.kill()
    stuck.wait()
    assert other.wait(timeout=120) == 0
    found = check(storage, [account])
    assert [trial.state for trial in found].count(TrialState.FAIL) == 1


@pytest.mark.parametrize("half", [b'{"op_code":4,"worker_id', b"x" * 10_000])
def test_half_a_line_at_the_end_of_a_journal_is_cut_off(tmp_path, half):
    storage, account = tmp_path / "study.log", tmp_path / "account"
    assert start(storage, account).wait(timeout=120) == 0
    whole = storage.read_bytes()
    with storage.open("ab") as file:
        file.write(half)
    assert len(trials_of(str(storage))) == 20
    assert storage.read_bytes() == whole


def test_a_lock_ends_with_the_process_that_holds_it(tmp_path):
    storage = str(tmp_path / "study.log")
    code = f"""
import sys, time
from workbench.search._storage import alone
with alone({storage!r}):
    print("held", flush=True)
    time.sleep(1000)
"""
    holder = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "held\n"
    waiting = time.monotonic()
    holder.kill()
    with alone(storage):
        assert time.monotonic() - waiting < 10
    holder.wait()
    holder.stdout.close()


@pytest.mark.parametrize(
    ("storage", "said"),
    [
        ("", "storage must be a journal file, or the URL"),
        ("nowhere/at/all/study.log", "there is no folder 'nowhere/at/all'"),
        ("mssql://host/name", "storage must be a journal file, or the URL"),
        ("postgresql+nothing://host/name", "cannot be opened"),
        ("sqlite:////nowhere/at/all/study.db", "cannot keep the study"),
    ],
)
def test_a_storage_that_cannot_be_used_says_why(storage, said):
    with pytest.raises(InputError, match=said):
        opened(storage)


def test_what_is_no_journal_is_left_alone(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("not a journal\nat all\n")
    with pytest.raises(InputError, match="is no journal of a study"):
        opened(str(path))
    assert path.read_text() == "not a journal\nat all\n"


def test_workers_elsewhere_are_judged_by_when_they_were_heard_of(monkeypatch):
    here = {"machine": _workers._machine(), "pid": os.getpid(), "born": _workers._born(os.getpid())}
    here |= {"seen": 0.0, "has_left": False}
    assert _workers._is_there(here)
    assert not _workers._is_there({**here, "has_left": True})
    assert not _workers._is_there({**here, "born": here["born"] - 5})  # another process has its number by now
    elsewhere = {**here, "machine": "another", "pid": 1}
    assert not _workers._is_there(elsewhere)
    assert _workers._is_there({**elsewhere, "seen": time.time() - 1})


@pytest.fixture(scope="module")
def postgresql():
    """The URL of a PostgreSQL server that lives as long as this file's tests."""
    if reason := missing():
        pytest.skip(reason)
    with server() as url:
        yield url
