"""Whole plans of the default model. Traces are kept in the test run's own cache folder, so only the first is slow."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import optuna
import pytest

import workbench as wb
from workbench._errors import CapError, InputError, UnknownNameError, WorkloadError
from workbench.search.caution import TOLERATED, caution
from workbench.search.pareto import EQUALLY_FAST

CAPS_GIB = (6, 8, 12, 16, 24, 48, 80)


@pytest.fixture(scope="module")
def plan() -> wb.Plan:
    return wb.plan(vram_gb=12)


def test_best_fits_by_its_own_account(plan: wb.Plan) -> None:
    assert plan.best is not None and plan.nearest_miss is None
    assert plan.best.cost.required_vram_bytes <= 12 * 2**30
    memory = plan.best.cost.to_json()["memory"]
    assert memory["peak_allocated_gib"] <= memory["peak_reserved_gib"] < memory["required_vram_gib"] <= 12
    assert memory["fits"] is True
    assert plan.best.caution <= TOLERATED


def test_front_is_not_dominated(plan: wb.Plan) -> None:
    seconds = [candidate.cost.total_s for candidate in plan.front]
    cautions = [candidate.caution for candidate in plan.front]
    assert len(plan.front) > 3
    assert seconds == sorted(seconds)
    assert cautions == sorted(cautions, reverse=True) and len(set(cautions)) == len(cautions)
    assert all(candidate.cost.fits for candidate in plan.front)


def test_every_trial_has_its_constraint_and_no_configuration_is_priced_twice(plan: wb.Plan) -> None:
    trials = plan.study.get_trials()
    assert all(trial.state is optuna.trial.TrialState.COMPLETE for trial in trials)
    assert all("constraints:memory_gib" in trial.system_attrs for trial in trials)
    feasible = [t for t in trials if t.system_attrs["constraints:memory_gib"] <= 0]
    assert all(t.user_attrs["required_vram_gib"] <= 12 for t in feasible)
    assert plan.trials > len({t.user_attrs.get("settings") for t in trials})


def test_equal_arguments_give_equal_plans(plan: wb.Plan) -> None:
    again = wb.plan(vram_gb=12)
    first, second = plan.to_json(), again.to_json()
    del first["seconds"], second["seconds"]
    assert first == second
    assert [t.params for t in plan.study.trials] == [t.params for t in again.study.trials]


@pytest.mark.parametrize("model", ["wan2.1-t2v-1.3b", "wan2.1-t2v-14b"])
def test_larger_caps_never_give_slower_plans(model: str) -> None:
    size = {"height": 480, "width": 832, "frames": 81}
    seconds = []
    for cap in CAPS_GIB:
        best = wb.plan(vram_gb=cap, device="h100-80gb", model=model, trials=8, **size).best
        assert best is not None and best.cost.required_vram_bytes <= cap * 2**30
        seconds.append(best.cost.total_s)
    # equally fast ones are told apart by caution and host RAM
    slower = 1 + EQUALLY_FAST
    assert all(later <= earlier * slower for earlier, later in itertools.combinations(seconds, 2)), seconds


def test_nothing_fits_2_gib_and_the_nearest_miss_says_by_how_much() -> None:
    plan = wb.plan(vram_gb=2)
    assert plan.best is None and plan.front == ()
    assert plan.nearest_miss is not None
    assert plan.nearest_miss.cost.missing_bytes > 0
    assert plan.to_json()["best"] is None
    assert "nearest miss" in str(plan).lower()
    assert repr(plan) == str(plan)  # what a terminal or a notebook without HTML shows


def test_host_ram_is_a_second_cap(plan: wb.Plan) -> None:
    assert plan.best is not None
    tight = wb.plan(vram_gb=12, ram_gb=16)
    assert tight.best is not None
    assert tight.best.cost.host_ram_bytes <= 16 * 2**30 < plan.best.cost.host_ram_bytes + 16 * 2**30
    assert tight.best.cost.total_s >= plan.best.cost.total_s * 0.999


def test_objectives_and_bounds(plan: wb.Plan) -> None:
    assert plan.best is not None
    fastest = wb.plan(vram_gb=12, objectives=("time",)).best
    closest = wb.plan(vram_gb=12, objectives=("quality",)).best
    assert fastest is not None and closest is not None
    assert fastest.cost.total_s < plan.best.cost.total_s
    assert closest.caution == min(candidate.caution for candidate in plan.front)
    hurried = wb.plan(vram_gb=12, max_seconds=plan.best.cost.total_s * 0.8)
    assert hurried.best is not None and hurried.best.cost.total_s <= plan.best.cost.total_s * 0.8
    assert wb.plan(vram_gb=12, max_seconds=1.0).best is None


def test_study_in_a_journal_file_resumes(tmp_path: Path) -> None:
    storage = str(tmp_path / "study.log")
    first = wb.plan(vram_gb=12, trials=2, storage=storage)
    before = [(trial.params, trial.values) for trial in first.study.trials]
    again = wb.plan(vram_gb=12, trials=2, storage=storage)
    assert [(trial.params, trial.values) for trial in again.study.trials] == before  # all of it was done
    more = wb.plan(vram_gb=12, trials=5, storage=storage)
    assert [(trial.params, trial.values) for trial in more.study.trials[: len(before)]] == before
    assert len(more.study.trials) == len(before) + 3


def test_a_stored_study_is_of_one_question(tmp_path: Path) -> None:
    storage = str(tmp_path / "study.log")
    short = wb.plan(vram_gb=12, model="tiny", trials=0, storage=storage)
    long = wb.plan(vram_gb=12, model="tiny", frames=33, trials=0, storage=storage)
    assert short.study.study_name != long.study.study_name
    assert short.best is not None and long.best is not None
    assert short.best.cost.total_s < long.best.cost.total_s


def test_a_plan_has_what_another_worker_found(tmp_path: Path) -> None:
    storage = str(tmp_path / "study.log")
    seen = wb.plan(vram_gb=12, trials=24, seed=3, storage=storage)
    found = wb.plan(vram_gb=12, trials=24, seed=4, storage=storage)  # nothing is left to it
    assert len(found.study.trials) == len(seen.study.trials)
    assert found.trials == seen.trials
    assert [c.settings for c in found.front] == [c.settings for c in seen.front]


def test_dataset_of_the_front(plan: wb.Plan) -> None:
    dataset = plan.to_dataset()
    assert dataset.sizes["candidate"] == len(plan.front)
    assert dataset["total_s"].values.tolist() == [candidate.cost.total_s for candidate in plan.front]
    assert json.loads(dataset.attrs["workload"])["model"] == "wan2.1-t2v-1.3b"


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        ({"vram_gb": 0}, CapError, "vram_gb must be a positive number of GiB, got 0"),
        ({"vram_gb": -4}, CapError, "vram_gb must be a positive number of GiB, got -4"),
        ({"vram_gb": "twelve"}, CapError, "vram_gb must be a positive number of GiB, got 'twelve'"),
        ({"ram_gb": -1}, CapError, "ram_gb must be a positive number of GiB, got -1"),
        ({"steps": 0}, WorkloadError, "steps must be a whole number of at least 1, got 0"),
        ({"trials": -1}, InputError, "trials must be a whole number of at least 0, got -1"),
        ({"objectives": ("speed",)}, InputError, "objectives must be some of time, quality, got ('speed',)"),
        ({"max_seconds": 0}, InputError, "max_seconds must be a positive number of seconds, got 0"),
        ({"min_quality": 120}, InputError, "min_quality must be a number of per cent from 0 to 100, got 120"),
    ],
)
def test_bad_input_says_what_is_allowed(
    kwargs: dict[str, object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error) as caught:
        wb.plan(**kwargs)  # type: ignore[arg-type]
    assert str(caught.value) == message


def test_unknown_model_offers_the_nearest() -> None:
    with pytest.raises(
        UnknownNameError, match=r"^unknown model 'wan2\.1-1\.3b': did you mean wan2\.1-t2v-1\.3b"
    ):
        wb.plan(vram_gb=12, model="wan2.1-1.3b")


def test_caution_counts_kinds_of_change() -> None:
    assert caution({}, 50) == 0
    assert caution({"offload": {"mode": "model"}}, 50) == 0
    assert caution({"quantization": {"transformer": "int8wo", "transformer_2": "int8wo"}}, 50) == 1
    assert caution({"quantization": {"transformer": "int8wo", "text_encoder": "int8wo"}}, 50) == 2
    every_layer = {"kind": "int8wo", "layers": "all"}
    assert caution({"quantization": {"transformer": every_layer, "transformer_2": every_layer}}, 50) == 2
    assert caution({"steps": {"count": 25}}, 50) == TOLERATED + 5
    assert caution({"steps": {"count": 50}}, 50) == 0


def test_a_plan_says_what_it_would_be_with_less_host_ram() -> None:
    asked = {"model": "wan2.1-t2v-14b", "frames": 33, "height": 480, "width": 832, "trials": 0}
    plan = wb.plan(16, **asked)
    assert plan.best is not None and plan.less_ram
    for size, candidate in plan.less_ram:
        assert size * 2**30 < plan.best.cost.host_ram_bytes
        there = wb.plan(16, ram_gb=size, **asked).best
        assert (candidate is None) == (there is None)
        if candidate is not None and there is not None:
            assert candidate.cost.host_ram_bytes <= size * 2**30
            assert candidate.cost.total_s == pytest.approx(there.cost.total_s, rel=EQUALLY_FAST)
    assert "Less host RAM" in repr(plan)
    assert wb.plan(16, ram_gb=64, **asked).less_ram == ()
