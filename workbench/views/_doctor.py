"""What this machine and this installation have, for `workbench doctor` and for bug reports. Imports torch inside `examine`."""

from __future__ import annotations

import os
import platform
import re
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from workbench import _store as store
from workbench._units import format_gib
from workbench._version import __version__
from workbench.devices import this_machine
from workbench.devices._detect import system_ram_bytes
from workbench.models._quiet import quiet_imports
from workbench.search._report import Column, Report, Section, Table

DISTRIBUTION = "diffusion-workbench"

_EXTRA = re.compile(r"extra\s*==\s*['\"](?P<extra>[\w.-]+)['\"]")


def examine() -> dict[str, Any]:
    """Everything, as one JSON object."""
    required, extras = _requirements()
    versions = {name: _version(name) for name in required}
    return {
        "workbench": __version__,
        "python": platform.python_version(),
        "executable": sys.executable,
        "platform": platform.platform(),
        "cpu_threads": os.cpu_count(),
        "ram_gib": system_ram_bytes() / 2**30,
        "versions": versions,
        "missing": [name for name, version in versions.items() if version is None],
        "extras": {extra: {name: _version(name) for name in names} for extra, names in extras.items()},
        "gpu": _gpu(),
        "cache": _cache(),
    }


def doctor_report(found: dict[str, Any]) -> Report:
    """The same for people."""
    gpu, missing = found["gpu"], found["missing"]
    verdict = "everything that is needed is installed" if not missing else f"missing: {', '.join(missing)}"
    machine = (
        f"Python {found['python']} ({found['executable']})",
        f"{found['platform']}, {found['cpu_threads']} CPU threads, {found['ram_gib']:.1f} GiB RAM",
        gpu["summary"],
    )
    cache = found["cache"]
    where = f"{cache['folder']}: {cache['entries']} entries, {format_gib(cache['bytes'])}"
    writable = where if cache["writable"] else f"{where}; it cannot be written, so every plan traces again"
    return Report(
        title="Doctor",
        lines=(f"workbench {found['workbench']}",),
        verdict=verdict,
        is_good=not missing,
        sections=(
            Section(title="Machine", lines=machine),
            Section(title="Libraries", table=_versions_table(found["versions"])),
            *(
                Section(title=f"Extra: {extra}", table=_versions_table(names))
                for extra, names in found["extras"].items()
            ),
            Section(title="Cache", lines=(writable,)),
        ),
    )


def _versions_table(versions: dict[str, str | None]) -> Table:
    return Table(
        columns=(Column(title="package", is_short=True), Column(title="version")),
        rows=tuple((name, version or "not installed") for name, version in versions.items()),
    )


def _requirements() -> tuple[list[str], dict[str, list[str]]]:
    """(what the package needs, what each extra adds), as the installed package declares it."""
    try:
        declared = metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:  # run from a checkout that was not installed
        return list(store.TRACED_LIBRARIES[:-1]), {}
    needed: list[str] = []
    extras: dict[str, list[str]] = {}
    for line in declared:
        name = re.split(r"[\s<>=!~;\[(]", line, maxsplit=1)[0]
        extra = _EXTRA.search(line)
        (extras.setdefault(extra["extra"], []) if extra else needed).append(name)
    return needed, extras


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _gpu() -> dict[str, Any]:
    """The GPU that PyTorch sees, and its row of the catalogue."""
    try:
        with quiet_imports():
            import torch
    except ImportError as error:
        return {"name": None, "catalogue": None, "summary": f"no GPU can be looked for: {error}"}
    if not torch.cuda.is_available():
        build = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built without CUDA"
        return {
            "name": None,
            "catalogue": None,
            "cuda": torch.version.cuda,
            "summary": f"no GPU: torch {torch.__version__}, {build}, sees none; plans and estimates need none",
        }
    properties = torch.cuda.get_device_properties(torch.cuda.current_device())
    row = this_machine()
    known = f"catalogue row {row.name}" if row is not None else "not in the catalogue"
    return {
        "name": properties.name,
        "catalogue": None if row is None else row.name,
        "cuda": torch.version.cuda,
        "memory_gib": properties.total_memory / 2**30,
        "compute_capability": [properties.major, properties.minor],
        "summary": f"GPU: {properties.name}, {format_gib(properties.total_memory)}, CUDA {torch.version.cuda}, {known}",
    }


def _cache() -> dict[str, Any]:
    """The folder of traces: where it is, and what is in it."""
    folder = store.default_folder()
    contents = store.Store(folder).contents()
    return {
        "folder": str(folder),
        "entries": len(contents),
        "bytes": sum(entry.num_bytes for entry in contents),
        "writable": _is_writable(folder),
    }


def _is_writable(folder: Path) -> bool:
    """Whether the folder, or the nearest one above it that exists, may be written."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return os.access(folder, os.W_OK)
