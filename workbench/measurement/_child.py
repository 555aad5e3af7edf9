"""The process that `run_fresh` starts: loads a pipeline, applies settings, runs, and writes down each event as it happens.

`python -m workbench.measurement._child FOLDER`: reads `job.json` there, adds lines of JSON to `events.jsonl`, the clip to `clip.npy`.
What libraries print goes where the parent sent it. Touches the disk, the clock and the GPU.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

from workbench.measurement._clips import CLIP, keep, same
from workbench.measurement._job import Job, Take
from workbench.measurement._measurement import Measurement
from workbench.measurement._progress import AbstractProgress

if TYPE_CHECKING:
    import numpy as np
    from diffusers import DiffusionPipeline

JOB, EVENTS = "job.json", "events.jsonl"
"""Names of the files in the folder."""

_LOOKS_EVERY_S: Final = 1.0


class Events:
    """Adds lines to the file that the parent reads; each line is whole when it is there."""

    def __init__(self, folder: Path) -> None:
        self._file = (folder / EVENTS).open("a", encoding="utf-8")

    def say(self, event: str, **values: Any) -> None:
        """One event, with the time at which it happened (seconds since 1970)."""
        line = json.dumps({"event": event, "at": time.time(), **_held_on_gpu(), **values})
        self._file.write(line + "\n")
        self._file.flush()


class EventProgress(AbstractProgress):
    """Writes stages and steps down."""

    def __init__(self, events: Events) -> None:
        self._events = events

    def start(self, title: str, num_steps: int, expected_s: float | None) -> None:
        """Nothing: the beginning of a call is an event of its own."""

    def stage(self, name: str) -> None:
        """A stage begins."""
        self._events.say("stage", name=name)

    def step(self, done: int) -> None:
        """So many steps are done."""
        self._events.say("step", done=done)

    def close(self, *, well: bool) -> None:
        """Nothing: how a call ended is an event of its own."""


def main(folder: Path) -> int:
    """Does the job; whatever goes wrong is an event. The exit code is 0 if the parent has been told all there is to tell."""
    job = json.loads((folder / JOB).read_text(encoding="utf-8"))
    events = Events(folder)
    threading.Thread(target=_end_with, args=(job["parent"],), name="workbench-parent", daemon=True).start()
    try:
        _work(job, folder, events)
    # the parent makes a row of whatever ended the job, so nothing may pass unsaid
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001
        traceback.print_exc()
        from workbench.measurement._run import is_out_of_memory

        status = "out_of_memory" if is_out_of_memory(error) else "failed"
        events.say("failed", status=status, error=f"{type(error).__name__}: {error}")
    events.say("finished")
    return 0


def _work(job: Mapping[str, Any], folder: Path, events: Events) -> None:
    """Loads, applies, runs."""
    from workbench.cost import versions
    from workbench.measurement._calling import applied
    from workbench.measurement._performing import Calls, perform
    from workbench.measurement._pipelines import open_pipeline
    from workbench.measurement._provenance import commit
    from workbench.measurement._run import machine
    from workbench.models._quiet import quiet_imports

    with quiet_imports():
        device = machine()
        events.say(
            "environment",
            versions=versions(),
            device=None if device is None else device.to_json(),
            commit=commit() or None,
        )
        _cap(job["vram_gb"])
        started = time.perf_counter()
        settled = settle(job)
        pipe = open_pipeline(job["model"], settled.spec)
        check_same(job["fingerprint"], pipe)
        handle = applied(settled, pipe)
        load_s = time.perf_counter() - started
    events.say("opened", load_s=load_s, report=list(handle.report))

    def ran(measured: Measurement, warmup_s: float, clip: np.ndarray[Any, Any] | None) -> None:
        is_same = True
        if clip is not None and (folder / CLIP).exists():
            is_same = same(clip, folder)
        elif clip is not None:
            keep(clip, folder)
        events.say("run", run=measured.to_json(), warmup_s=warmup_s, same_clip=is_same)

    tensors, said = perform(
        pipe,
        settled,
        take_of(job, folder),
        Calls(**job["calls"]),
        load_s=load_s,
        report=lambda: handle.report,
        progress=EventProgress(events),
        began=lambda kind, number, of: events.say(
            "began", kind=kind, number=number, of=of, steps=settled.steps
        ),
        ran=ran,
    )
    events.say("tensors", tensors=tensors, report=list(said))


def settle(job: Mapping[str, Any]) -> Job:
    """The job as it is run: the model's row, the workload checked, the settings read."""
    from workbench.measurement._pipelines import spec_of
    from workbench.models import Workload
    from workbench.techniques import Settings

    spec = spec_of(job["model"])
    if job["dtypes"]:
        spec = spec.with_dtypes(job["dtypes"])
    return Job(
        spec=spec,
        profile=None,
        workload=Workload.for_model(spec, **job["workload"]),
        settings=Settings.parse(job["settings"]),
        notes=tuple(job["notes"]),
    )


def take_of(job: Mapping[str, Any], folder: Path) -> Take:
    """What the video shows."""
    return Take(
        video=folder / "clip.mp4",
        prompt=job["prompt"],
        negative_prompt=job["negative_prompt"],
        seed=job["seed"],
    )


def check_same(fingerprint: str, pipe: DiffusionPipeline) -> None:
    """Makes sure that the pipeline that was loaded is the one that the caller has in memory, where that was asked."""
    from workbench._errors import InputError
    from workbench.measurement._fingerprint import fingerprint_of

    if fingerprint and fingerprint_of(pipe) != fingerprint:
        raise InputError(f"{NOT_THE_SAME}: its weights or its components differ")


NOT_THE_SAME: Final = "the pipeline on the disk is not the one in memory"
"""How the error begins by which a caller knows that loading it anew is no way to measure it."""


def _cap(vram_gb: float | None) -> None:
    """Limits what PyTorch may reserve on the GPU."""
    if vram_gb is None:
        return
    import torch

    from workbench._units import from_gib

    if torch.cuda.is_available():
        total = torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, from_gib(vram_gb) / total))


def _held_on_gpu() -> dict[str, int]:
    """What PyTorch holds of the GPU, for people who watch; asked only once torch is there and has started CUDA."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available() or not torch.cuda.is_initialized():
        return {}
    return {"reserved_bytes": torch.cuda.memory_reserved()}


def _end_with(parent: int) -> NoReturn:
    """Ends this process when the one that started it is gone: nobody would read what it measures, and it would hold the GPU."""
    while os.getppid() == parent:
        time.sleep(_LOOKS_EVERY_S)
    os._exit(1)


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        sys.exit(main(Path(sys.argv[1])))
