"""The GPU validation at toy size on the CPU: predicted, measured, survived, continued and reported."""

from __future__ import annotations

import ast
import csv
import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

CASES = ("tiny-dies", "tiny-hangs", "tiny-vae-tiled", "tiny-int8wo")
STAND_ALONE = ("measure", "pipes", "watch", "weights")
LIBRARIES = {"torch", "diffusers", "transformers", "accelerate"}


@pytest.fixture(scope="module")
def study(root: Path) -> Path:
    """The folder of the study."""
    return root / "studies" / "gpu_validation"


def run(study: Path, *arguments: object, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own; `path` is where Python looks for modules first."""
    script, *rest = map(str, arguments)
    before = [str(path)] if path is not None else []
    return subprocess.run(
        [sys.executable, str(study / script), *rest],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([*before, str(study.parent.parent)])},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture(scope="module")
def load(study: Path) -> Iterator[Callable[[str], ModuleType]]:
    """A function that imports a module of the study; they find each other by their folder, as when the command runs."""
    before = set(sys.modules)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(study))
        yield importlib.import_module
    for name in set(sys.modules) - before:
        if str(study) in str(getattr(sys.modules[name], "__file__", None)):
            del sys.modules[name]  # other studies have modules of the same names


@pytest.fixture(scope="module")
def case_file(load: Callable[[str], ModuleType], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A case file that the workbench has filled in."""
    path = tmp_path_factory.mktemp("cases") / "cases.json"
    chosen = tuple(case for case in load("cases").tiny(faults=True) if case.id in CASES)
    assert not load("predict").write_cases(path, chosen, "cpu")["refused"]
    return path


@pytest.fixture(scope="module")
def measured(study: Path, case_file: Path) -> Path:
    """The folder of the records of one run."""
    out = case_file.parent / "records"
    done = run(study, "run.py", "--tiny", "--cases", case_file, "--out", out)
    assert done.returncode == 1, done.stdout + done.stderr  # two cases have no figures
    return out / "cpu"


def record(folder: Path, name: str) -> dict[str, Any]:
    """One record."""
    found: dict[str, Any] = json.loads((folder / f"{name}.json").read_text())
    return found


def test_a_case_that_dies_or_hangs_leaves_a_record_and_the_others_run(measured):
    assert {name: record(measured, name)["status"] for name in CASES} == {
        "tiny-dies": "died",
        "tiny-hangs": "timed_out",
        "tiny-vae-tiled": "ok",
        "tiny-int8wo": "ok",
    }
    assert "-9" in record(measured, "tiny-dies")["error"]


@pytest.mark.parametrize("name", ["tiny-vae-tiled", "tiny-int8wo"])
def test_what_was_predicted_is_measured(name, measured):
    found = record(measured, name)
    predicted = found["predicted"]
    assert found["setup"]["weights_bytes"] == predicted["weights_bytes"]
    live = {stage["name"]: stage["live_tensors_peak_bytes"] for stage in found["stages"]}
    assert live == pytest.approx(
        {stage["name"]: stage["activations_bytes"] for stage in predicted["stages"]}, rel=1e-3
    )
    assert found["memory"]["live_tensors_peak_bytes"] == max(live.values())


def test_a_record_says_with_what_it_was_made(measured):
    found = record(measured, "tiny-int8wo")
    assert found["applied_by"] == "workbench"
    assert found["machine"]["diffusers"] == found["predicted"]["versions"]["diffusers"]
    assert found["machine"]["gpu"] is None
    assert found["memory"]["rss_peak_bytes"] > 0


def test_a_second_run_continues(study, case_file, measured):
    data = json.loads(case_file.read_text())
    for case in data["cases"]:
        if case["id"] == "tiny-vae-tiled":
            case["snapshot"] = True  # not the case that was measured
    changed = case_file.with_name("changed.json")
    changed.write_text(json.dumps(data))
    before = {name: record(measured, name)["measured_at"] for name in CASES}
    done = run(study, "run.py", "--tiny", "--cases", changed, "--out", measured.parent)
    assert done.returncode == 1, done.stderr
    after = {name: record(measured, name)["measured_at"] for name in CASES}
    assert {name for name in CASES if before[name] != after[name]} == {"tiny-vae-tiled"}


def test_the_report_has_every_case_and_both_figures(measured):
    with (measured / "report.csv").open() as file:
        rows = {row["case"]: row for row in csv.DictReader(file)}
    assert set(rows) == set(CASES)
    assert abs(float(rows["tiny-vae-tiled"]["live_tensors_error_percent"])) < 0.1
    assert float(rows["tiny-int8wo"]["weights_error_percent"]) == 0
    assert rows["tiny-dies"]["weights_measured_bytes"] == ""
    text = (measured / "report.md").read_text()
    assert "No GPU was available" in text
    assert "- tiny-hangs: timed out" in text


# --- without the workbench ----------------------------------------------------------------------------------------------


@pytest.fixture
def hidden(tmp_path: Path) -> Path:
    """A folder that hides the workbench from whoever looks there first."""
    (tmp_path / "workbench.py").write_text("raise ImportError('hidden')\n")
    return tmp_path


def test_the_measuring_side_runs_without_the_workbench(study, case_file, hidden):
    data = json.loads(case_file.read_text())
    case = next(case for case in data["cases"] if case["id"] == "tiny-vae-tiled")
    job, out = hidden / "job.json", hidden / "record.json"
    job.write_text(json.dumps({"case": case, "model": data["models"]["tiny"], "record": {"case": case}}))
    done = run(study, "measure.py", job, out, path=hidden)
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text())
    assert (found["status"], found["applied_by"]) == ("ok", "diffusers")
    assert [stage["name"] for stage in found["stages"]] == ["decode"]
    assert found["setup"]["weights_bytes"] == case["predicted"]["weights_bytes"]
    assert any("live tensors were not counted" in sentence for sentence in found["report"])


@pytest.mark.parametrize("name", STAND_ALONE)
def test_the_measuring_side_imports_four_libraries_only(name, study):
    tree = ast.parse((study / f"{name}.py").read_text())
    found = set()
    for node in tree.body:
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            found.add(node.module.partition(".")[0])
    assert found - set(sys.stdlib_module_names) - {"__future__", *STAND_ALONE} <= LIBRARIES


# --- parts --------------------------------------------------------------------------------------------------------------


GIB = 2**30
GPU = {"gpu": "a card", "gpu_bytes": 10 * GIB}


@pytest.mark.parametrize(
    ("cap", "required", "ram", "why"),
    [
        (8, 4 * GIB, 0, ""),
        (8, 9 * GIB, 0, ""),  # running out is what this case is about
        (12, 4 * GIB, 0, "the card has 10.0 GiB"),
        (11, 4 * GIB, 0, ""),  # a card sold as 11 GB
        (None, 9 * GIB, 0, ""),
        (None, 11 * GIB, 0, "predicted to need 11.0 GiB, the card has 10.0"),
        (8, 4 * GIB, 2**60, "host RAM"),
    ],
)
def test_a_case_that_the_machine_is_too_small_for_is_skipped(load, cap, required, ram, why):
    case = {"cap_gib": cap, "predicted": {"required_vram_bytes": required, "host_ram_bytes": ram}}
    assert why in load("supervise").why_not(case, GPU)
    assert bool(why) == bool(load("supervise").why_not(case, GPU))


def test_a_snapshot_is_reduced_to_what_a_replay_needs(load):
    base = 0x7F0000000000
    segments = [
        {
            "address": base,
            "total_size": 2 << 20,
            "stream": 0,
            "segment_type": "small",
            "blocks": [
                {"size": 512, "state": "active_allocated"},
                {"size": (2 << 20) - 512, "state": "inactive"},
            ],
        }
    ]
    events = [
        {"action": "segment_alloc", "addr": base + (4 << 20), "size": 20 << 20, "stream": 0, "time_us": 1},
        {"action": "alloc", "addr": base + (4 << 20), "size": 3 << 20, "stream": 0, "frames": []},
        {"action": "snapshot", "addr": 0, "size": 0, "stream": 0},
        {"action": "free_requested", "addr": base + (4 << 20), "size": 3 << 20, "stream": 0},
        {"action": "oom", "device_free": 7, "size": 1 << 40, "stream": 5},
    ]
    found = load("watch").compact(segments, [events])
    names = [found["actions"][row[0]] for row in found["events"]]
    assert names == ["segment_alloc", "alloc", "free_requested", "oom"]
    assert [row[1:] for row in found["events"]] == [
        [4 << 20, 20 << 20, 0],
        [4 << 20, 3 << 20, 0],
        [4 << 20, 3 << 20, 0],
        [0, 1 << 40, 1],
    ]
    assert found["segments_at_start"][0]["blocks"][0] == [512, "active_allocated"]


def test_the_case_file_has_the_cases_that_are_defined(load, study):
    defined = [case.id for case in load("cases").real()]
    data = json.loads((study / "cases.json").read_text())
    assert [case["id"] for case in data["cases"]] == defined
    assert {case["model"] for case in data["cases"]} == set(data["models"])
    assert not data["refused"]


def test_a_case_is_predicted_anew_for_another_card(load, case_file, tmp_path):
    data = json.loads(case_file.read_text())
    data["cases"] = [case for case in data["cases"] if case["id"] == "tiny-vae-tiled"]
    one, out = tmp_path / "one.json", tmp_path / "here.json"
    one.write_text(json.dumps(data))
    load("predict").again(one, out, load("predict").card("NVIDIA H200", 140 * GIB))
    predicted = json.loads(out.read_text())["tiny-vae-tiled"]
    assert (predicted["device"], predicted["weights_bytes"]) == (
        "h200",
        data["cases"][0]["predicted"]["weights_bytes"],
    )
    assert predicted["required_vram_bytes"] > predicted["reserved_bytes"] >= predicted["allocated_bytes"] > 0


def test_whether_a_cap_held_counts_what_was_predicted(load):
    held = load("report").held
    base = {"case": {"cap_gib": 8}, "machine": {"gpu": "a card"}}
    outcomes = {
        (status, fits): held({**base, "status": status, "predicted": {"fits": fits}})
        for status in ("ok", "out_of_memory", "died")
        for fits in (True, False)
    }
    assert outcomes == {
        ("ok", True): "yes",
        ("ok", False): "no",
        ("out_of_memory", True): "no",
        ("out_of_memory", False): "yes",
        ("died", True): "",
        ("died", False): "",
    }


@pytest.mark.parametrize("more", [{"resident_blocks": 10}, {"offload_type": "leaf_level"}, {"disk": "files"}])
def test_offload_that_plain_diffusers_would_do_otherwise_needs_the_workbench(
    load: Callable[[str], ModuleType], more: dict[str, Any]
) -> None:
    pipes = load("pipes")
    plain = {"mode": "group", "blocks_per_group": 1, "stream": True}
    assert pipes._is_plain("offload", plain)
    assert not pipes._is_plain("offload", {**plain, **more})
