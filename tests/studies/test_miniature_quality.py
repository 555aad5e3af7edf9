"""The quality study: what it runs, that it goes on after a kill, and what it makes of rows."""

from __future__ import annotations

import importlib
import json
import math
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from workbench import records as store
from workbench._errors import InputError
from workbench.models import get
from workbench.quality import load
from workbench.techniques import Settings

FOLDER = Path(__file__).parents[2] / "studies" / "miniature_quality"
MODULES = [path.stem for path in FOLDER.glob("*.py")]
FITTED = [
    {"quantization": {"transformer": "nf4"}},
    {"quantization": {"vae": "nf4"}},
    {"temporal_chunks": {"frames": 9, "overlap": 4}},
    {"cache": {"kind": "taylorseer", "interval": 2}},
]


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
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The miniature with random weights, and a classifier that knows nothing, as training would leave them."""
    import torch
    from safetensors.torch import save_file

    from workbench.miniature._classifier import ClipClassifier
    from workbench.miniature._tokenizer import tiny_tokenizer
    from workbench.models._build import assemble, construct
    from workbench.models._quiet import no_progress_bars

    spec, folder = get("miniature"), tmp_path_factory.mktemp("weights")
    with torch.random.fork_rng(devices=[]), no_progress_bars():
        torch.manual_seed(0)
        modules = {part.name: construct(part).eval() for part in spec.components}
        assemble(spec, modules, tiny_tokenizer(32)).save_pretrained(folder)
        save_file(ClipClassifier().state_dict(), folder / "classifier.safetensors")
    return folder


@pytest.fixture
def small(study: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Few settings and combinations of few."""
    monkeypatch.setattr(study.cases, "_fitted", lambda: FITTED)
    axes = ([{"steps": {"count": 2}}], [FITTED[0]], [FITTED[3]])
    monkeypatch.setattr(study.cases, "_axes", lambda steps: axes)
    monkeypatch.setattr(study.cases, "_EXACT", study.cases._EXACT[:1])
    monkeypatch.setattr(study.cases, "_SHARES", (0.9, 0.5))
    monkeypatch.setattr(study.cases, "LONG", 13)
    return study.cases.Sizes(kinds=("slow", "fast"), steps=3, combinations=4, every=4)


def test_the_suite_has_a_scene_of_each_kind_and_enough_combinations_of_several_techniques(study):
    scenes = study.cases.scenes(study.cases.FULL)
    assert len({scene.kind for scene in scenes}) == len(scenes) == 9
    cases = study.cases.cases(study.cases.FULL)
    held_out = [case for case in cases if case.use == "held out"]
    assert len(held_out) >= 44
    assert all(2 <= len(case.settings) <= 4 for case in held_out)
    fitted = {case.id for case in cases if case.use == "fit"}
    assert not fitted & {case.id for case in held_out}
    assert len({case.id for case in cases}) == len(cases)


def test_every_case_applies_to_the_miniature_and_every_combination_is_of_what_is_fitted(study):
    spec = get("miniature")
    cases = study.cases.cases(study.cases.FULL)
    for case in cases:
        runnable, _ = study.stand_in.split(case.settings)
        Settings.parse(runnable).check(spec)
    rows = [_row(case, study) for case in cases]
    found, missing = study.analysis.held_out(rows, study.analysis.records_of(rows))
    assert missing == []
    assert len(found) == 48


def _row(case: Any, study: Any) -> dict[str, Any]:
    """A row as a run leaves it, of two scenes with one distance."""
    lines = [
        {
            "scene": name,
            "kind": "slow",
            "prompt": "a red ring",
            "seed": 3,
            "psnr_db": 30.0,
            "ssim": 0.9,
            "right_colour": True,
        }
        for name in ("a", "b")
    ]
    return {
        "id": case.id,
        "use": case.use,
        "settings": Settings.parse(dict(case.settings)).to_json(),
        "steps": case.steps,
        "frames": case.frames,
        "offset": case.offset,
        "line": case.line,
        "status": "ok",
        "error": "",
        "report": [],
        "created_at": "2026-01-01T00:00:00+00:00",
        "commit": "abc",
        "versions": {"torch": "2.13.0"},
        "scenes": lines,
    }


def test_rank_correlation_of_known_ranks(study):
    rank = study.analysis.rank_correlation
    up = np.array([1.0, 2.0, 3.0, 4.0])
    assert rank(up, np.array([1.0, 10.0, 100.0, 1000.0])) == pytest.approx(1.0)
    assert rank(up, -up) == pytest.approx(-1.0)
    # one swap of neighbours among four: 1 - 6 * 2 / (4 * 15)
    assert rank(up, np.array([1.0, 3.0, 2.0, 4.0])) == pytest.approx(0.8)
    assert rank(up, np.array([1.0, 1.0, 2.0, 2.0])) == pytest.approx(2 / math.sqrt(5))
    assert math.isnan(rank(up, np.ones(4)))


def test_records_do_not_look_at_combinations(study):
    cases = study.cases.cases(study.cases.FULL)
    rows = [_row(case, study) for case in cases]
    other = [
        {**row, "scenes": [{**line, "psnr_db": 3.0} for line in row["scenes"]]}
        if row["use"] == "held out"
        else row
        for row in rows
    ]
    assert study.analysis.records_of(rows).curves == study.analysis.records_of(other).curves


def test_the_study_from_weights_to_records_and_again_without_running(study, small, weights, tmp_path):
    lines: list[str] = []
    found = study.run.study(weights, tmp_path, small, say=lines.append)
    assert all(row["status"] == "ok" for row in found.rows), [row["error"] for row in found.rows]
    assert sum("/" in line for line in lines) == len(found.rows)
    summary = found.summary()
    assert "most sensitive ones / the least" in summary
    assert "steps, of 3: 1: " in summary and "denoiser in nf4: " in summary
    blocks = [row["line"] for row in found.rows if row["line"]]
    assert blocks == [
        ("most sensitive first", 1),
        ("least sensitive first", 1),
    ]
    by_use = {row["use"]: row for row in found.rows if not row["offset"]}
    assert all(line["psnr_db"] == "inf" for line in by_use["reference"]["scenes"])
    assert all(float(line["psnr_db"]) > 60 for line in by_use["exact"]["scenes"])
    assert (found.score["combinations"], found.missing) == (4, [])
    # a network without linear layers changes nothing, and that is no measurement of nf4
    keys = {curve.key for curve in found.records.curves}
    assert "quantization denoiser nf4 insensitive" in keys
    assert not any(key.startswith("quantization vae") for key in keys)
    assert load(tmp_path / "records.json").about["held_out"] == found.score
    read = store.load(tmp_path / "miniature_quality.nc")
    assert read.sizes["trial"] == 2 * len(found.rows)
    assert set(read["status"].values) == {"ok"}
    assert read["psnr_db"].attrs["units"] == "dB"
    assert "rank correlation" in (tmp_path / "miniature_quality.md").read_text()
    assert {path.name for path in tmp_path.glob("*.html")} == {"held_out.html", "curves.html"}

    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("????????????.json")}
    lost = next(path for path in before if path.name == f"{found.rows[-1]['id']}.json")
    lost.unlink()
    again = study.run.study(weights, tmp_path, small, say=lines.append)
    assert again.score == pytest.approx(found.score)
    changed = [path for path, made in before.items() if path.stat().st_mtime_ns != made]
    assert changed == [lost]

    with pytest.raises(InputError, match="rows of another suite: its steps is 3, not 4"):
        study.run.study(weights, tmp_path, replace(small, steps=4), say=lines.append)


def test_a_case_that_fails_is_a_row_with_its_error(study, small, weights, tmp_path):
    bench = study.runs.Bench(weights, tmp_path, small)
    refused = study.cases.Case(use="fit", steps=2, settings={"decode_chunks": {"frames": 4}})
    row = bench.row(refused)
    assert (row["status"], row["scenes"]) == ("failed", [])
    assert "decode_chunks does not apply to miniature" in row["error"]
    assert json.loads((tmp_path / f"{refused.id}.json").read_text())["error"] == row["error"]
    fine = bench.row(study.cases.Case(use="reference", steps=2))
    read = study.analysis.dataset([fine, row])
    assert list(read["status"].values) == ["ok", "ok", "failed"]
    assert list(np.isnan(read["ssim"].values)) == [False, False, True]


def test_int4wo_rounds_to_sixteen_levels_in_groups_of_128_and_puts_the_weights_back(
    study, small, weights, tmp_path
):
    import torch

    bench = study.runs.Bench(weights, tmp_path, small)
    before = {name: value.clone() for name, value in bench.pipe.transformer.state_dict().items()}
    with study.stand_in.rounded(bench.pipe.transformer) as count:
        weight = bench.pipe.transformer.blocks[0].ffn.net[2].weight.data
        groups = weight.view(-1, 128)
        assert max(len(group.unique()) for group in groups) <= 16
        original = before["blocks.0.ffn.net.2.weight"].view(-1, 128)
        step = (original.amax(1) - original.amin(1)) / 15
        assert ((groups - original).abs().amax(1) <= 0.6 * step).all()
    assert count == 50
    assert all(
        torch.equal(value, before[name]) for name, value in bench.pipe.transformer.state_dict().items()
    )
    row = bench.row(
        study.cases.Case(use="fit", steps=2, settings={"quantization": {"transformer": "int4wo"}})
    )
    assert row["status"] == "ok"
    assert row["report"] == ["transformer: 50 layers rounded as int4wo does"]
    assert all(float(line["psnr_db"]) < 70 for line in row["scenes"])


def test_prompts_in_one_call_give_what_single_calls_give(study, small, weights, tmp_path):
    bench = study.runs.Bench(weights, tmp_path, small)
    case = study.cases.Case(use="reference", steps=2)
    together, _ = bench.clips(case)
    bench.scenes, kept = bench.scenes[1:], bench.scenes
    alone, _ = bench.clips(case)
    assert len(kept) == 2
    assert np.abs(alone[0].astype(int) - together[1].astype(int)).max() <= 1


@pytest.mark.parametrize("arguments", [["--install", "--quick"], ["--scenes-per-kind", "0"]])
def test_bad_arguments_are_refused(study, arguments, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["run.py", *arguments])
    with pytest.raises(SystemExit) as stop:
        study.run.main()
    assert stop.value.code == 2
    assert arguments[0] in capsys.readouterr().err
