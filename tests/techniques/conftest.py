"""One miniature per worker for all contract tests."""

from __future__ import annotations

import pytest

from workbench.testing.contract import Miniature


@pytest.fixture(scope="session")
def miniature() -> Miniature:
    return Miniature()
