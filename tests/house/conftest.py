"""Fixtures of the house tests, which read the project's own source."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def sources(root: Path) -> dict[str, ast.Module]:
    """Every Python file of the package, parsed, by its path from workbench/: `{"cost/time.py": ...}`."""
    package = root / "workbench"
    return {
        path.relative_to(package).as_posix(): ast.parse(path.read_text(encoding="utf-8"), str(path))
        for path in sorted(package.rglob("*.py"))
    }
