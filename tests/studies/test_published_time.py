"""The study of published times: rows are read as they are meant, none is lost, and a ratio compares what differs in one thing."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

FOLDER = Path(__file__).parents[2] / "studies" / "published_time"
MODULES = [path.stem for path in FOLDER.glob("*.py")]


@pytest.fixture(scope="module")
def study() -> Iterator[Any]:
    """The study's modules, which import each other by their plain names as a script's do; forgotten afterwards."""
    sys.path.insert(0, str(FOLDER))
    try:
        yield SimpleNamespace(**{name: importlib.import_module(name) for name in MODULES})
    finally:
        sys.path.remove(str(FOLDER))
        for name in MODULES:
            sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def rows(study: Any) -> dict[str, dict[str, str]]:
    return {row["id"]: row for row in study.copied.read()}


def test_every_row_is_expressed_or_has_a_reason(study: Any, rows: Any) -> None:
    expressed = 0
    for row in rows.values():
        try:
            assert study.configurations.express(row).seconds > 0
            expressed += 1
        except study.configurations.Unexpressed as reason:
            assert str(reason)
    assert 100 < expressed < len(rows)


@pytest.mark.parametrize(
    "name, device, seconds, only",
    [
        ("TA001", "a100-80gb", 258.962, None),
        ("DD020", "a100-80gb", 1800.0, None),
        ("HY042", "l40", 50 * 2.1, ("denoise", "denoise_2")),
        ("DD038", "a100-80gb", 245.939, ("denoise", "denoise_2")),
        ("US011", "a100-80gb", 3000.0, None),
    ],
)
def test_a_row_says_what_its_words_say(
    study: Any, rows: Any, name: str, device: str, seconds: float, only: Any
) -> None:
    if name == "DD020":  # its card is not stated
        rows = {name: {**rows[name], "hardware": "1×A100 80GB"}}
    said = study.configurations.express(rows[name])
    assert (said.device, said.only) == (device, only)
    assert said.seconds == pytest.approx(seconds)


@pytest.mark.parametrize("name", ["W1004", "HY031", "HY086", "CO050", "DD032"])
def test_a_row_that_is_not_one_known_card_is_left_out(study: Any, rows: Any, name: str) -> None:
    with pytest.raises(study.configurations.Unexpressed):
        study.configurations.express(rows[name])


def test_ratios_are_of_rows_that_differ_in_one_thing(study: Any, rows: Any) -> None:
    both = [
        {**rows[name], "published_s": float(rows[name]["time_s"]), "predicted_s": 100.0}
        for name in ("TA001", "TA003", "TA069")
    ]
    (pair,) = study.scoring.ratios(both)
    assert (pair["first"], pair["second"], pair["about"]) == ("TA001", "TA003", "compiled or not")
    assert pair["error"] == pytest.approx(258.962 / 226.0 - 1, rel=0.01)
