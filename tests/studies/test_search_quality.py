"""The study of how well the space is searched: its scores, and that every recipe can be priced."""

from __future__ import annotations

import importlib
import math
import sys
from pathlib import Path

import pytest

from workbench.models import get, names
from workbench.techniques import Settings

HERE = Path(__file__).parents[2] / "studies" / "search_quality"


@pytest.fixture(scope="module")
def study():
    """Imports a file of the study; its neighbours import each other by name."""
    own = [path.stem for path in HERE.glob("*.py")]
    others = {name: sys.modules.pop(name) for name in own if name in sys.modules}
    sys.path.insert(0, str(HERE))
    yield importlib.import_module
    sys.path.remove(str(HERE))
    for name in own:
        sys.modules.pop(name, None)
    sys.modules.update(others)


def test_a_front_has_the_share_of_the_exact_area_that_it_dominates(study):
    scoring = study("scoring")
    exact = [(10.0, 0), (5.0, 2)]
    assert scoring.ratio(exact, exact) == 1.0
    # reference 20 s and caution 3: ln(20/10) twice and ln(20/5) once
    assert scoring.hypervolume(exact, (20.0, 3)) == pytest.approx(2 * math.log(2) + math.log(4))
    assert scoring.ratio([(10.0, 0)], exact) == pytest.approx(3 / 4)
    assert scoring.ratio([], exact) == 0.0 and scoring.ratio([], []) == 1.0
    assert scoring.worst_gap(exact, exact) == 0.0
    assert scoring.worst_gap([(10.0, 0), (6.0, 2)], exact) == pytest.approx(0.2)
    assert scoring.worst_gap([(5.0, 2)], exact) == math.inf


def test_recipes_are_of_settings_that_exist_for_every_model(study):
    for name in names():
        found = study("recipes").recipes(get(name))
        assert {recipe.group for recipe in found} == {"diffusers", "mmgp", "levels"}
        for recipe in found:
            Settings.parse(recipe.settings)


def test_speed_ups_are_against_the_recipe_that_comes_closest(study):
    rows = [
        {
            "recipes": [
                {"group": "mmgp", "fits": True, "seconds": 30.0, "plan_s": 10.0},
                {"group": "mmgp", "fits": True, "seconds": 20.0, "plan_s": 10.0},
                {"group": "mmgp", "fits": False, "seconds": 1.0, "plan_s": None},
                {"group": "mmgp", "refused": "no tiles"},
            ]
        },
        {"recipes": []},
    ]
    writing = study("writing")
    assert writing.speed_ups(rows, "mmgp") == [2.0]
    assert writing.speed_ups(rows, "levels") == []


def test_tables_are_those_of_the_rows_that_are_there(study, tmp_path, monkeypatch):
    run = study("run")
    monkeypatch.setattr(run, "HERE", tmp_path)
    run.write_all()
    for name in ("search_quality.csv", "search_quality.md"):
        assert (tmp_path / name).read_text() == (HERE / name).read_text()
