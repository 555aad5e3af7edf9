"""`fit` with the tiny model: what it answers is what plans of the sizes around it say."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

import workbench as wb
from workbench._errors import InputError, RehearsalError, WorkloadError
from workbench._estimate import Predictor
from workbench.cost import CallLog
from workbench.devices import get
from workbench.models.tiny import TINY
from workbench.questions._fastest import fastest
from workbench.questions._fit_report import why
from workbench.techniques import Settings
from workbench.views import plot_fit

GIB = 2**30
SHORT = replace(TINY, name="tiny-short", max_frames=49)


LONG = replace(TINY, name="tiny-long", max_frames=1201)
ON_CARD = {"model": LONG, "device": "rtx-3060-12gb", "max_caution": 0}


@pytest.fixture(scope="module")
def cap() -> float:
    """GiB in which 1025 frames just fit, with nothing that changes the output."""
    on_all_of_it = wb.fit(frames=1025, trials=0, **ON_CARD)
    rung = next(rung for rung in on_all_of_it.ladder if rung.workload.frames == 1025)
    card = get("rtx-3060-12gb")  # a cap takes first what the driver keeps anyway, and the desktop
    return rung.excess * 12 - (card.unavailable_bytes + card.desktop_bytes) / GIB + 1e-6


@pytest.fixture(scope="module")
def found(cap) -> wb.questions.Fit:
    return wb.fit(cap, trials=4, **ON_CARD)


def test_the_next_length_has_no_plan_and_this_one_has(found, cap) -> None:
    assert found.binds == "memory" and found.workload.frames >= 1025
    assert found.plan.best.cost.required_vram_bytes <= cap * GIB and found.plan.best.caution == 0
    frames = found.next_up.workload.frames
    assert frames == found.workload.frames + 4
    assert wb.plan(cap, frames=frames, trials=0, **ON_CARD).best is None
    assert wb.plan(cap, frames=found.workload.frames, trials=0, **ON_CARD).best is not None


def test_it_says_why(found) -> None:
    text = str(found)
    assert f"✔ {found.workload.frames} frames" in text
    assert "memory binds: at" in why(found)[0] and "too much VRAM" in why(found)[0]
    assert "its authors show 17 frames: what the model makes beyond that is not predicted" in " ".join(
        text.split()
    )
    assert "Best configuration" in text and "Sizes looked at" in found._repr_html_()


def test_its_json(found) -> None:
    data = json.loads(json.dumps(found.to_json()))
    assert data["binds"] == "memory" and data["maximize"] == "frames" and data["max_caution"] == 0
    assert data["workload"] == found.plan.to_json()["workload"]
    lengths = [rung["frames"] for rung in data["ladder"]]
    assert lengths == sorted(set(lengths))
    assert [rung["fits"] for rung in data["ladder"]] == [
        length <= found.workload.frames for length in lengths
    ]


def test_the_models_own_limit() -> None:
    found = wb.fit(12, model=SHORT, trials=0)
    assert found.binds == "model" and found.workload.frames == 49 and found.next_up is None
    assert why(found) == ("the model itself makes no larger one",)


def test_the_time_limit() -> None:
    own = wb.plan(12, model=SHORT, frames=33, trials=0).best
    found = wb.fit(12, model=SHORT, max_seconds=own.cost.total_s * 1.001, trials=0)
    assert found.binds == "time" and found.workload.frames == 33
    assert found.plan.best.cost.total_s <= own.cost.total_s * 1.001
    assert "the time limit binds" in why(found)[0]


def test_the_largest_size_keeps_its_shape() -> None:
    spec = replace(TINY, name="tiny-small", max_size=16 * 9)
    found = wb.fit(12, model=spec, maximize="resolution", height=32, width=48, trials=0)
    assert (found.workload.height, found.workload.width) == (96, 144)
    assert found.binds == "model"
    assert found.workload.frames == TINY.defaults.frames


def test_nothing_fits() -> None:
    found = wb.fit(0.2, model=SHORT, trials=0)
    assert found.plan is None and found.workload is None and found.binds == "memory"
    assert "nothing fits: not even 5 frames" in str(found)
    assert found.to_json()["plan"] is None
    assert plot_fit(found).layout.title.text.endswith("nothing fits</b>")


def test_the_figure(found) -> None:
    figure = plot_fit(found)
    shown = {trace.name: list(trace.x) for trace in figure.data if trace.name}
    assert shown["best plan"] == [found.workload.frames]
    assert found.next_up.workload.frames in shown["does not, everything tried"]
    assert found.workload.frames in shown["fits"]


@pytest.mark.parametrize("device", ["rtx-3060-12gb", "rtx-2080-ti", "h100-80gb"])
def test_fastest_first_finds_what_a_plan_finds(device) -> None:
    from workbench._estimate import Predictor
    from workbench._plan import Limits
    from workbench.models import Workload
    from workbench.search.pins import Pins

    card = get(device)
    predictor = Predictor(Workload.for_model("tiny", frames=33, height=256, width=256))
    for cap in (card.memory_bytes, GIB, round(0.8 * GIB), round(0.5 * GIB)):
        plan = wb.plan(cap / GIB, model="tiny", frames=33, height=256, width=256, device=device, trials=0)
        found = fastest(predictor, card.capped(memory_bytes=cap), Limits(), Pins.of(max_caution=3))
        if plan.best is None or plan.best.caution > 3:
            assert found.best is None and found.binds == "memory"
        else:
            assert found.best is not None
            assert found.best.cost.total_s == pytest.approx(plan.best.cost.total_s, rel=0.02)
            assert found.best.caution <= plan.best.caution


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        ({"maximize": "length"}, InputError, "maximize must be one of frames, resolution, got 'length'"),
        ({"max_seconds": -1}, InputError, "max_seconds must be a positive number of seconds, got -1"),
        ({"trials": 1.5}, InputError, "trials must be a whole number of at least 0, got 1.5"),
        ({"frames": 6}, WorkloadError, "frames, got 6"),
        ({"pin": {"nope": 1}}, InputError, "unknown technique 'nope'"),
    ],
)
def test_bad_input_is_said(kwargs, error, message) -> None:
    with pytest.raises(error, match=message):
        wb.fit(12, model="tiny", **kwargs)


def test_a_pipeline_that_fails_at_larger_sizes_ends_the_climb(monkeypatch: pytest.MonkeyPatch) -> None:
    known, most = Predictor.log, 29

    def log(self: Predictor, settings: Settings) -> CallLog:
        if self.workload.frames > most:
            raise RehearsalError("WanPipeline fails: index out of bounds")
        return known(self, settings)

    monkeypatch.setattr(Predictor, "log", log)
    found = wb.fit(24, model="tiny", trials=0)
    assert found.workload is not None and found.workload.frames == most
    assert found.binds == "model" and "index out of bounds" in repr(found)
    most = 0
    with pytest.raises(RehearsalError, match="index out of bounds"):
        wb.fit(24, model="tiny", trials=0)
