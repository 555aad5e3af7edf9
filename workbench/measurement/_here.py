"""`run_here`: what `run_fresh` does, in this process and on a pipeline that is in its memory. Touches the disk, the clock and the GPU."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.measurement._calling import applied
from workbench.measurement._child import take_of
from workbench.measurement._clips import CLIP, keep, same
from workbench.measurement._job import Job
from workbench.measurement._measurement import Measurement
from workbench.measurement._monitor import CpuProbe
from workbench.measurement._performing import RUN, WARM_UP, Calls, perform
from workbench.measurement._progress import AbstractProgress
from workbench.measurement._rows import ANOTHER_CLIP, bare_row, with_tensors, with_what_was_asked
from workbench.measurement._watch import AbstractWatch, Seen
from workbench.measurement.fresh import FreshJob, FreshResult, Ran
from workbench.models import ModelSpec, Workload
from workbench.techniques import Handle, Settings

if TYPE_CHECKING:
    import numpy as np
    from diffusers import DiffusionPipeline


def run_here(
    pipe: DiffusionPipeline,
    spec: ModelSpec,
    job: FreshJob,
    folder: Path,
    *,
    watch: AbstractWatch,
    title: str,
    ran: Ran,
) -> FreshResult:
    """Runs a job on this pipeline, and leaves it as it was. A limit cannot be kept: nothing can end a call from within.

    Raises:
        InputError: the model cannot make this. What goes wrong in a call is a failed run, as it is in a fresh process.
    """
    from workbench.measurement._run import is_out_of_memory

    folder.mkdir(parents=True, exist_ok=True)
    told = job.to_json()
    workload = Workload.for_model(spec, **job.workload)
    settled = Job(
        spec=spec, profile=None, workload=workload, settings=Settings.parse(job.settings), notes=job.notes
    )
    (folder / CLIP).unlink(missing_ok=True)
    here = _Here(job, workload, folder, _Telling(watch, title, settled.steps), ran)
    started = time.time()
    try:
        with _applied(settled, pipe) as handle:
            here.perform(pipe, settled, take_of(told, folder), handle)
    except Exception as error:  # noqa: BLE001  # a row is made of whatever it is, as of a process that ends
        status = "out_of_memory" if is_out_of_memory(error) else "failed"
        here.ended(status, f"{type(error).__name__}: {error}", started)
    clip = folder / CLIP
    return FreshResult(
        job=job,
        runs=tuple(here.runs),
        clip=clip if clip.is_file() else None,
        log="",
        seconds=time.time() - started,
        rss_peak_bytes=here.rss_peak_bytes,
    )


@contextmanager
def _applied(job: Job, pipe: DiffusionPipeline) -> Iterator[Handle]:
    """The settings are applied while the context lasts; afterwards the pipeline is where it was."""
    before = pipe.device
    handle = applied(job, pipe)
    try:
        yield handle
    finally:
        handle.remove()
        if pipe.device != before:
            pipe.to(before)


class _Telling(AbstractProgress):
    """Passes on to a watch what a progress is told."""

    def __init__(self, watch: AbstractWatch, title: str, num_steps: int) -> None:
        self._watch, self._title, self._num_steps = watch, title, num_steps
        self._started = time.time()
        self.phase, self._stage, self._done = "starting", "", 0
        self._probe = CpuProbe()

    def start(self, title: str, num_steps: int, expected_s: float | None) -> None:
        """Nothing: the beginning of a call comes by `began`."""

    def began(self, kind: str, number: int, of: int) -> None:
        """A call begins."""
        self.phase = f"{kind} {number} of {of}" if kind in (WARM_UP, RUN) else kind
        self._stage, self._done = "", 0
        self._tell()

    def stage(self, name: str) -> None:
        """A stage begins."""
        self._stage = name
        self._tell()

    def step(self, done: int) -> None:
        """So many steps are done."""
        self._done = done
        self._tell()

    def close(self, *, well: bool) -> None:
        """Nothing: the watch is its owner's."""

    def _tell(self) -> None:
        import torch

        self._watch.saw(
            Seen(
                title=self._title,
                phase=self.phase,
                stage=self._stage,
                step=self._done,
                num_steps=self._num_steps,
                elapsed_s=time.time() - self._started,
                left_s=None,
                rss_bytes=self._probe.sample()["rss_peak_bytes"],
                gpu_bytes=torch.cuda.memory_reserved() if torch.cuda.is_available() else None,
            )
        )


class _Here:
    """Keeps the runs, and the first clip."""

    def __init__(self, job: FreshJob, workload: Workload, folder: Path, progress: _Telling, ran: Ran) -> None:
        self._job, self._workload, self._folder = job, workload.to_json(), folder
        self._progress, self._told = progress, ran
        self.runs: list[Mapping[str, Any]] = []

    @property
    def rss_peak_bytes(self) -> int:
        """The highest of the runs."""
        return max((run["measured"]["memory"].get("rss_peak_bytes", 0) for run in self.runs), default=0)

    def perform(self, pipe: DiffusionPipeline, job: Job, take: Any, handle: Handle) -> None:
        """The calls."""
        tensors, said = perform(
            pipe,
            job,
            take,
            Calls(warmup=self._job.warmup, repeats=self._job.repeats, count_tensors=self._job.count_tensors),
            load_s=None,
            report=lambda: handle.report,
            progress=self._progress,
            began=self._progress.began,
            ran=self._ran,
        )
        if tensors or said:
            counted = with_tensors(self.runs[-1], tensors, said)
            self.runs[-1] = counted
            self._told(counted)

    def ended(self, status: str, error: str, started: float) -> None:
        """A run for what went wrong outside a call."""
        from workbench.cost import versions
        from workbench.measurement._provenance import commit
        from workbench.measurement._run import machine

        device = machine()
        environment = {
            "versions": versions(),
            "device": None if device is None else device.to_json(),
            "commit": commit() or None,
        }
        row = bare_row(
            status,
            f"{error}, while {self._progress.phase}",
            began=started,
            environment=environment,
            report=self._job.notes,
        )
        self._keep(row)

    def _ran(self, measured: Measurement, warmup_s: float, clip: np.ndarray[Any, Any] | None) -> None:
        run = measured.to_json()
        if clip is not None and not (self._folder / CLIP).exists():
            keep(clip, self._folder)
        elif clip is not None and not same(clip, self._folder):
            run["report"] = [*run["report"], ANOTHER_CLIP]
        self._keep({**run, "harness": {"warmup_s": warmup_s}})

    def _keep(self, run: Mapping[str, Any]) -> None:
        whole = with_what_was_asked(run, self._job, self._workload, process="caller")
        self.runs.append(whole)
        self._told(whole)
