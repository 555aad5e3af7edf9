"""The version of the package, in one place: the build reads it, profiles and records carry it."""

from __future__ import annotations

__version__ = "0.1.0"
