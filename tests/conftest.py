"""What every test runs under: one thread per worker, no network, a cache of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

# Two workers share two cores: more threads only wait for each other. Read when torch is first imported.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["MKL_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
# A test that reaches for the hub fails at once and says so, instead of waiting for a time-out.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
# Text that tests compare must not depend on the terminal they run in.
os.environ["NO_COLOR"] = "1"
os.environ["COLUMNS"] = "120"


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Caches go to a folder of this test run: no test reads what an earlier run, or the user, left behind."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))
        patch.setenv("WORKBENCH_CONFIG_DIR", str(tmp_path_factory.getbasetemp() / "config"))
        yield


@pytest.fixture(scope="session", autouse=True)
def _no_shipped_quality() -> Iterator[None]:
    """What tests expect must not change with what was measured last: no quality records but those that a test makes."""
    from workbench.quality import use

    with use(None):
        yield


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout, for tests that read the project's own files."""
    return Path(__file__).resolve().parent.parent


@pytest.fixture
def fixed_residuals(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Margins from sixty denoisers, up to 1.2 % above their predictions: what tests compare must not change with new measurements."""
    from workbench.cost import margin

    common = {
        "study": "traced",
        "source": "a table",
        "versions": "torch 2.13.0",
        "model": "a network",
        "unit": "GiB",
    }
    rows = [
        margin.Residual(
            **common,
            id=str(k),
            kind="denoiser",
            metric="reserved",
            case=str(k),
            not_counted="",
            measured=10 + k * 0.002,
            predicted=10.0,
        )
        for k in range(1, 61)
    ]
    fixed = margin.Residuals(rows)
    monkeypatch.setattr(margin, "known", lambda: fixed)
    margin.stage_margin.cache_clear()
    yield
    margin.stage_margin.cache_clear()
