"""`run_once`: one call of a pipeline, measured. Touches the clock and the GPU."""

from __future__ import annotations

import inspect
import secrets
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from workbench.cost import versions
from workbench.devices import Device, calibrated, cpu, this_machine
from workbench.measurement._measurement import Measurement, RunError, StageMeasurement
from workbench.measurement._monitor import AbstractProbe, Monitor, probe
from workbench.measurement._progress import AbstractProgress, NoProgress
from workbench.measurement._provenance import commit
from workbench.measurement._stages import StageClock, calls_reported, components_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from diffusers import DiffusionPipeline


EMPTY: Mapping[str, int] = {}


def run_once(
    pipe: DiffusionPipeline,
    kwargs: Mapping[str, Any],
    *,
    progress: AbstractProgress | None = None,
    count_tensors: bool = False,
) -> tuple[Measurement, Any]:
    """Calls `pipe(**kwargs)` once and measures it.

    Args:
        progress: is told about stages and steps; starting and closing it is the caller's.
        count_tensors: call the pipeline a second time, with at most `_tensors.STEPS` steps and outside the clock, and count the
            bytes in live tensors op by op. For the CPU, which has no counter of its own.

    Returns:
        The measurement, and what the pipeline returned.

    Raises:
        RunError: the pipeline failed; the error carries the measurement up to there, with its status.
    """
    progress = NoProgress() if progress is None else progress
    run = _Run(pipe, progress)
    try:
        with run.measured(), calls_reported(pipe, run.clock.called):
            output = pipe(**_with_steps_reported(pipe, kwargs, run.stepped))
    except Exception as error:
        status = "out_of_memory" if is_out_of_memory(error) else "failed"
        what = f"{type(error).__name__}: {error}"
        raise RunError(run.sentence(status, what), run.measurement(status=status, error=what)) from error
    if not count_tensors:
        return run.measurement(status="ok"), output
    from workbench.measurement._tensors import STEPS, count

    progress.stage("counting tensors")  # nothing else moves meanwhile
    with quiet(pipe):
        tensors, report = count(pipe, kwargs, run.steps or STEPS)
    return run.measurement(status="ok", tensors=tensors, report=report), output


class _Run:
    """What one call is measured with."""

    def __init__(self, pipe: DiffusionPipeline, progress: AbstractProgress) -> None:
        from workbench.cost.weigh import weigh

        self.pipe = pipe
        self.probe: AbstractProbe = probe()
        self.monitor = Monitor(self.probe)
        self.before = {
            "weights_bytes": sum(weigh(part).total_bytes for part in components_of(pipe).values()),
            "rss_before_bytes": self.probe.sample()["rss_peak_bytes"],
        }
        self.created = datetime.now(UTC)
        self.progress = progress
        self.steps = 0
        self.clock = StageClock(self.monitor, progress)

    def stepped(self, done: int) -> None:
        """So many denoising steps are done."""
        self.steps = done
        self.progress.step(done)

    @contextmanager
    def measured(self) -> Iterator[None]:
        """Watches memory and stops the clock, also when the call fails."""
        with self.monitor.watching(), quiet(self.pipe):
            try:
                yield
            finally:
                self.clock.stop()

    def measurement(
        self,
        *,
        status: str,
        error: str = "",
        tensors: Mapping[str, int] = EMPTY,
        report: tuple[str, ...] = (),
    ) -> Measurement:
        """What was measured."""
        counted = {"tensors_peak_bytes": max(tensors.values())} if tensors else {}
        return Measurement(
            id=f"{self.created:%Y%m%dT%H%M%S}-{secrets.token_hex(4)}",
            status=status,
            error=error,
            created_at=self.created.isoformat(timespec="seconds"),
            pipeline_class=type(self.pipe).__name__,
            stages=tuple(self._stage(name, tensors) for name in self.clock.seconds),
            total_s=self.clock.total_s,
            memory={**self.before, **self.monitor.overall, **counted},
            device=machine(),
            report=report,
            versions=versions(),
            commit=commit(),
        )

    def _stage(self, name: str, tensors: Mapping[str, int]) -> StageMeasurement:
        counted = {"tensors_peak_bytes": tensors[name]} if name in tensors else {}
        return StageMeasurement(
            name=name,
            seconds=self.clock.seconds[name],
            num_calls=self.clock.calls[name],
            memory={**self.monitor.peaks[name], **counted},
        )

    def sentence(self, status: str, error: str) -> str:
        """What went wrong, where."""
        where = f"in stage {self.clock.stage}" if self.clock.stage else "before its first stage"
        what = "ran out of memory" if status == "out_of_memory" else "failed"
        return f"{type(self.pipe).__name__} {what} {where} after {self.clock.total_s:.1f} s: {error}"


def machine() -> Device | None:
    """What runs here, as calibrated: the GPU if there is one (None if the catalogue does not know it), else the CPU."""
    import torch

    found = this_machine() if torch.cuda.is_available() else cpu()
    return None if found is None else calibrated(found)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory was missing, on the GPU or on the host."""
    import torch

    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    # c10/core/impl/alloc_cpu.cpp raises a plain RuntimeError with these words
    return isinstance(error, RuntimeError) and "DefaultCPUAllocator: can't allocate memory" in str(error)


def _with_steps_reported(
    pipe: DiffusionPipeline, kwargs: Mapping[str, Any], stepped: Callable[[int], None]
) -> dict[str, Any]:
    """The arguments with a callback that reports each step; pipelines without such a callback only report stages."""
    if "callback_on_step_end" not in inspect.signature(type(pipe).__call__).parameters:
        return dict(kwargs)
    given: Callable[..., dict[str, Any]] | None = kwargs.get("callback_on_step_end")

    def report(pipe: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        stepped(step + 1)
        return tensors if given is None else given(pipe, step, timestep, tensors)

    return {**kwargs, "callback_on_step_end": report}


@contextmanager
def quiet(pipe: DiffusionPipeline) -> Iterator[None]:
    """The pipeline's own bar is off meanwhile: there is one already."""
    before = dict(getattr(pipe, "_progress_bar_config", {}))
    pipe.set_progress_bar_config(disable=True)
    try:
        yield
    finally:
        pipe.set_progress_bar_config(**before)
