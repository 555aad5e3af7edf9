"""The study of published offloading: its rows are priced, and keep the order of the published front."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parents[2] / "studies" / "offload_front" / "run.py"


@pytest.fixture(scope="module")
def study():
    spec = importlib.util.spec_from_file_location("offload_front_run", HERE)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_the_front_keeps_its_order_and_its_pinned_end(study):
    rows = {row.what: row for row in study.front_rows()}
    front = [row for what, row in rows.items() if "GiB" in what]
    assert [row.predicted_s for row in front] == sorted((row.predicted_s for row in front), reverse=True)
    assert all(23.4 < row.low_s <= row.predicted_s for row in rows.values())
    for what in (
        "layer by layer, ~1 GiB",
        "+ async, ~4 GiB",
        "+ persistent, ~8 GiB",
        "+ persistent, ~14 GiB",
        "+ persistent, ~16 GiB",
    ):
        assert rows[what].predicted_s == pytest.approx(rows[what].published_s, rel=0.2)


def test_the_table_shows_published_beside_predicted(study):
    row = study.Row(source="a", what="b", published_s=2.0, predicted_s=3.0, low_s=1.0)
    assert study.table([row]).splitlines()[-1] == "| b | the same | 2 | 3.00 | 1.00 | +50% |"


def test_layers_in_the_order_in_which_they_run_are_near_those_as_registered(study):
    (row,) = [row for row in study.leaf_rows() if row.what.startswith("LTX")]
    assert study._in_order("LTX-Video 0.9.7") == pytest.approx(row.predicted_s, rel=0.1)
