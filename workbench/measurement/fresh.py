"""`run_fresh`: one configuration in a process of its own, as often as asked. Starts a process; touches the disk and the clock.

    result = run_fresh(FreshJob(model="tiny", settings={"vae_tiling": {}}, workload={"frames": 5}, seed=7, repeats=3))
    result.status, result.total_s, result.clip, result.record()

What goes wrong in the process (an exception, memory that runs out, a signal, a limit that is passed) is a run with its status, never an
exception here: only input that is wrong in itself raises, before anything is started. `measure` is built on this.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Final

from workbench._errors import InputError
from workbench._files import replacing
from workbench.cost.allocator import ENVIRONMENT_VARIABLE
from workbench.measurement._child import EVENTS, JOB, NOT_THE_SAME, settle, take_of
from workbench.measurement._clips import CLIP, read
from workbench.measurement._following import Following, end_in_words, over_limit
from workbench.measurement._performing import COUNTING, Calls
from workbench.measurement._pipelines import default_prompt
from workbench.measurement._rows import with_tensors, with_what_was_asked
from workbench.measurement._watch import AbstractWatch, NoWatch, Seen
from workbench.techniques import Settings

if TYPE_CHECKING:
    import numpy as np
    import xarray

LOG: Final = "log.txt"
_LOOKS_EVERY_S: Final = 0.05
_LOG_END: Final = 4000

Ran = Callable[[Mapping[str, Any]], None]
"""Told of each run when it is over, with the JSON that `workbench.records.build` takes; once more with the same id when its tensors have
been counted."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FreshJob:
    """What a fresh process is to do: one configuration of one model, one prompt, one seed."""

    model: str
    """`"miniature"`, `"tiny"`, or a folder that `save_pretrained` wrote."""
    settings: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """Settings JSON, techniques by id; none means the pipeline as it is."""
    workload: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """`frames`, `height`, `width`, `steps`, `guidance`, `fps`, or all that `Workload.to_json` gives; what is left out is the model's
    native value."""
    prompt: str | None = None
    """None means one that the model knows."""
    negative_prompt: str | None = None
    """None means the one that predictions are made with."""
    seed: int = 0
    """Of the initial noise, drawn on the CPU: the same on every machine."""
    warmup: int = 0
    """Calls before the measured ones."""
    repeats: int = 1
    """Measured calls, all with the same seed."""
    limit_s: float | None = None
    """Seconds that loading and each call may take; None means no limit."""
    count_tensors: bool = True
    """On the CPU: call once more, with few steps, to count the bytes in live tensors."""
    vram_gb: float | None = None
    """GiB that PyTorch may reserve on the GPU, the CUDA context not included; None means all. Nothing on a CPU."""
    dtypes: Mapping[str, str] = field(default_factory=dict, hash=False)
    """Component -> dtype in which it is loaded, where not as the model's documentation does."""
    profile: str = ""
    """Name of the profile that the settings are of."""
    predicted: Mapping[str, Any] | None = field(default=None, hash=False)
    """`Cost.to_json` for the machine here, which goes into the record beside what is measured."""
    notes: tuple[str, ...] = ()
    """Sentences that the record's report begins with."""
    fingerprint: str = ""
    """Of the pipeline in memory that the loaded one must equal; "" means any."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "settings", Settings.parse(self.settings).to_json())
        given = {key: value for key, value in self.workload.items() if key != "model"}
        object.__setattr__(self, "workload", given)
        if self.prompt is None:
            object.__setattr__(self, "prompt", default_prompt(self.model))
        for name, least in (("warmup", 0), ("repeats", 1)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise InputError(f"{name} must be a whole number of at least {least}, got {value!r}")
        for name in ("limit_s", "vram_gb"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not value > 0):
                raise InputError(f"{name} must be a number above 0, got {value!r}")

    def to_json(self) -> dict[str, Any]:
        """What the process reads."""
        said = {name: getattr(self, name) for name in _TOLD}
        calls = Calls(warmup=self.warmup, repeats=self.repeats, count_tensors=self.count_tensors)
        return {
            **said,
            "settings": dict(self.settings),
            "workload": dict(self.workload),
            "dtypes": dict(self.dtypes),
            "notes": list(self.notes),
            "calls": asdict(calls),
        }


_TOLD: Final = ("model", "prompt", "negative_prompt", "seed", "vram_gb", "fingerprint")


@dataclass(frozen=True, kw_only=True, slots=True)
class FreshResult:
    """What a fresh process did."""

    job: FreshJob
    runs: tuple[Mapping[str, Any], ...] = field(hash=False)
    """JSON of each measured call, in order, as `workbench.records.build` takes it; the last is the one that failed, if one did. Never
    empty: a process that did not come to its first call is one failed run."""
    clip: Path | None
    """The first call's video as `numpy.save` writes it: bytes [F, H, W, 3], untouched by any codec. None if no call went well."""
    log: str
    """The end of what the process printed."""
    seconds: float
    """From starting the process to its end, loading included."""
    rss_peak_bytes: int
    """Resident memory of the process at its highest, loading included, as seen from outside every 50 ms; 0 where it cannot be read."""

    @property
    def status(self) -> str:
        """How the last run ended: `ok`, `out_of_memory`, `timed_out` or `failed`."""
        return str(self.runs[-1]["status"])

    @property
    def error(self) -> str:
        """What went wrong; "" when nothing did."""
        return str(self.runs[-1].get("error", ""))

    @property
    def good_runs(self) -> tuple[Mapping[str, Any], ...]:
        """Those that went well."""
        return tuple(run for run in self.runs if run["status"] == "ok")

    @property
    def total_s(self) -> float | None:
        """Median seconds of the calls that went well; None if none did."""
        totals = [run["measured"]["total_s"] for run in self.good_runs]
        return median(totals) if totals else None

    @property
    def is_another_pipeline(self) -> bool:
        """Whether the pipeline on the disk was not the one whose fingerprint was asked for, and nothing was run."""
        return NOT_THE_SAME in self.error

    def frames(self) -> np.ndarray[Any, Any]:
        """The clip: bytes [F, H, W, 3].

        Raises:
            InputError: there is none.
        """
        if self.clip is None:
            raise InputError(f"there is no clip: the run ended as {self.status} ({self.error})")
        return read(self.clip)

    def record(self) -> xarray.Dataset:
        """One row per run, as `records/schema.md` has it."""
        from workbench.records import build, merge

        return merge(build(run) for run in self.runs)


def run_fresh(
    job: FreshJob,
    folder: str | Path | None = None,
    *,
    watch: AbstractWatch | None = None,
    title: str = "",
    ran: Ran | None = None,
) -> FreshResult:
    """Runs a job in a process of its own and waits for it.

    Args:
        folder: where the clip and the log go, made if it is not there; None means a new one below the machine's temporary folder. It is
            left where it is: whoever needs the clip no longer deletes it.
        watch: is told how the process is doing.
        title: what the watch calls it; "" means the settings.
        ran: is told of each run as soon as it is over.

    Raises:
        InputError: there is no such model, or it cannot make this; nothing was started. Settings that the model refuses are a failed
            run, so that one of many does not end the others.
    """
    folder = Path(tempfile.mkdtemp(prefix="workbench-")) if folder is None else Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    told = job.to_json()
    workload = settle(told).workload.to_json()
    take_of(told, folder)
    for name in (JOB, CLIP, EVENTS, LOG):
        (folder / name).unlink(missing_ok=True)
    with replacing(folder / JOB) as temporary:
        temporary.write_text(json.dumps({**told, "parent": os.getpid()}), encoding="utf-8")
    ran_out = _killed_for_memory()
    started = time.time()
    watching = _Watching(job, NoWatch() if watch is None else watch, title, ran, workload, started)
    with _process(job, folder) as process:
        status, error = watching.until_over(process, Following(folder))
        code = process.wait()
    log = (folder / LOG).read_text(encoding="utf-8", errors="replace")[-_LOG_END:]
    if not watching.following.finished and not error:
        status, error = end_in_words(code, _killed_for_memory() > ran_out)
        error = f"{error}, {watching.following.where()}{_last_line(log)}"
    clip = folder / CLIP
    return FreshResult(
        job=job,
        runs=watching.runs(status, error),
        clip=clip if clip.is_file() and watching.following.runs else None,
        log=log,
        seconds=time.time() - started,
        rss_peak_bytes=watching.rss_peak_bytes,
    )


class _Watching:
    """Follows one process to its end."""

    def __init__(
        self,
        job: FreshJob,
        watch: AbstractWatch,
        title: str,
        ran: Ran | None,
        workload: dict[str, Any],
        started: float,
    ) -> None:
        self._job, self._watch, self._ran, self._workload, self._started = job, watch, ran, workload, started
        self._title = title or json.dumps(job.settings)
        self.following: Following
        self.rss_peak_bytes = 0

    def until_over(self, process: subprocess.Popen[bytes], following: Following) -> tuple[str, str]:
        """Waits; returns a status and a sentence if the process had to be ended, else two empty texts."""
        self.following = following
        limit_s = self._job.limit_s
        while True:
            is_over = process.poll() is not None  # asked before reading, so that the last events are read
            for run in following.read():
                self._tell(run)
            if is_over:
                return "", ""
            if limit_s is not None and time.time() - following.since > limit_s and not following.finished:
                process.kill()
                process.wait()
                for run in following.read():  # what came in the last moment
                    self._tell(run)
                return "timed_out", f"{over_limit(limit_s)}, {following.where()}"
            self._watch.saw(self._seen(process.pid))
            time.sleep(_LOOKS_EVERY_S)

    def runs(self, status: str, error: str) -> tuple[Mapping[str, Any], ...]:
        """All runs, with one for what went wrong outside a call."""
        following, runs = self.following, self.following.runs
        if following.failed is not None:
            status, error = following.failed["status"], following.failed["error"]
        counting = following.kind == COUNTING and runs
        if status and counting:  # every call went well: what was lost is a count
            runs[-1] = with_tensors(runs[-1], {}, [f"live tensors were not counted: {error}"])
            self._tell(runs[-1])
        elif status or not runs:
            # a process that says it is finished without a run and without an error would be a mistake of ours
            row = following.row(
                status or "failed", error or "the process made no run", self.rss_peak_bytes, self._started
            )
            row["report"] = [*self._job.notes, *row["report"]]
            runs.append(row)
            self._tell(row)
        return tuple(self._asked(run) for run in runs)

    def _tell(self, run: Mapping[str, Any]) -> None:
        if self._ran is not None:
            self._ran(self._asked(run))

    def _asked(self, run: Mapping[str, Any]) -> dict[str, Any]:
        return with_what_was_asked(run, self._job, self._workload, process="fresh")

    def _seen(self, pid: int) -> Seen:
        following = self.following
        rss = _rss_bytes(pid)
        self.rss_peak_bytes = max(self.rss_peak_bytes, rss or 0)
        expected = None if self._job.predicted is None else self._job.predicted["time"]["total_s"]
        return Seen(
            title=self._title,
            phase=following.phase,
            stage=following.stages[-1][0] if following.stages else "",
            step=following.step,
            num_steps=following.num_steps,
            elapsed_s=time.time() - self._started,
            left_s=following.left_s(expected, self._job.warmup, self._job.repeats),
            rss_bytes=rss,
            gpu_bytes=following.gpu_bytes,
        )


@contextmanager
def _process(job: FreshJob, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The process; it is ended when the context is left, whatever the reason."""
    # `-P`: what lies in the caller's folder must not stand in for a library; the package is found where this one is
    package = str(Path(__file__).resolve().parents[2])
    paths = os.pathsep.join(filter(None, (package, os.environ.get("PYTHONPATH", ""))))
    command = [sys.executable, "-P", "-m", "workbench.measurement._child", str(folder)]
    with (folder / LOG).open("wb") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONPATH": paths, **_allocator(job)},
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def _allocator(job: FreshJob) -> dict[str, str]:
    """The options of PyTorch's allocator, which it takes when it starts: so weights are loaded under them too."""
    conf = Settings.parse(job.settings).allocator_options().conf()
    before = os.environ.get(ENVIRONMENT_VARIABLE, "")
    return {ENVIRONMENT_VARIABLE: ",".join(filter(None, (before, conf)))} if conf else {}


def _rss_bytes(pid: int) -> int | None:
    import psutil

    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return None


def _killed_for_memory() -> int:
    """Processes that the system has killed for want of memory since it was started; 0 where it does not say (Linux does)."""
    try:
        lines = Path("/proc/vmstat").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)


def _last_line(log: str) -> str:
    lines = [line for line in log.splitlines() if line.strip()]
    return f"; it printed last: {lines[-1].strip()}" if lines else ""
