"""What is pinned stays, what is forbidden stays out, and what cannot be is said."""

from __future__ import annotations

import pytest

import workbench as wb
from workbench._errors import InputError, SettingsError, UnknownNameError
from workbench.devices import get as get_device
from workbench.models import Workload
from workbench.models import get as get_model
from workbench.search.pins import Pins
from workbench.search.space import Space

PIN = {"steps": 4, "quantization": {"transformer": "int8wo"}}


@pytest.fixture(scope="module")
def plan() -> wb.Plan:
    return wb.plan(vram_gb=12, model="tiny", pin=PIN, forbid=("vae_tiling", "offload=model"), trials=16)


def test_every_configuration_has_what_is_pinned_and_nothing_forbidden(plan: wb.Plan) -> None:
    tried = [trial.user_attrs["settings"] for trial in plan.study.trials if trial.user_attrs]
    assert plan.best is not None and len(set(tried)) > 3
    for text in tried:
        settings = wb.Settings.parse(text).to_json()
        assert settings["steps"] == {"count": 4} and settings["quantization"] == {"transformer": "int8wo"}
        assert "vae_tiling" not in settings and settings["offload"]["mode"] != "model"


def test_what_is_pinned_is_no_caution(plan: wb.Plan) -> None:
    assert plan.best is not None
    assert plan.best.caution == 0
    assert min(candidate.caution for candidate in plan.front) == 0


def test_pins_are_canonical_in_the_json_and_in_the_profile(plan: wb.Plan) -> None:
    data = plan.to_json()
    assert data["pin"] == {"steps": {"count": 4}, "quantization": {"transformer": "int8wo"}}
    assert data["forbid"] == ["offload=model", "vae_tiling"]
    assert plan.best is not None
    assert plan.best.profile().settings["steps"] == {"count": 4}
    assert Pins.of({"steps": {"count": 4}}).to_json() == Pins.of({"steps": 4}).to_json()
    assert "pinned, which is no caution: int8 transformer · 4 steps" in str(plan)
    assert "forbidden: offload=model, vae_tiling" in str(plan)


def test_a_technique_that_is_not_searched_can_be_pinned() -> None:
    plan = wb.plan(vram_gb=12, model="tiny", pin={"attention": "math"}, trials=0)
    assert plan.best is not None and plan.best.cost.settings["attention"] == {"backend": "math"}


def test_a_dimension_that_a_pin_decides_has_one_choice() -> None:
    spec, card = get_model("wan2.1-t2v-1.3b"), get_device("rtx-4090")
    space = Space.of(
        spec, Workload.for_model(spec.name), card, Pins.of({"steps": 30, "dtype": {"vae": "bf16"}})
    )
    assert len(space.dimensions["steps"]) == len(space.dimensions["vae_dtype"]) == 1
    assert len(space.dimensions["denoiser"]) > 1
    bounded = Space.of(spec, Workload.for_model(spec.name), card, Pins.of(max_caution=2))
    assert set(bounded.dimensions["denoiser"]) == {"none", "int8wo", "fp8_storage"}
    assert bounded.dimensions["window"] == (0,)


def test_no_offload_can_be_forbidden_and_offload_means_all_of_its_modes() -> None:
    spec, card = get_model("wan2.1-t2v-1.3b"), get_device("rtx-4090")
    workload = Workload.for_model(spec.name)
    assert Space.of(spec, workload, card, Pins.of(forbid=["offload"])).dimensions["offload"] == ("none",)
    moved = Space.of(spec, workload, card, Pins.of(forbid=["offload=none"])).dimensions["offload"]
    assert "none" not in moved and len(moved) > 3


@pytest.mark.parametrize(
    ("pin", "forbid", "error", "message"),
    [
        ({"stepz": 3}, (), UnknownNameError, "unknown technique 'stepz': did you mean steps"),
        ({"steps": 0}, (), SettingsError, "count of steps must be a whole number of at least 1, got 0"),
        ({"quantization": "int8wo"}, (), SettingsError, "quantization has no main parameter"),
        ({"vae_tiling": 256}, (), SettingsError, "vae_tiling has no main parameter"),
        ({"steps": 3}, ("steps",), InputError, r"steps is pinned and forbidden \('steps'\)"),
        (["steps"], (), InputError, r"pin must be parameters by technique id, got \['steps'\]"),
        (None, "steps", InputError, "forbid must be a list of technique ids, got 'steps'"),
        (None, ("fp8",), UnknownNameError, "unknown technique 'fp8'"),
        (None, ("quantization=",), InputError, "names no value"),
        ({"quantization": {"unet": "int8wo"}}, (), InputError, "unet"),
        ({"cfg": "sequential"}, (), SettingsError, "cannot pin: cfg does not apply to tiny"),
    ],
)
def test_bad_pins_are_said(pin: object, forbid: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        wb.plan(vram_gb=12, model="tiny", pin=pin, forbid=forbid)  # type: ignore[arg-type]


def test_max_caution_bounds_the_plan() -> None:
    plan = wb.plan(vram_gb=12, model="tiny", max_caution=1, trials=8)
    assert plan.front and all(candidate.caution <= 1 for candidate in plan.front)
    with pytest.raises(InputError, match="max_caution must be a whole number of at least 0, got -1"):
        wb.plan(vram_gb=12, model="tiny", max_caution=-1)
