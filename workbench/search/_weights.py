"""Where every component's weights are over the run, as a section of a report. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from workbench._units import GIB, MIB
from workbench.cost import Cost, Whereabouts
from workbench.search._report import Column, Section, Table
from workbench.search._words import describe_component, describe_stretch

_PLACES = {"pageable": "ram_bytes", "pinned": "pinned_bytes", "files": "disk_bytes"}


def weights_sections(cost: Cost) -> tuple[Section, ...]:
    """One section, or none if all weights stay on the GPU."""
    rows = cost.price.timeline.rows()
    if not any(row.ram_bytes or row.pinned_bytes or row.disk_bytes or row.fetched_bytes for row in rows):
        return ()
    largest = max(row.gpu_bytes + row.ram_bytes + row.pinned_bytes + row.disk_bytes for row in rows)
    unit, unit_bytes = ("GiB", GIB) if largest >= GIB // 10 else ("MiB", MIB)
    used = [title for title, name in _PLACES.items() if any(getattr(row, name) for row in rows)]
    columns = (
        Column(title="stretch", is_short=True),
        Column(title="weights of", is_short=True),
        Column(title=f"GPU\n{unit}", is_number=True),
        Column(title="between\ncalls", is_number=True),
        *(Column(title=title, is_number=True) for title in used),
        Column(title="fetched\nin all", is_number=True),
        Column(title="calls", is_number=True),
    )
    table = Table(columns=columns, rows=tuple(_cells(rows, used, unit_bytes)))
    lines = (
        "between calls: what stays on the GPU when the component does not compute; pageable, pinned: host RAM",
    )
    return (Section(title="Where the weights are", lines=lines, table=table),)


def _cells(rows: tuple[Whereabouts, ...], used: Iterable[str], unit_bytes: int) -> Iterable[tuple[str, ...]]:
    shared = [stage for stage, _ in dict.fromkeys((row.stage, row.running) for row in rows)]
    before = None
    for row in rows:
        stretch = (row.stage, row.running)
        sizes = (row.gpu_bytes, row.gpu_between_bytes, *(getattr(row, _PLACES[title]) for title in used))
        yield (
            ""
            if stretch == before
            else describe_stretch(row.stage, row.running if shared.count(row.stage) > 1 else ""),
            describe_component(row.component),
            *(f"{size / unit_bytes:.2f}" if size else "–" for size in (*sizes, row.fetched_bytes)),
            str(row.calls) if row.fetched_bytes else "",
        )
        before = stretch
