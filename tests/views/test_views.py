"""What the figures show, asserted on their info; one test draws them all."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

from workbench import views
from workbench._errors import InputError
from workbench.devices import get
from workbench.testing.fakes import (
    STAGES_GIB,
    exact,
    fake_candidate,
    fake_cost,
    fake_plan,
    published,
    unknown,
)
from workbench.views import _compare, _front, _memory, _time
from workbench.views._style import time_unit

GIB = 2**30
MODEL_OFFLOAD = {"offload": {"mode": "model"}}
SMALL = {"text_encode": (5.3, 0.1, 0.2), "denoise": (2.7, 1.5, 0.25), "decode": (0.5, 4.4, 0.6)}

pytestmark = pytest.mark.usefixtures("fixed_residuals")


@pytest.fixture
def plan():
    """Two configurations that fit, the slower one the best, and one that does not fit."""
    fast = fake_cost({"steps": {"count": 30}}, seconds=220, effects=[unknown("steps")], stages_gib=SMALL)
    best = fake_cost(MODEL_OFFLOAD, seconds=365, effects=[exact("offload")], stages_gib=SMALL)
    miss = fake_candidate(fake_cost(seconds=300), 1)
    return fake_plan([fake_candidate(fast, 8), fake_candidate(best, 0)], best=1, misses=[miss])


@pytest.fixture
def nothing_fits():
    card = get("rtx-3060-12gb").capped(memory_bytes=2 * GIB)
    return fake_plan([], misses=[fake_candidate(fake_cost(MODEL_OFFLOAD, device=card, stages_gib=SMALL))])


# --- front ----------------------------------------------------------------------------------------------------------------


def test_the_front_and_what_else_was_tried(plan):
    info = _front._info(plan)
    assert [(point.seconds, point.caution, point.effect) for point in info.points] == [
        (220, 8, "unknown"),
        (365, 0, "exact"),
    ]
    assert info.best == 1
    assert info.cap_gib == 12
    assert [(round(seconds), caution) for seconds, _, caution in info.others] == [(300, 1)]
    assert info.unit.name == "min"
    assert info.points[1].text.startswith("<b>model offload</b><br>6 min 05 s, 6.93 GiB VRAM")


def test_a_best_beside_the_front_is_shown(plan):
    aside = fake_candidate(fake_cost(MODEL_OFFLOAD, seconds=300, stages_gib=SMALL), 2)
    object.__setattr__(plan, "best", aside)
    info = _front._info(plan)
    assert info.points[info.best].seconds == 300


def test_the_nearest_miss_stands_for_the_front(nothing_fits):
    info = _front._info(nothing_fits)
    assert len(info.points) == 1 and info.best is None
    assert info.points[0].required_gib > info.cap_gib == 2


def test_trials_without_memory_are_left_out(plan):
    import optuna

    plan.study.add_trial(optuna.trial.create_trial(values=[1e9, 100.0]))
    assert len(_front._info(plan).others) == 1


# --- memory ---------------------------------------------------------------------------------------------------------------


def test_memory_by_stage():
    info = _memory._info(fake_cost())
    assert info.stages == ("text encode", "denoise", "decode")
    assert list(info.parts_gib) == ["weights", "activations", "unallocated", "context", "desktop", "margin"]
    assert info.parts_gib["weights"] == pytest.approx([weights for weights, _, _ in STAGES_GIB.values()])
    assert info.parts_gib["unallocated"] == pytest.approx([rest for _, _, rest in STAGES_GIB.values()])
    sums = [sum(values) for values in zip(*info.parts_gib.values(), strict=True)]
    assert info.totals_gib == pytest.approx(sums)
    assert max(info.totals_gib) == pytest.approx(fake_cost().required_vram_bytes / GIB)
    assert info.cap_gib == 12


# --- time -----------------------------------------------------------------------------------------------------------------


def test_time_by_stage_and_by_what_bounds_it():
    info = _time._info(fake_cost(seconds=365))
    assert info.stages == ("text encode", "denoise", "decode")
    assert sum(info.seconds) == pytest.approx(365) == pytest.approx(info.total_s)
    assert "conv" not in info.by_kind_s, "a kind that takes no time is left out"
    sums = [sum(values) for values in zip(*info.by_kind_s.values(), strict=True)]
    assert sums == pytest.approx(info.seconds)
    assert all(low < s < high for low, s, high in zip(info.low_s, info.seconds, info.high_s, strict=True))


@pytest.mark.parametrize(
    ("seconds", "name"), [(0.1, "s"), (119, "s"), (120, "min"), (7199, "min"), (7200, "h")]
)
def test_the_unit_of_a_time_axis(seconds, name):
    assert time_unit(seconds).name == name


# --- comparison -----------------------------------------------------------------------------------------------------------


def test_a_comparison_keeps_the_order_given():
    costs = {
        "defaults": fake_cost(),
        "int8": fake_cost(MODEL_OFFLOAD, effects=[published("quantization", 0.8)], device="rtx-4090"),
    }
    info = _compare._info(costs)
    assert info.names == ("defaults", "int8")
    assert info.cap_gib == (12, 24)
    assert info.settings == ("library defaults", "model offload")
    assert info.quality[1] == "known loss 0.8 %"
    sums = [sum(values) for values in zip(*info.parts_gib.values(), strict=True)]
    assert info.required_gib == pytest.approx(sums)


def test_nothing_to_compare():
    with pytest.raises(InputError, match=r"^plot_compare needs at least one cost, got none$"):
        views.plot_compare({})


# --- drawing --------------------------------------------------------------------------------------------------------------


def test_every_figure_names_its_units(plan, nothing_fits):
    cost = fake_cost()
    figures = {
        "front": views.plot_front(plan),
        "nearest miss": views.plot_front(nothing_fits),
        "memory": views.plot_memory(cost),
        "time": views.plot_time(cost),
        "compare": views.plot_compare({"a": cost, "b": cost}),
    }
    titles = {name: axis_titles(figure) for name, figure in figures.items()}
    assert titles == {
        "front": ["expected time (min)", "caution (0: same output)", "required VRAM (GiB)"],
        "nearest miss": ["expected time (min)", "caution (0: same output)", "required VRAM (GiB)"],
        "memory": ["required VRAM (GiB)"],
        "time": ["time (min), from low to high", "share of the stage's time (%)"],
        "compare": ["required VRAM (GiB)", "time (min)", "host RAM (GiB)"],
    }
    assert all(figure.layout.title.text for figure in figures.values())


def axis_titles(figure) -> list[str]:
    axes = sorted(name for name in figure.layout.to_plotly_json() if name.startswith(("xaxis", "yaxis")))
    return [title for name in axes if (title := figure.layout[name].title.text)]


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no Chromium is installed")
def test_a_figure_becomes_a_picture(tmp_path):
    # a process of its own: the renderer keeps a browser and a thread, which would outlive this test
    code = (
        "from workbench.testing.fakes import fake_cost; from workbench.views import plot_memory; import sys; "
        "plot_memory(fake_cost()).write_image(sys.argv[1], width=900)"
    )
    picture = tmp_path / "memory.png"
    done = subprocess.run(
        [sys.executable, "-c", code, str(picture)], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_importing_the_views_does_not_import_plotly():
    code = "import sys, workbench.views; assert 'plotly' not in sys.modules; workbench.views.plot_time"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_cost_is_shown_in_a_notebook_and_in_a_terminal():
    from workbench.search import _render_html, _render_text

    shown = views.show(fake_cost())
    assert str(shown) == repr(shown) == _render_text.render_cost(fake_cost())
    assert shown._repr_html_() == _render_html.render_cost(fake_cost())


def test_what_cannot_be_shown_is_said():
    with pytest.raises(InputError, match=r"^show needs a Cost or a Measurement, got int$"):
        views.show(3)


def test_an_unknown_figure_is_an_attribute_error():
    with pytest.raises(AttributeError, match=r"^module 'workbench.views' has no attribute 'plot_nothing'$"):
        _ = views.plot_nothing
    assert set(views.__all__) <= set(dir(views))
