"""Keeps what was traced on disk, so that the next plan does not trace again.

One small JSON file per entry, named by a hash of everything the entry depends on: configurations, techniques, target, and the versions
of the libraries whose code was traced. Files are written to a temporary name and moved, so that several processes may plan at once.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from workbench._files import replacing
from workbench._version import __version__

FORMAT = 3
"""Raised when the tracer or the entries change, so that older entries are not read."""

TRACED_LIBRARIES = ("torch", "diffusers", "transformers", "torchao", "bitsandbytes")


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


class Store:
    """A folder of entries. A damaged or unreadable entry counts as absent; a folder that cannot be written keeps nothing."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder if folder is not None else default_folder()
        self._read: dict[str, dict[str, Any]] = {}

    def get(self, kind: str, key: Mapping[str, Any]) -> dict[str, Any] | None:
        """The entry for a key, or None."""
        name = self._name(kind, key)
        if name not in self._read:
            try:
                self._read[name] = json.loads((self.folder / name).read_text())
            except (OSError, ValueError):
                return None
        return self._read[name]

    def put(self, kind: str, key: Mapping[str, Any], value: dict[str, Any]) -> None:
        """Keeps an entry."""
        name = self._name(kind, key)
        self._read[name] = value
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with replacing(self.folder / name) as temporary:
                temporary.write_text(json.dumps(value, separators=(",", ":")))
        except OSError:
            return  # a read-only home must not stop a plan

    @staticmethod
    def _name(kind: str, key: Mapping[str, Any]) -> str:
        text = json.dumps({"format": FORMAT, "versions": versions(), **key}, sort_keys=True, default=str)
        return f"{kind}-{hashlib.sha256(text.encode()).hexdigest()[:32]}.json"
