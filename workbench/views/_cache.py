"""The cache of traces as a table."""

from __future__ import annotations

from typing import Any

from workbench._store import Store
from workbench._units import format_gib
from workbench.search._report import Column, Report, Section, Table

_KINDS = {
    "model": "what pipelines outside the catalogue say of themselves",
    "log": "which calls a workload makes",
    "call": "what one call needs and computes",
    "weights": "what a component's weights take",
    "loaded": "what they take on their way there",
    "twin": "small models that stand in for a large one",
}


def cache_json() -> dict[str, Any]:
    """Where traces are kept and what is there, one JSON object."""
    store = Store()
    entries = store.contents()
    kinds = {}
    for kind in _KINDS:
        ours = [entry for entry in entries if entry.kind == kind]
        kinds[kind] = {"entries": len(ours), "bytes": sum(entry.num_bytes for entry in ours)}
    stale = [entry for entry in entries if entry.is_stale]
    return {
        "folder": str(store.folder),
        "entries": len(entries),
        "bytes": sum(entry.num_bytes for entry in entries),
        "kinds": kinds,
        "stale": {"entries": len(stale), "bytes": sum(entry.num_bytes for entry in stale)},
    }


def cache_report() -> Report:
    """The same for people."""
    found = cache_json()
    stale = found["stale"]
    columns = (
        Column(title="kind", is_short=True),
        Column(title="entries", is_number=True),
        Column(title="size", is_number=True),
        Column(title="what it keeps"),
    )
    rows = tuple(
        (kind, str(found["kinds"][kind]["entries"]), format_gib(found["kinds"][kind]["bytes"]), meaning)
        for kind, meaning in _KINDS.items()
    )
    lines = (
        found["folder"],
        f"{stale['entries']} stale, {format_gib(stale['bytes'])}: made by other library versions and never read again"
        if stale["entries"]
        else "none is stale: all were made by the installed library versions"
        if found["entries"]
        else "nothing is kept yet",
        "delete them with workbench cache clear, or only the stale ones with --stale; what is needed is traced again",
    )
    title = f"Cache: {found['entries']} entries, {format_gib(found['bytes'])}"
    return Report(
        title=title,
        lines=(),
        sections=(Section(title="Traces", lines=lines, table=Table(columns=columns, rows=rows)),),
    )
