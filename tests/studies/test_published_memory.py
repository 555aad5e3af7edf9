"""The study of published memory: rows are read as they are meant, none is lost, and a comparison says what it should."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

FOLDER = Path(__file__).parents[2] / "studies" / "published_memory"
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
    return {row["id"]: row for row in study.rows.read()}


def test_every_row_of_the_collection_is_expressed_or_has_a_reason(study: Any, rows: Any) -> None:
    reasons = []
    for row in rows.values():
        try:
            study.express.express(row)
        except study.published.Unexpressed as reason:
            reasons.append(str(reason))
    left = study.rows.read(FOLDER / "not_copied.csv")
    assert len(rows) + len(left) == 596
    assert all(entry["reason"] for entry in left) and all(reasons)
    assert len(rows) - len(reasons) >= 50


@pytest.mark.parametrize(
    ("name", "model", "settings", "metric", "value", "matched"),
    [
        (
            "TA011",
            "cogvideox-5b",
            {
                "quantization": {
                    "text_encoder": {"kind": "int8wo", "layers": "all"},
                    "transformer": {"kind": "int8wo", "layers": "all"},
                }
            },
            "allocated",
            22.282,
            True,
        ),
        ("TA101", "cogvideox-5b", None, "allocated", 3.1, True),
        ("DD018", "wan2.1-t2v-1.3b", {"offload": {"mode": "model"}}, "unstated", 11.0, True),
        ("DD041", "latte-1", {}, "reserved", 14.344, True),
        ("W2007", "wan2.2-t2v-a14b", {"offload": {"mode": "model"}}, "unstated", 41.3, False),
    ],
)
def test_words_become_settings(
    study: Any, rows: Any, name: str, model: str, settings: Any, metric: str, value: float, matched: bool
) -> None:
    said = study.express.express(rows[name])
    assert (said.model, said.matched) == (model, matched)
    assert settings is None or said.settings == settings
    assert (said.figure.metric, said.figure.value) == (metric, value)


def test_fused_projections_are_a_setting_beside_what_else_the_row_says(study: Any, rows: Any) -> None:
    assert study.express.express(rows["TA002"]).settings == {"fused_qkv": {}}
    assert set(study.express.express(rows["TA010"]).settings) == {"fused_qkv", "quantization"}
    assert study.express.express(rows["TA002"]).matched


def test_a_denoising_run_leaves_the_decode_out_and_a_size_by_area_is_read(study: Any, rows: Any) -> None:
    assert study.express.express(rows["DD038"]).without == ("decode",)
    clip = study.express.express(rows["DD022"]).workload
    assert (clip["frames"], clip["height"], clip["width"]) == (33, 720, 832)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("W1006", "several GPUs"),
        ("W1005", "fp32 weights under autocast"),
        ("HY001", "where the weights wait is not stated"),
        ("DD046", "chosen with this row"),
    ],
)
def test_what_is_left_out_says_why(study: Any, rows: Any, name: str, reason: str) -> None:
    with pytest.raises(study.published.Unexpressed, match=reason):
        study.express.express(rows[name])


def test_layers_on_a_stream_are_a_setting_and_the_text_encoders_blocks_a_remark(
    study: Any, rows: Any
) -> None:
    whole = study.express.express(rows["DD023"])
    assert whole.settings["offload"] == {
        "mode": "group",
        "offload_type": "leaf_level",
        "stream": True,
        "components": ["text_encoder", "transformer"],
    }
    assert whole.remarks[0].startswith("T5 went by blocks")


@pytest.mark.parametrize(
    ("text", "figure"),
    [
        ("31.746", (31.746, 31.746)),
        ("~14", (14.0, 14.0)),
        ("<4", (None, 4.0)),
        ("> 80.0", (80.0, None)),
        ("14.9–15.1", (14.9, 15.1)),
        ("13.189→14.344", (14.344, 14.344)),
        ("92,160M", (90.0, 90.0)),
    ],
)
def test_figures_are_read(study: Any, text: str, figure: tuple[float | None, float | None]) -> None:
    assert study.published.number(text) == figure


def test_a_cell_with_two_runs_is_no_figure(study: Any) -> None:
    with pytest.raises(study.published.Unexpressed, match="one run"):
        study.published.number("~24 vs ~8")


def test_an_error_is_relative_and_unstated_figures_may_be_any_of_three(study: Any) -> None:
    found = study.score.Predicted(
        allocated=10.0,
        reserved=11.0,
        device=12.0,
        required=12.4,
        margin=0.03,
        weights=5.0,
        stage="decode",
        binds="",
    )

    def error(metric: str, low: float | None, high: float | None) -> float:
        figure = study.published.Published(metric=metric, low=low, high=high)
        return float(study.score.error(figure, found))

    assert error("allocated", 8.0, 8.0) == pytest.approx(0.25)
    assert error("reserved", 12.5, 12.5) == pytest.approx(-0.12)
    assert error("unstated", 10.5, 10.5) == 0.0
    assert error("unstated", 16.0, 16.0) == pytest.approx(-0.25)
    assert error("allocated", None, 20.0) == 0.0
    figure = study.published.Published(metric="allocated", low=9.0, high=9.0)
    assert study.score.fit_statements(figure, found) == [
        (6.0, False, False),
        (8.0, False, False),
        (10.0, True, True),
        (12.0, True, True),
        (16.0, True, True),
    ]


def test_a_row_of_the_tiny_model_is_predicted_for_the_stages_that_were_measured(study: Any) -> None:
    express = study.express.Expressed
    figure = study.published.Published(metric="allocated", low=0.01, high=0.01)
    whole = express(model="tiny", workload={"steps": 2}, settings={}, device="rtx-4090", figure=figure)
    part = express(
        model="tiny",
        workload={"steps": 2},
        settings={},
        device="rtx-4090",
        figure=figure,
        without=("text_encode",),
    )
    oracle = study.run.Oracle()
    all_stages, without = oracle.predict("x", whole), oracle.predict("x", part)
    assert all_stages.stage == "text_encode" != without.stage
    assert without.allocated < all_stages.allocated < all_stages.device < all_stages.required
    assert oracle.predict("x", whole, commit="0123abc") is None  # without a clone and without what was kept


def test_report_and_figure_have_every_scored_row(study: Any, rows: Any, tmp_path: Path) -> None:
    kept = {line["id"]: line for line in study.rows.read(FOLDER / "predicted.csv")}
    assert kept.keys() == rows.keys()
    assert all(bool(line["reason"]) != bool(line["metric"]) for line in kept.values())
    lines = [_typed(line) for line in kept.values()]
    study.figure.write_figure(lines, tmp_path / "figure.svg")
    study.report.write_report(lines, study.rows.read(FOLDER / "not_copied.csv"), tmp_path / "report.md")
    scored = [line for line in lines if line.get("error") is not None]
    assert (tmp_path / "figure.svg").read_text().count("<title>") == len(scored) >= 50
    text = (tmp_path / "report.md").read_text()
    assert all(f"| {line['id']} |" in text for line in scored)
    assert "W1005" in text and "training" in text


def _typed(line: dict[str, str]) -> dict[str, Any]:
    """A line as it was before it was written."""
    found: dict[str, Any] = {key: value for key, value in line.items() if value != ""}
    for key in (
        *("allocated", "reserved", "device", "required", "margin", "weights", "error", "error_installed"),
        *("low", "high", "published_weights", "card_gb"),
    ):
        found[key] = float(found[key]) if key in found else None
    for key in ("differs", "remarks", "binds", "commit"):
        found.setdefault(key, "")
    return found | {"matched": line["matched"] == "True"}
