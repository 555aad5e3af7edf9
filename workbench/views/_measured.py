"""A measurement as a report: what the run took beside what was predicted of it."""

from __future__ import annotations

from workbench._units import format_seconds
from workbench.measurement import Measurement
from workbench.measurement._measurements_report import BESIDE
from workbench.search._report import Report, Section, Table
from workbench.search._words import describe_bytes, describe_settings, describe_stage, describe_workload

_MEMORY_WORDS = {
    "weights_bytes": "weights of all components",
    "rss_before_bytes": "process before the run",
    "rss_peak_bytes": "process at its highest",
    "allocated_peak_bytes": "allocated on the GPU",
    "reserved_peak_bytes": "reserved on the GPU",
    "device_used_peak_bytes": "used on the GPU by all programs",
    "tensors_peak_bytes": "live tensors beside the weights",
}


def measurement_report(measured: Measurement) -> Report:
    """One run: stages, memory, what the profile did, and the files that were written."""
    is_good = measured.status == "ok"
    verdict = (
        f"made in {format_seconds(measured.total_s)}" if is_good else f"{measured.status}: {measured.error}"
    )
    if is_good and measured.predicted is not None:
        _, low, high = measured.predicted.price.seconds
        verdict += (
            f", predicted {format_seconds(measured.predicted.total_s)} "
            f"(from {format_seconds(low)} to {format_seconds(high)})"
        )
    return Report(
        title="Run",
        lines=_header(measured),
        verdict=verdict,
        is_good=is_good,
        sections=(
            Section(title="Predicted and measured", table=_stages(measured)),
            Section(title="Memory", lines=_memory(measured)),
            *((Section(title="Report", lines=measured.report),) if measured.report else ()),
            Section(title="Files", lines=_files(measured)),
        ),
    )


def _header(measured: Measurement) -> tuple[str, ...]:
    what = measured.pipeline_class if measured.workload is None else describe_workload(measured.workload)
    where = "a GPU that the catalogue does not know" if measured.device is None else measured.device.title
    profile = f"profile {measured.profile}: " if measured.profile else ""
    return (what, f"on {where}", f"{profile}{describe_settings(measured.settings)}")


def _stages(measured: Measurement) -> Table:
    rows = tuple(
        (
            describe_stage(stage.name),
            _seconds(stage.predicted_s),
            _seconds(stage.measured_s),
            _ratio(stage.measured_s, stage.predicted_s),
            _bytes(stage.predicted_bytes),
            _bytes(stage.measured_bytes),
            _ratio(stage.measured_bytes, stage.predicted_bytes),
        )
        for stage in measured.beside
    )
    return Table(columns=BESIDE, rows=rows)


def _seconds(value: float | None) -> str:
    return "–" if value is None else format_seconds(value)


def _bytes(value: int | None) -> str:
    return "–" if value is None else describe_bytes(value)


def _ratio(measured: float | None, predicted: float | None) -> str:
    """Measured over predicted."""
    return f"{measured / predicted:.2f}" if measured is not None and predicted else "–"


def _memory(measured: Measurement) -> tuple[str, ...]:
    return tuple(
        f"{_MEMORY_WORDS.get(name, name)} {describe_bytes(num_bytes)}"
        for name, num_bytes in measured.memory.items()
    )


def _files(measured: Measurement) -> tuple[str, ...]:
    named = (("video", measured.video), ("record", measured.record))
    return tuple(f"{name} {path}" for name, path in named if path) or ("none written",)
