"""What is alive at a peak adds up to the peak, byte for byte, and what is said to lower it does."""

from __future__ import annotations

import json

import pytest

import workbench as wb
from workbench.search._explained import explanation_report
from workbench.search._explanation import CATEGORIES
from workbench.search._render_text import render_report

BIG = {"frames": 33, "height": 256, "width": 384}
SETTINGS = [
    {},
    {"vae_tiling": {}, "offload": {"mode": "model"}},
    {"offload": {"mode": "group", "blocks_per_group": 1}, "quantization": {"transformer": "nf4"}},
    {"temporal_chunks": {"frames": 17, "overlap": 4}, "dtype": {"vae": "bf16"}},
    {"cache": {"kind": "taylorseer"}},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda s: " ".join(s) or "plain")
@pytest.mark.parametrize("model", ["tiny", "cogvideox-2b"])
def test_the_parts_add_up_to_the_peak_of_every_stage(model, settings):
    if model != "tiny" and set(settings) & {"temporal_chunks", "cache"}:
        pytest.skip("one model shows it")
    size = BIG if model == "tiny" else {"frames": 9, "height": 160, "width": 240, "steps": 2}
    found = wb.explain(wb.Workload.for_model(model, **size), settings, "rtx-4090")
    assert [stage.stage for stage in found.stages] == [stage.name for stage in found.cost.price.stages]
    for stage, cost in zip(found.stages, found.cost.price.stages, strict=True):
        assert stage.num_bytes == cost.peak_allocated_bytes
        assert sum(stage.by_category().values()) == stage.num_bytes
    assert found.peak.num_bytes == found.cost.price.peak_allocated_bytes


def test_the_largest_part_is_named():
    found = wb.explain("wan2.1-t2v-1.3b", {"offload": {"mode": "model"}}, "h100-80gb")
    decode = found.stages[-1]
    assert decode.stage == "decode"
    assert decode.during == "vae"
    largest = max((p for p in decode.parts if p.category == "workspace"), key=lambda p: p.num_bytes)
    assert largest.path.startswith("vae.decoder.up_blocks")
    assert "convolution" in largest.op


def test_every_change_lowers_the_requirement_and_the_cheapest_comes_first():
    workload = wb.Workload.for_model("tiny", **BIG)
    found = wb.explain(workload, {"vae_tiling": {}}, "rtx-4090")
    assert found.changes
    for change in found.changes:
        again = wb.estimate(workload, change.settings, "rtx-4090")
        assert again.required_vram_bytes == change.cost.required_vram_bytes < found.cost.required_vram_bytes
        assert change.settings.to_json()["vae_tiling"] == {}, "the other settings stay"
    order = [(change.caution, change.cost.total_s) for change in found.changes]
    assert order == sorted(order)


def test_what_the_card_must_have_is_named_part_by_part():
    found = wb.explain("wan2.1-t2v-1.3b", {"offload": {"mode": "model"}}, "rtx-4090", desktop_gb=0.75)
    *parts, total = found.required()
    assert [part.name for part in parts] == ["allocated", "unallocated", "context", "desktop", "margin"]
    sizes = {part.name: part.num_bytes for part in parts}
    assert total.num_bytes == found.cost.required_vram_bytes
    assert sum(sizes.values()) == pytest.approx(total.num_bytes, abs=0.01 * 2**30)
    assert sizes["allocated"] + sizes["unallocated"] == found.cost.price.peak_reserved_bytes
    assert sizes["desktop"] == 0.75 * 2**30
    assert all(part.why for part in parts)
    data = found.to_json()["required"]
    assert [entry["part"] for entry in data] == [*sizes, "required"]
    assert "What the card must have" in repr(found)


def test_it_says_so_in_text_and_json():
    found = wb.explain("tiny", None, vram_gb=8)
    text = render_report(explanation_report(found))
    assert "Fullest moment of each stage" in text
    assert "Alive at the peak" in text
    data = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert set(data["stages"][0]["gib_by_category"]) == set(CATEGORIES)
    assert repr(found) == text
    assert "<table" in found._repr_html_()


def test_the_figure_stacks_to_the_totals():
    from workbench.views import plot_alive

    found = wb.explain("tiny", None, vram_gb=8)
    figure = plot_alive(found)
    bars = [trace for trace in figure.data if trace.type == "bar"]
    for position, stage in enumerate(found.stages):
        assert sum(bar.y[position] for bar in bars) == pytest.approx(stage.num_bytes / 2**30)
