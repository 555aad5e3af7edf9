"""Keeps what was traced on disk, so that the next plan does not trace again.

One small JSON file per entry, named by a hash of everything the entry depends on: configurations, techniques, target, and the versions
of the libraries whose code was traced. Files are written to a temporary name and moved, so that several processes may plan at once.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from workbench._files import replacing
from workbench._version import __version__

FORMAT = 17
"""Raised when the tracer or the entries change, so that older entries are not read."""

TRACED_LIBRARIES = ("torch", "diffusers", "transformers", "torchao", "bitsandbytes", "gguf")


@functools.cache
def versions() -> dict[str, str]:
    """Installed versions of everything that a prediction is of, read without importing any of it."""
    found = {"workbench": __version__}
    for name in TRACED_LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def default_folder() -> Path:
    """`$WORKBENCH_CACHE_DIR`, or `diffusion-workbench` in `$XDG_CACHE_HOME` (`~/.cache`)."""
    chosen = os.environ.get("WORKBENCH_CACHE_DIR")
    if chosen:
        return Path(chosen) / "traces"
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "diffusion-workbench" / "traces"


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of the folder."""

    kind: str
    """`log`, `call`, `weights`, `loaded`, `twin` or `model`."""
    num_bytes: int
    is_stale: bool
    """Made by other library versions or in an older form, or damaged: it is never read again."""
    path: Path


class Store:
    """A folder of entries. A damaged or unreadable entry counts as absent; a folder that cannot be written keeps nothing."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder if folder is not None else default_folder()
        self._read: dict[str, dict[str, Any]] = {}

    def get(self, kind: str, key: Mapping[str, Any]) -> dict[str, Any] | None:
        """The entry for a key, or None."""
        name = self._name(kind, key)
        if name not in self._read:
            entry = _entry(self.folder / name)
            if entry is None:
                return None
            self._read[name] = entry["value"]
        return self._read[name]

    def put(self, kind: str, key: Mapping[str, Any], value: dict[str, Any]) -> None:
        """Keeps an entry."""
        name = self._name(kind, key)
        self._read[name] = value
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with replacing(self.folder / name) as temporary:
                entry = {"format": FORMAT, "versions": versions(), "value": value}
                temporary.write_text(json.dumps(entry, separators=(",", ":")))
        except OSError:
            return  # a read-only home must not stop a plan

    def contents(self) -> list[Entry]:
        """Every entry in the folder, damaged ones included."""
        entries = []
        for path in sorted(self.folder.glob("[!.]*.json")):
            with contextlib.suppress(OSError):  # another process may delete it meanwhile
                found = _entry(path)
                current = found is not None and found["format"] == FORMAT and found["versions"] == versions()
                entries.append(Entry(path.name.partition("-")[0], path.stat().st_size, not current, path))
        return entries

    def clear(self, *, only_stale: bool = False) -> tuple[int, int]:
        """Deletes entries, and what writers that were killed have left.

        Args:
            only_stale: leave what the installed versions still read.

        Returns:
            (entries, bytes) deleted.
        """
        wanted = [entry for entry in self.contents() if entry.is_stale or not only_stale]
        deleted = [entry for entry in wanted if _deleted(entry.path)]
        for leftover in self.folder.glob(".*.part.json"):
            _deleted(leftover)
        self._read.clear()
        return len(deleted), sum(entry.num_bytes for entry in deleted)

    @staticmethod
    def _name(kind: str, key: Mapping[str, Any]) -> str:
        text = json.dumps({"format": FORMAT, "versions": versions(), **key}, sort_keys=True, default=str)
        return f"{kind}-{hashlib.sha256(text.encode()).hexdigest()[:32]}.json"


def _entry(path: Path) -> dict[str, Any] | None:
    """The content of an entry's file, None if it is absent or damaged."""
    try:
        entry = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return entry if isinstance(entry, dict) and {"format", "versions", "value"} <= entry.keys() else None


def _deleted(path: Path) -> bool:
    try:
        path.unlink()
    except OSError:
        return False
    return True
