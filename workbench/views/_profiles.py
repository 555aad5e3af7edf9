"""Profiles as tables: those that ship with the package, one of them, and two side by side."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from workbench._units import format_seconds
from workbench.cost import QualityEffect
from workbench.models import Workload
from workbench.profiles import Profile, ShippedProfiles
from workbench.profiles._shipped import Entry
from workbench.search._report import Column, Report, Section, Table
from workbench.search._words import (
    SEPARATOR,
    describe_binds,
    describe_component,
    describe_device,
    describe_effect,
    describe_settings,
    describe_stage,
    describe_technique,
    describe_workload,
)

PREDICTED = "everything here is a prediction; none of it was run"


def profiles_json(shipped: Sequence[ShippedProfiles], vram_gb: float | None) -> dict[str, Any]:
    """What ships, one JSON object.

    Args:
        vram_gb: only the entry that a card of so many GiB takes; None means all.
    """
    return {
        "profiles": [
            {
                "model": profiles.model,
                "workload": profiles.workload.to_json(),
                "versions": dict(profiles.versions),
                "search": dict(profiles.search),
                "created_at": profiles.created_at,
                "stale": profiles.stale() or None,
                "entries": [entry.to_json() for entry in _entries(profiles, vram_gb)],
            }
            for profiles in shipped
        ]
    }


def profiles_report(shipped: Sequence[ShippedProfiles], vram_gb: float | None) -> Report:
    """What ships: a row for each model with its time at each size; for one size, or one model, a row for each profile with its settings."""
    detailed = vram_gb is not None or len(shipped) == 1
    table = _detailed_table(shipped, vram_gb) if detailed else _overview(shipped)
    stale = tuple(sentence for profiles in shipped if (sentence := profiles.stale()))
    lines = (
        "the best plan of each model at its native workload for a typical card of that size",
        PREDICTED,
        "show one: workbench profiles show MODEL@GIB; use one: workbench profiles apply MODEL@GIB --out FILE",
    )
    notes = (Section(title="Versions", lines=stale),) if stale else ()
    return Report(
        title="Profiles", lines=(), sections=(Section(title="Shipped", lines=lines, table=table), *notes)
    )


def _entries(profiles: ShippedProfiles, vram_gb: float | None) -> tuple[Entry, ...]:
    return profiles.entries if vram_gb is None else (profiles.entry(vram_gb),)


def _overview(shipped: Sequence[ShippedProfiles]) -> Table:
    sizes = sorted({size for profiles in shipped for size in profiles.sizes})
    columns = (
        Column(title="model", is_short=True),
        *(Column(title=f"{size}\nGiB", is_number=True) for size in sizes),
    )
    rows = []
    for profiles in shipped:
        by_size = {entry.vram_gb: entry for entry in profiles.entries}
        rows.append((profiles.model, *(_brief_cell(by_size.get(size)) for size in sizes)))
    return Table(columns=columns, rows=tuple(rows))


def _brief_cell(entry: Entry | None) -> str:
    """A time that leaves room for six more beside it."""
    if entry is None or not entry.fits:
        return "" if entry is None else "no fit"
    seconds = entry.prediction["time"]["total_s"]
    if seconds < 100:
        return f"{seconds:.2g} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def _time_cell(entry: Entry | None) -> str:
    if entry is None:
        return ""
    return format_seconds(entry.prediction["time"]["total_s"]) if entry.fits else "no fit"


def _clip(workload: Workload) -> str:
    return f"{workload.frames} × {workload.height} × {workload.width}"


def _detailed_table(shipped: Sequence[ShippedProfiles], vram_gb: float | None) -> Table:
    columns = (
        Column(title="profile", is_short=True),
        Column(title="time", is_number=True),
        Column(title="VRAM\nGiB", is_number=True),
        Column(title="RAM\nGiB", is_number=True),
        Column(title="caution", is_number=True),
        Column(title="settings"),
    )
    rows = tuple(
        _detailed_row(profiles, entry) for profiles in shipped for entry in _entries(profiles, vram_gb)
    )
    return Table(columns=columns, rows=rows)


def _detailed_row(profiles: ShippedProfiles, entry: Entry) -> tuple[str, ...]:
    memory = entry.prediction["memory"]
    words = describe_settings(entry.settings)
    return (
        f"{profiles.model}@{entry.vram_gb}",
        _time_cell(entry),
        f"{memory['required_vram_gib']:.2f}",
        f"{memory['host_ram_gib']:.2f}",
        str(entry.caution),
        words if entry.fits else f"nothing fits; the nearest miss lacks {entry.missing_gib:.2f} GiB: {words}",
    )


# --- one profile ----------------------------------------------------------------------------------------------------------


def profile_report(profile: Profile, stale: str = "") -> Report:
    """One profile: what it is for, what it changes, and what was predicted of it.

    Args:
        stale: a sentence on other versions; "" when there is none.
    """
    prediction = profile.prediction
    effects = {effect["technique"]: _effect(effect) for effect in prediction["quality"]["effects"]}
    rows = tuple(
        (name, describe_technique(name, parameters), effects.get(name, ""))
        for name, parameters in profile.settings.items()
    )
    columns = (
        Column(title="technique", is_short=True),
        Column(title="setting"),
        Column(title="effect on the output"),
    )
    dtypes = SEPARATOR.join(
        f"{describe_component(name)} {dtype}" for name, dtype in prediction["dtypes"].items()
    )
    made = SEPARATOR.join(f"{name} {version}" for name, version in profile.versions.items())
    return Report(
        title="Profile",
        lines=(
            profile.name,
            describe_workload(profile.workload),
            f"on {describe_device(profile.device)}",
            f"for {profile.pipeline_class}, loaded as {dtypes}",
        ),
        sections=(
            Section(
                title="Settings",
                lines=() if rows else ("library defaults",),
                table=Table(columns=columns, rows=rows) if rows else None,
            ),
            Section(title="Stages, as predicted", table=_stages(prediction)),
            Section(
                title="Prediction", lines=tuple(f"{title}: {words}" for title, words in _predicted(profile))
            ),
            *((Section(title="Notes", lines=tuple(prediction["notes"])),) if prediction.get("notes") else ()),
            Section(
                title="Made",
                lines=(profile.created_at, made, *((stale,) if stale else ())),
                is_quiet=not stale,
            ),
        ),
    )


def _effect(effect: Mapping[str, Any]) -> str:
    return describe_effect(QualityEffect(**effect))


def _stages(prediction: Mapping[str, Any]) -> Table:
    seconds = {stage["name"]: stage["seconds"] for stage in prediction["time"]["stages"]}
    stages = prediction["memory"]["stages"]
    columns = (
        Column(title="stage", is_short=True),
        Column(title="weights\nGiB", is_number=True),
        Column(title="activations\nGiB", is_number=True),
        Column(title="peak\nGiB", is_number=True),
        Column(title="time", is_number=True),
        Column(title="what binds"),
    )
    rows = tuple(
        (
            describe_stage(stage["name"]),
            f"{stage['weights_gib']:.2f}",
            f"{stage['activations_gib']:.2f}",
            f"{stage['peak_allocated_gib']:.2f}",
            format_seconds(seconds[stage["name"]]),
            describe_binds(stage["binds"]),
        )
        for stage in stages
    )
    return Table(columns=columns, rows=rows)


def _predicted(profile: Profile) -> tuple[tuple[str, str], ...]:
    """The predicted numbers that a profile is chosen by, title and words."""
    memory, time, quality = (profile.prediction[name] for name in ("memory", "time", "quality"))
    unknown = f", unknown of {', '.join(quality['unknown'])}" if quality["unknown"] else ""
    loss = "none, exact" if quality["exact"] else f"{quality['known_loss_percent']:g} % known loss{unknown}"
    low, high = format_seconds(time["low_s"]), format_seconds(time["high_s"])
    return (
        ("time", f"{format_seconds(time['total_s'])} ({low} to {high}, {time['basis']} rates)"),
        ("required VRAM", f"{memory['required_vram_gib']:.2f} GiB"),
        ("reserved at the peak", f"{memory['peak_reserved_gib']:.2f} GiB in {memory['peak_stage']}"),
        ("host RAM", f"{memory['host_ram_gib']:.2f} GiB"),
        ("quality", loss),
    )


# --- two profiles ---------------------------------------------------------------------------------------------------------

_NUMBERS: Mapping[str, Callable[[Mapping[str, Any]], float]] = {
    "total_s": lambda prediction: prediction["time"]["total_s"],
    "required_vram_gib": lambda prediction: prediction["memory"]["required_vram_gib"],
    "host_ram_gib": lambda prediction: prediction["memory"]["host_ram_gib"],
    "known_loss_percent": lambda prediction: prediction["quality"]["known_loss_percent"],
}


def difference_json(profiles: Sequence[Profile]) -> dict[str, Any]:
    """Two profiles, one JSON object: settings that differ, and the predicted numbers with the second's less the first's."""
    first, second = profiles
    return {
        "profiles": [profile.name for profile in profiles],
        "workloads": [profile.workload.to_json() for profile in profiles],
        "devices": [profile.device.name for profile in profiles],
        "settings": {
            name: [profile.settings.get(name) for profile in profiles] for name in _differing(first, second)
        },
        "same_settings": {
            name: value for name, value in first.settings.items() if second.settings.get(name) == value
        },
        "predicted": {
            name: {
                "first": number(first.prediction),
                "second": number(second.prediction),
                "difference": number(second.prediction) - number(first.prediction),
            }
            for name, number in _NUMBERS.items()
        },
    }


def difference_report(profiles: Sequence[Profile], names: Sequence[str]) -> Report:
    """The same for people.

    Args:
        names: what each was called by; the titles of the columns.
    """
    first, second = profiles
    columns = (Column(title="", is_short=True), *(Column(title=name) for name in names))
    differing = _differing(first, second)
    settings = tuple((name, _words(first, name), _words(second, name)) for name in differing)
    kept = {name: value for name, value in first.settings.items() if name not in differing}
    predicted = tuple(
        (title, words, other)
        for (title, words), (_, other) in zip(_predicted(first), _predicted(second), strict=True)
    )
    about = (
        ("model", first.workload.model, second.workload.model),
        ("clip", _clip(first.workload), _clip(second.workload)),
        ("steps", str(first.workload.steps), str(second.workload.steps)),
        ("card", describe_device(first.device), describe_device(second.device)),
    )
    return Report(
        title="Difference",
        lines=(f"{names[0]} and {names[1]}",),
        sections=(
            Section(title="For", table=Table(columns=columns, rows=about)),
            Section(
                title="Settings",
                lines=(f"in both: {describe_settings(kept)}",) if kept else (),
                table=Table(columns=columns, rows=settings) if settings else None,
            ),
            Section(title="Predicted", table=Table(columns=columns, rows=predicted)),
        ),
        verdict=_faster(first, second, names),
        is_good=True,
    )


def _differing(first: Profile, second: Profile) -> tuple[str, ...]:
    """Techniques whose parameters are not the same in both, in the order in which they come."""
    names = dict.fromkeys((*first.settings, *second.settings))
    return tuple(name for name in names if first.settings.get(name) != second.settings.get(name))


def _words(profile: Profile, name: str) -> str:
    return describe_technique(name, profile.settings[name]) if name in profile.settings else "–"


def _faster(first: Profile, second: Profile, names: Sequence[str]) -> str:
    seconds = [profile.prediction["time"]["total_s"] for profile in (first, second)]
    if first.workload != second.workload:
        return "they make different videos, so their times do not compare"
    ratio = max(seconds) / min(seconds)
    if ratio < 1.005:
        return f"both take the same time, {format_seconds(seconds[0])}"
    return f"{names[seconds.index(min(seconds))]} is predicted to be {ratio:.2f} × as fast"
