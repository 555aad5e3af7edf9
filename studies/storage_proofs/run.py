"""Kills a stored search at random moments and lets four workers share one, and checks that nothing is lost or done twice.

    python studies/storage_proofs/run.py
    python studies/storage_proofs/run.py --kills 20 --trials 200

Every worker is the command line in a fresh process, `workbench plan --storage ...`. First, SIGKILL after a random share of the time that an
undisturbed worker searches, again and again, each time resumed on the same journal; a study that gets finished is checked and a new one
begun, until there were as many kills as asked for. Then four workers at once on one journal, and on one PostgreSQL database where a server
is installed. The table is written when all is done; an empty trace cache is warmed first.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from datetime import date
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import TrialState

from workbench._files import replacing
from workbench._store import versions
from workbench.search._storage import opened
from workbench.testing.postgresql import missing, server

HERE = Path(__file__).parent
_RUN = "import sys, json\nfrom workbench._cli import main\nsys.exit(main(json.loads(sys.argv[1])))\n"
Finished = dict[int, tuple[str, tuple[float, ...]]]
"""Number of a finished trial -> its parameters and values."""


class Question:
    """What is searched."""

    def __init__(self, model: str, vram_gb: float, trials: int) -> None:
        self.arguments = [
            "plan",
            "--model",
            model,
            "--vram-gb",
            f"{vram_gb:g}",
            "--trials",
            str(trials),
            "--json",
        ]
        self.trials = trials

    def worker(self, storage: str, **more: Any) -> subprocess.Popen[str]:
        """A worker in a fresh process."""
        arguments = json.dumps([*self.arguments, "--storage", storage])
        return subprocess.Popen(
            [sys.executable, "-c", _RUN, arguments], stdout=subprocess.PIPE, text=True, **more
        )

    def plan(self, worker: subprocess.Popen[str]) -> dict[str, Any]:
        """What a worker answers."""
        out, _ = worker.communicate()
        assert worker.returncode == 0, f"a worker ended with {worker.returncode}"
        found: dict[str, Any] = json.loads(out)
        return found


def trials_of(storage: str) -> list[optuna.trial.FrozenTrial]:
    """All trials of the only study in a storage; none if there is none yet."""
    if "://" not in storage and not Path(storage).exists():
        return []
    there = opened(storage)
    names = optuna.get_all_study_names(there)
    assert len(names) <= 1, names
    found = optuna.load_study(study_name=names[0], storage=there).trials if names else []
    if isinstance(there, optuna.storages.RDBStorage):
        there.remove_session()
        there.engine.dispose()
    return found


def finished(storage: str) -> Finished:
    """What a storage has of finished trials."""
    return {
        trial.number: (json.dumps(trial.params, sort_keys=True), tuple(trial.values))
        for trial in trials_of(storage)
        if trial.state == TrialState.COMPLETE
    }


def checked(storage: str, seen: Finished, question: Question) -> dict[str, Any]:
    """Counts of a study that is done; what must be zero is checked."""
    found = trials_of(storage)
    complete = [trial for trial in found if trial.state == TrialState.COMPLETE]
    items = Counter(trial.user_attrs["item"] for trial in complete)
    now = finished(storage)
    of_sampler = sum(item.startswith("trial ") for item in items)
    counts = {
        "trials": len(complete),
        "failed": sum(trial.state == TrialState.FAIL for trial in found),
        "lost": sum(now.get(number) != value for number, value in seen.items()),
        "twice": sum(count - 1 for count in items.values()),
        "missing": question.trials - of_sampler,
        "left": len(found) - len(complete) - sum(trial.state == TrialState.FAIL for trial in found),
    }
    for what in ("lost", "twice", "missing", "left"):
        assert counts[what] == 0, f"{storage}: {what} is {counts[what]}"
    return counts


def signed(storage: str) -> int:
    """How often a worker has signed a journal."""
    return Path(storage).read_bytes().count(b'"worker:') if Path(storage).exists() else 0


def searching(worker: subprocess.Popen[str], storage: str, before: int) -> bool:
    """Waits until a worker has signed up in the journal, after starting and pricing; False if it ended before."""
    while worker.poll() is None:
        if signed(storage) > before:
            return True
        time.sleep(0.01)
    return False


def killed(question: Question, kills: int, search_s: float, folder: Path, seed: int) -> dict[str, Any]:
    """So many kills, over as many studies as get finished meanwhile, each within a random share of the time that searching takes."""
    moment, done, studies = random.Random(seed), 0, []
    resumed_with: list[list[int]] = []
    while done < kills:
        storage, seen = str(folder / f"killed-{len(studies)}.log"), Finished()
        resumed_with.append([])
        while True:
            worker = question.worker(storage)
            if done < kills and searching(worker, storage, signed(storage)):
                with contextlib.suppress(subprocess.TimeoutExpired):
                    worker.wait(timeout=moment.uniform(0, search_s / 4))
            if done >= kills or worker.poll() is not None:
                question.plan(worker)
                break
            worker.send_signal(signal.SIGKILL)
            worker.communicate()
            done += 1
            seen |= finished(storage)
            resumed_with[-1].append(len(seen))
            print(f"kill {done}: {len(seen)} trials finished so far", flush=True)
        studies.append(checked(storage, seen, question))
    totals = {what: sum(study[what] for study in studies) for what in studies[0]}
    return {"kills": done, "studies": len(studies), "resumed_with": resumed_with, **totals}


def shared(question: Question, storage: str, num_workers: int) -> dict[str, Any]:
    """Several workers at once on one storage."""
    workers = [question.worker(storage) for _ in range(num_workers)]
    plans = [question.plan(worker) for worker in workers]
    counts = checked(storage, finished(storage), question)
    fronts = {json.dumps([entry["settings"] for entry in plan["front"]], sort_keys=True) for plan in plans}
    assert len(fronts) == 1, "the workers found different fronts"
    by_worker = Counter(
        trial.user_attrs["worker"] for trial in trials_of(storage) if trial.state == TrialState.COMPLETE
    )
    return {"workers": num_workers, "by_worker": sorted(by_worker.values(), reverse=True), **counts}


def write(rows: list[dict[str, Any]], notes: list[str], question: Question, out: Path) -> None:
    """The table for people, and the rows as data."""
    asked = " ".join(question.arguments)
    lines = [
        "# Storage proofs",
        "",
        f"Run on {date.today().isoformat()} with {', '.join(f'{name} {version}' for name, version in versions().items())}, "
        f"optuna {optuna.__version__}: `workbench {asked}`.",
        "Lost: finished trials that were seen after a kill and are not there, unchanged, when the study is done. Twice: seeds and trials",
        "that more than one finished trial stands for. Failed: trials that a kill interrupted; each was queued again. Missing and left",
        "running at the end: none, or the study would have stopped with an error.",
        "",
        "| what | kills | studies | workers | finished trials | failed | lost | twice |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {row['what']} | {row.get('kills', 0)} | {row.get('studies', 1)} | {row.get('workers', 1)} | {row['trials']} "
        f"| {row['failed']} | {row['lost']} | {row['twice']} |"
        for row in rows
    ]
    lines += ["", *notes]
    with replacing(out / "storage_proofs.md") as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
    with replacing(out / "storage_proofs.json") as temporary:
        temporary.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def main(arguments: list[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="ltx-video")
    parser.add_argument("--vram-gb", type=float, default=12)
    parser.add_argument("--trials", type=int, default=64, help="of the sampler; default: 64")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0, help="of the moments; default: 0")
    parser.add_argument("--out", type=Path, default=HERE)
    given = parser.parse_args(arguments)
    question = Question(given.model, given.vram_gb, given.trials)
    with tempfile.TemporaryDirectory(prefix="storage-proofs-") as name:
        folder = Path(name)
        question.plan(question.worker(str(folder / "warm.log")))  # traces once
        undisturbed = str(folder / "undisturbed.log")
        worker = question.worker(undisturbed)
        assert searching(worker, undisturbed, 0), "a worker ended before it searched"
        started = time.monotonic()
        question.plan(worker)
        search_s = time.monotonic() - started
        rows = [
            {"what": "killed and resumed, journal"}
            | killed(question, given.kills, search_s, folder, given.seed),
            {"what": f"{given.workers} workers, journal"}
            | shared(question, str(folder / "shared.log"), given.workers),
        ]
        notes = []
        if reason := missing():
            notes.append(f"PostgreSQL was not tried: {reason}.")
        else:
            with server() as url:
                rows.append(
                    {"what": f"{given.workers} workers, PostgreSQL"} | shared(question, url, given.workers)
                )
        notes += [
            f"{row['what']}: trials by worker {row['by_worker']}." for row in rows if "by_worker" in row
        ]
        notes.append(f"Trials that were finished at each kill, study by study: {rows[0]['resumed_with']}.")
        write(rows, notes, question, given.out)
    for row in rows:
        print(row)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
