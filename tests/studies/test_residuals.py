"""The study of residuals: what ships is what its command would write, and GPU records are read as they are meant."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from workbench.cost.margin import known

FOLDER = Path(__file__).parents[2] / "studies" / "residuals"
MODULES = ("traced", "run")
GIB = 2**30


@pytest.fixture(scope="module")
def study() -> Iterator[Any]:
    """The study's modules, which import each other by their plain names as a script's do; forgotten afterwards."""
    sys.path.insert(0, str(FOLDER))
    before = {name: sys.modules.pop(name, None) for name in MODULES}
    try:
        yield SimpleNamespace(**{name: importlib.import_module(name) for name in MODULES})
    finally:
        sys.path.remove(str(FOLDER))
        for name, module in before.items():
            sys.modules.pop(name, None)
            if module is not None:
                sys.modules[name] = module


def shipped(study_name: str) -> dict[tuple[str, str], Any]:
    return {(row.id, row.kind): row for row in known().rows if row.study == study_name}


def test_what_ships_is_what_the_published_study_predicts_now(study: Any) -> None:
    """Fails after predictions have changed: run `python studies/residuals/run.py`."""
    made = {(row.id, row.kind): row for row in study.run.published()}
    assert made.keys() == shipped("published_memory").keys()
    for key, row in shipped("published_memory").items():
        assert (row.measured, row.predicted, row.metric, row.case, row.not_counted) == (
            made[key].measured, made[key].predicted, made[key].metric, made[key].case, made[key].not_counted,
        )  # fmt: skip


def test_what_ships_is_what_is_traced_now(study: Any) -> None:
    found = shipped("traced")
    assert len(found) == 22
    tall = found["IN05", "autoencoder"]
    assert tall.predicted == pytest.approx(study.traced.qwen_vae("decode", 1088, 1920), abs=1e-4)
    small = found["IN11", "autoencoder"]
    assert small.predicted == pytest.approx(study.traced.qwen_vae("encode", 512, 512), abs=1e-4)
    for model, name in (("krea-2", "MM02"), ("minimax-h3", "MM03"), ("ideogram-4", "MM04")):
        assert found[name, "denoiser"].predicted == pytest.approx(study.traced.slope(model), abs=1e-4)


def test_a_figure_whose_counter_is_not_named_does_not_count() -> None:
    prose = [row for row in known().rows if row.id in ("TA097", "TA100", "TA101")]
    assert len(prose) == 3 and all("names no counter" in row.not_counted for row in prose)
    assert all(row.metric in ("allocated", "reserved") for row in known().counted)


def put(folder: Path, name: str, **changes: Any) -> None:
    """A record as `studies/gpu_validation` writes it, as far as it is read here."""
    stages = [
        {"name": "text_encode", "allocated_bytes": 3 * GIB},
        {"name": "decode", "allocated_bytes": 5 * GIB},
    ]
    record = {
        "case": {"id": name, "model": "wan2.1-t2v-1.3b", "cap_gib": None, "allocator": ""},
        "machine": {"gpu": "NVIDIA H200", "torch": "2.13.0", "diffusers": "0.42.1"},
        "measured_at": "2026-11-21T10:00:00",
        "status": "ok",
        "memory": {"allocated_peak_bytes": 5 * GIB + GIB // 2, "reserved_peak_bytes": 6 * GIB},
        "predicted": {"allocated_bytes": 5 * GIB, "reserved_bytes": 6 * GIB, "stages": stages},
    }
    for key, value in changes.items():
        record[key] = {**record[key], **value} if isinstance(value, dict) else value
    (folder / f"{name}.json").write_text(json.dumps(record), encoding="utf-8")


def test_gpu_records_that_ran_are_read_with_the_prediction_made_there(study: Any, tmp_path: Path) -> None:
    folder = tmp_path / "h200"
    folder.mkdir()
    (folder / "machine.json").write_text("{}", encoding="utf-8")
    put(folder, "plain")
    put(folder, "capped", case={"cap_gib": 8})
    put(folder, "expandable", case={"allocator": "expandable_segments:True"})
    put(folder, "dead", status="out_of_memory")
    put(folder, "cpu", machine={"gpu": None})
    stages = [{"name": "denoise", "allocated_bytes": 1}]
    fresh = {"plain": {"allocated_bytes": 11 * GIB // 2, "reserved_bytes": 6 * GIB, "stages": stages}}
    (folder / "predictions_here.json").write_text(json.dumps(fresh), encoding="utf-8")
    found = {(row.id, row.metric): row for row in study.run.validated(tmp_path)}
    assert set(found) == {
        ("plain", "allocated"), ("plain", "reserved"), ("capped", "allocated"), ("capped", "reserved"), ("expandable", "allocated"),
    }  # fmt: skip
    assert found["plain", "allocated"].kind == "denoiser" and found["plain", "allocated"].fraction == 0
    assert found["capped", "allocated"].kind == "autoencoder"
    assert found["capped", "allocated"].fraction == pytest.approx(0.1)
    assert found["capped", "reserved"].not_counted and not found["capped", "allocated"].not_counted
    assert "NVIDIA H200" in found["plain", "reserved"].source
