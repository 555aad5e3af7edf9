"""Measurements as a report: side by side, then each configuration's stages, predicted and measured. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from workbench._units import format_seconds, from_gib
from workbench.measurement._summary import SPREAD, Measured, Spread, ratio
from workbench.search._report import Column, Report, Section, Table
from workbench.search._words import describe_bytes, describe_settings, describe_stage, model_title

if TYPE_CHECKING:
    from workbench.measurement._measurements import Measurements

_NOTHING = "–"
BESIDE: Final = (
    Column(title="stage", is_short=True),
    Column(title="time\npredicted", is_number=True),
    Column(title="time\nmeasured", is_number=True),
    Column(title="ratio", is_number=True),
    Column(title="memory\npredicted", is_number=True),
    Column(title="memory\nmeasured", is_number=True),
    Column(title="ratio", is_number=True),
)
"""Columns of a table of stages, what was predicted beside what was measured."""


def measurements_report(found: Measurements) -> Report:
    """Everything that was measured."""
    return Report(
        title="Measured",
        lines=_header(found),
        verdict=_verdict(found),
        is_good=all(measured.num_runs for measured in found),
        sections=(
            Section(title="Side by side", table=_side_by_side(found)),
            Section(title="Settings", lines=_settings(found)),
            *(_stages(measured) for measured in found if measured.stages),
            *_quality_absent(found),
            *_failures(found),
            *_reports(found),
            Section(title="Files", lines=_files(found), is_quiet=True),
        ),
    )


def _header(found: Measurements) -> tuple[str, ...]:
    work = found.workload
    what = (
        f"{model_title(str(work['model']))}: {work['frames']} frames of {work['height']} × {work['width']}, "
        f"{work['steps']} steps, guidance {work['guidance']:g}"
    )
    where = "a machine that is not in the catalogue" if found.device is None else str(found.device["title"])
    bases = {one.predicted["time"]["basis"] for one in found if one.predicted is not None}
    rates = ("times are predicted from nominal rates: `workbench calibrate` measures this machine's",)
    return (
        what,
        f"on {where}",
        f"prompt {found.prompt!r}, seed {found.seed}",
        *(rates if "catalogue" in bases else ()),
    )


def _verdict(found: Measurements) -> str:
    """The fastest, and how much faster than the baseline."""
    timed = [(one.total_s.median, one) for one in found.candidates if one.total_s is not None]
    if not found.candidates:
        total = found.baseline.total_s
        return (
            f"baseline: {format_seconds(total.median)}" if total else f"baseline: {_status(found.baseline)}"
        )
    if not timed:
        return f"none of the {len(found.candidates)} candidates went well"
    _, best = min(timed, key=lambda pair: pair[0])
    times = found.speedup(best)
    if times is None:
        return f"fastest candidate {best.name}; the baseline has no time: {_status(found.baseline)}"
    words = f"{times:.2f} × as fast as the baseline{_doubt(best, found.baseline)}"
    return (
        f"{best.name}: {words}" if len(found.candidates) == 1 else f"fastest candidate {best.name}: {words}"
    )


def _doubt(one: Measured, other: Measured) -> str:
    """Said where the calls of two configurations overlap in time."""
    first, second = one.total_s, other.total_s
    if first is None or second is None or first.high < second.low or second.high < first.low:
        return ""
    return ", which is within the spread of the calls"


def _status(measured: Measured) -> str:
    return measured.status.replace("_", " ")


def _side_by_side(found: Measurements) -> Table:
    rows: list[tuple[str, ...]] = []
    for title, words in _ROWS:
        cells = tuple(words(found, measured) for measured in found)
        if any(cell != _NOTHING for cell in cells):
            rows.append((title, *cells))
    columns = (
        Column(title="", is_short=True),
        *(Column(title=measured.name) for measured in found),
    )
    return Table(columns=columns, rows=tuple(rows))


def _spread(value: Spread | None) -> str:
    if value is None:
        return _NOTHING
    words = format_seconds(value.median)
    return (
        words
        if value.low == value.high
        else f"{words} ({format_seconds(value.low)} to {format_seconds(value.high)})"
    )


def _seconds(value: float | None) -> str:
    return _NOTHING if value is None else format_seconds(value)


def _times(value: float | None) -> str:
    return _NOTHING if value is None else f"{value:.2f}"


def _bytes(value: float | None) -> str:
    return _NOTHING if value is None else describe_bytes(value)


def _predicted(one: Measured) -> str:
    if one.predicted is None:
        return _NOTHING
    time = one.predicted["time"]
    return f"{_seconds(time['total_s'])} ({_seconds(time['low_s'])} to {_seconds(time['high_s'])})"


def _memory(name: str) -> Callable[[Measurements, Measured], str]:
    return lambda _, one: _bytes(one.memory.get(name))


def _beside(name: str, predicted_name: str) -> Callable[[Measurements, Measured], str]:
    """A peak of the whole run on a GPU's machine, with what was predicted of it."""

    def words(_: Measurements, one: Measured) -> str:
        measured = one.memory.get(name)
        on_gpu = (
            "reserved_peak_bytes" in one.memory
        )  # on a CPU there is one memory, and a prediction divides it otherwise
        if measured is None or one.predicted is None or not on_gpu:
            return _bytes(measured)
        predicted = from_gib(one.predicted["memory"][predicted_name])
        return (
            f"{_bytes(measured)}, predicted {_bytes(predicted)}, ratio {_times(ratio(measured, predicted))}"
        )

    return words


def _figure(name: str, form: str) -> Callable[[Measurements, Measured], str]:
    def words(_: Measurements, one: Measured) -> str:
        value = None if one.quality is None else one.quality[name]
        if value is None:
            return _NOTHING
        return "equal" if value == float("inf") else format(value, form)

    return words


def _seam(_: Measurements, one: Measured) -> str:
    figures: Any = one.quality
    if figures is None or figures["seam"] is None:
        return _NOTHING
    return f"{figures['seam']:.4f} at frame {figures['seam_frame']:.0f}" if figures["seam"] > 0 else "none"


_ROWS: tuple[tuple[str, Callable[[Measurements, Measured], str]], ...] = (
    ("status", lambda _, one: _status(one)),
    ("runs", lambda _, one: str(one.num_runs)),
    ("time", lambda _, one: _spread(one.total_s)),
    ("predicted", lambda _, one: _predicted(one)),
    ("ratio", lambda _, one: _times(one.time_ratio)),
    ("speed-up", lambda found, one: _times(found.speedup(one))),
    ("warm-up", lambda _, one: _seconds(one.warmup_s)),
    ("loading", lambda _, one: _seconds(one.load_s)),
    ("weights", _memory("weights_bytes")),
    ("live tensors", _memory("tensors_peak_bytes")),
    ("process before", _memory("rss_before_bytes")),
    ("process peak", _beside("rss_peak_bytes", "host_ram_gib")),
    ("GPU allocated", _beside("allocated_peak_bytes", "peak_allocated_gib")),
    ("GPU reserved", _beside("reserved_peak_bytes", "peak_reserved_gib")),
    ("GPU in use", _memory("device_used_peak_bytes")),
    ("PSNR dB", _figure("psnr_db", ".2f")),
    ("SSIM", _figure("ssim", ".4f")),
    ("MS-SSIM", _figure("ms_ssim", ".4f")),
    ("VMAF", _figure("vmaf", ".1f")),
    ("LPIPS", _figure("lpips", ".4f")),
    ("temporal error", _figure("temporal_error", ".4f")),
    ("more variation", _figure("variation_difference", "+.4f")),
    ("seam", _seam),
)


def _settings(found: Measurements) -> tuple[str, ...]:
    return tuple(f"{measured.name}: {describe_settings(measured.settings)}" for measured in found)


def _stages(measured: Measured) -> Section:
    rows = tuple(
        (
            describe_stage(stage.name),
            _seconds(stage.predicted_s),
            _spread(stage.seconds),
            _times(stage.time_ratio),
            _bytes(stage.predicted_bytes),
            _bytes(stage.measured_bytes),
            _times(stage.bytes_ratio),
        )
        for stage in measured.stages
    )
    on_gpu = "allocated_peak_bytes" in measured.memory
    memory = "allocated, with the weights" if on_gpu else "live tensors beside the weights"
    return Section(
        title=f"Stages of {measured.name}",
        lines=(f"times: median ({SPREAD}); memory: {memory}",),
        table=Table(columns=BESIDE, rows=rows),
    )


def _quality_absent(found: Measurements) -> tuple[Section, ...]:
    said = dict.fromkeys(sentence for measured in found for sentence in measured.quality_absent)
    if found.candidates and found.baseline.clip is None:
        said["there is no clip of the baseline to compare with"] = None
    return (Section(title="Quality that could not be measured", lines=tuple(said)),) if said else ()


def _failures(found: Measurements) -> tuple[Section, ...]:
    lines = tuple(f"{one.name}: {_status(one)}: {one.error}" for one in found if one.status != "ok")
    return (Section(title="What went wrong", lines=lines),) if lines else ()


def _reports(found: Measurements) -> tuple[Section, ...]:
    lines = tuple(f"{one.name}: {sentence}" for one in found for sentence in one.report)
    return (Section(title="Report", lines=lines),) if lines else ()


def _files(found: Measurements) -> tuple[str, ...]:
    videos = tuple(f"{one.name}: video {one.video}" for one in found if one.video is not None)
    return (f"record {found.record}", *videos)
