"""What the parent of a measured process knows of it: the events it wrote so far, and the row that is made of one that ended badly.

Touches the disk and the clock.
"""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from workbench._units import format_seconds
from workbench.measurement._child import EVENTS
from workbench.measurement._performing import RUN, WARM_UP
from workbench.measurement._rows import ANOTHER_CLIP, bare_row, with_tensors

STARTING, LOADING = "starting", "loading"

_DECODE_SHARE: Final = 0.15
"""Of a call's time that comes after its denoising, where nothing is known: only for the time left that people are shown."""


class Following:
    """The events of one process, read as they come."""

    def __init__(self, folder: Path) -> None:
        self._path, self._offset = folder / EVENTS, 0
        self.environment: dict[str, Any] = {}
        self.load_s: float | None = None
        self.report: list[str] = []
        self.runs: list[dict[str, Any]] = []
        """JSON of each measured call, and of one that failed."""
        self.failed: dict[str, Any] | None = None
        """What went wrong outside a call."""
        self.finished = False
        self.kind, self.number, self.of = STARTING, 0, 0
        self.since = time.time()
        """When the phase began."""
        self.stages: list[tuple[str, float]] = []
        """The stages of the call that runs, each with the time at which it began."""
        self.step = self.num_steps = 0
        self.gpu_bytes: int | None = None

    def read(self) -> list[dict[str, Any]]:
        """Takes in what is new, and returns the runs that were measured since the last time, one again if its tensors were counted."""
        if not self._path.exists():
            return []
        with self._path.open("rb") as file:
            file.seek(self._offset)
            text = file.read()
        whole = text[: text.rfind(b"\n") + 1]  # a line that is still being written waits
        self._offset += len(whole)
        new = [self._take(json.loads(line)) for line in whole.splitlines()]
        return [run for run in new if run is not None]

    def _take(self, event: dict[str, Any]) -> dict[str, Any] | None:
        self.gpu_bytes = event.get("reserved_bytes", self.gpu_bytes)
        match event["event"]:
            case "environment":
                self.environment = {key: event[key] for key in ("versions", "device", "commit")}
                self._phase(LOADING, 0, 0, event["at"])
            case "opened":
                self.load_s, self.report = event["load_s"], event["report"]
            case "began":
                self.num_steps = event["steps"]
                self._phase(event["kind"], event["number"], event["of"], event["at"])
            case "stage":
                self.stages.append((event["name"], event["at"]))
            case "step":
                self.step = event["done"]
            case "run":
                self.runs.append(_whole_run(event))
                return self.runs[-1]
            case "tensors":
                return self._counted(event)
            case "failed":
                self.failed = event
            case "finished":
                self.finished = True
        return None

    def _phase(self, kind: str, number: int, of: int, at: float) -> None:
        self.kind, self.number, self.of, self.since = kind, number, of, at
        self.stages, self.step = [], 0

    def _counted(self, event: Mapping[str, Any]) -> dict[str, Any] | None:
        if not self.runs or self.runs[-1]["status"] != "ok":
            return None
        self.runs[-1] = with_tensors(self.runs[-1], event["tensors"], event["report"])
        return self.runs[-1]

    @property
    def phase(self) -> str:
        """In words."""
        return f"{self.kind} {self.number} of {self.of}" if self.kind in (WARM_UP, RUN) else self.kind

    def left_s(self, expected_s: float | None, warmup: int, repeats: int) -> float | None:
        """Seconds until the last call is done: from the calls that are, else from the steps that are, else from the prediction."""
        done = [run["measured"]["total_s"] for run in self.runs if run["status"] == "ok"]
        one = done[-1] if done else self._from_steps() or expected_s
        if one is None or self.kind not in (WARM_UP, RUN):  # nobody can say how long a disk takes
            return None
        calls = repeats - self.number + 1 + (warmup if self.kind == WARM_UP else 0)
        return max(0.0, one - (time.time() - self.since)) + (calls - 1) * one

    def _from_steps(self) -> float | None:
        """A call's seconds by the pace of its steps; None before the second step, for the first one is often slow."""
        began = next((at for name, at in self.stages if name.startswith("denoise")), None)
        if began is None or self.step < 2 or self.kind not in (WARM_UP, RUN):
            return None
        before, pace = began - self.since, (time.time() - began) / self.step
        return (before + pace * self.num_steps) / (1 - _DECODE_SHARE)

    def row(self, status: str, error: str, rss_peak_bytes: int, started_at: float) -> dict[str, Any]:
        """The JSON of a run that its process could not report itself, in the form of a measurement's."""
        now = time.time()
        in_call = self.kind in (WARM_UP, RUN)
        return bare_row(
            status,
            error,
            began=self.since if in_call else started_at,
            environment=self.environment,
            total_s=now - self.since if in_call else 0.0,
            load_s=self.load_s,
            stages=self._stages(now) if in_call else (),
            rss_peak_bytes=rss_peak_bytes,
            report=self.report,
        )

    def _stages(self, now: float) -> list[dict[str, Any]]:
        seconds: dict[str, float] = {}
        ends = [*(at for _, at in self.stages[1:]), now]
        for position, ((name, at), end) in enumerate(zip(self.stages, ends, strict=True)):
            began = self.since if position == 0 else at  # what comes before the first stage counts to it
            seconds[name] = seconds.get(name, 0.0) + end - began
        return [{"name": name, "seconds": value, "memory": {}} for name, value in seconds.items()]

    def where(self) -> str:
        """What it was doing, in words: `"in stage denoise of run 1 of 3, at step 2 of 8"`."""
        if self.kind not in (WARM_UP, RUN):
            return f"while {self.kind}"
        if not self.stages:
            return f"before the first stage of {self.phase}"
        step = (
            f", after {self.step} of {self.num_steps} steps"
            if self.stages[-1][0].startswith("denoise")
            else ""
        )
        return f"in stage {self.stages[-1][0]} of {self.phase}{step}"


def _whole_run(event: Mapping[str, Any]) -> dict[str, Any]:
    run: dict[str, Any] = dict(event["run"])
    run["harness"] = {"warmup_s": event["warmup_s"]}
    if not event["same_clip"]:
        run["report"] = [*run["report"], ANOTHER_CLIP]
    return run


def end_in_words(code: int, ran_out: bool) -> tuple[str, str]:
    """Status and sentence of a process that ended without saying why.

    Args:
        code: its exit code, below 0 for a signal.
        ran_out: whether the system killed a process for want of memory meanwhile.
    """
    if code >= 0:
        return "failed", f"the process ended with exit code {code} and said nothing"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    if -code == signal.SIGKILL and ran_out:
        return "out_of_memory", f"the process was killed ({name}): the system ran out of memory"
    hint = ", as the system does when memory runs out" if -code == signal.SIGKILL else ""
    return "failed", f"the process was killed ({name}{hint})"


def over_limit(limit_s: float) -> str:
    """What is said of a process that was ended because it took too long."""
    return f"stopped by the workbench: over the limit of {format_seconds(limit_s)}"
