"""The timeline of every component's weights."""

from __future__ import annotations

import dataclasses

import pytest

from workbench.cost import CallLog, Placement, Residency, price
from workbench.cost.whereabouts import Timeline

MODES = (
    Placement(),
    Placement(mode="whole"),
    Placement(mode="leaves"),
    Placement(mode="blocks", blocks_per_group=2),
    Placement(mode="blocks", stream=True),
    Placement(mode="blocks", stream=True, pins_late=True, resident_blocks=2),
    Placement(mode="blocks", on_disk=True),
    Placement(mode="layers", stream=True),
)


@pytest.fixture
def sizes(weights):
    return {
        "text_encoder": weights(100, blocks=(30,) * 3, leaf=20),
        "transformer": weights(50, blocks=(8,) * 6, leaf=2),
        "vae": weights(10),
    }


def rows_of(log, calls, sizes, placement):
    residency = Residency(placements=dict.fromkeys(sizes, placement))
    return Timeline(log=log, calls=calls, weights=sizes, residency=residency).rows()


@pytest.mark.parametrize("placement", MODES, ids=str)
def test_no_weight_is_nowhere(log, calls, sizes, placement):
    rows = rows_of(log, calls, sizes, placement)
    assert [row.stage for row in rows][::3] == ["ready", "text_encode", "denoise", "decode", "after"]
    for row in rows:
        total = sizes[row.component].total_bytes
        assert row.gpu_between_bytes <= row.gpu_bytes <= total
        assert row.gpu_bytes + row.ram_bytes + row.pinned_bytes + row.disk_bytes >= total
        assert row.fetched_bytes == 0 or row.component == row.running
    first, last = ([row for row in rows if row.stage == stage] for stage in ("ready", "after"))
    assert [dataclasses.replace(row, stage="ready") for row in last] == first


@pytest.mark.parametrize("placement", MODES, ids=str)
def test_it_is_what_the_price_counts(log, calls, sizes, placement, device):
    residency = Residency(placements=dict.fromkeys(sizes, placement))
    priced = price(log, calls, sizes, residency, device)
    for stage in priced.stages:
        held = sum(row.gpu_bytes for row in priced.timeline.rows() if row.stage == stage.name)
        assert held == stage.weights_bytes


def test_whole_components_take_turns_and_all_go_back(log, calls, sizes):
    rows = rows_of(log, calls, sizes, Placement(mode="whole"))
    on_gpu = {(row.stage, row.component): row.gpu_bytes for row in rows if row.gpu_bytes}
    assert on_gpu == {
        ("text_encode", "text_encoder"): 100,
        ("denoise", "transformer"): 50,
        ("decode", "vae"): 10,
    }
    assert all(row.gpu_bytes + row.ram_bytes == sizes[row.component].total_bytes for row in rows)
    assert sum(row.fetched_bytes for row in rows) == 160


def test_what_comes_with_each_call_comes_as_often(log, calls, sizes):
    rows = rows_of(log, calls, sizes, Placement(mode="blocks", resident_blocks=4))
    [denoise] = [row for row in rows if (row.stage, row.component) == ("denoise", "transformer")]
    assert (denoise.calls, denoise.fetched_bytes, denoise.gpu_between_bytes) == (10, 10 * 16, 34)


def test_two_components_of_a_stage_have_a_stretch_each(log, calls, sizes):
    encode, denoise, decode = log.stages
    both = dataclasses.replace(encode, calls=(*encode.calls, *decode.calls))
    twice = CallLog(
        stages=(both, denoise),
        visits=("text_encoder", "vae", "transformer"),
        visit_stages=("text_encode", "text_encode", "denoise"),
        offload_order=log.offload_order,
    )
    rows = rows_of(twice, calls, sizes, Placement(mode="whole"))
    found = {(row.stage, row.running): row.gpu_bytes for row in rows if row.component == "text_encoder"}
    assert found == {
        ("ready", ""): 0, ("text_encode", "text_encoder"): 100,
        ("text_encode", "vae"): 100,  # nothing has sent it back: the transformer will
        ("denoise", "transformer"): 0, ("after", ""): 0,
    }  # fmt: skip


def test_json_is_in_gib(log, calls, sizes):
    row = rows_of(log, calls, sizes, Placement(mode="whole"))[3]
    data = row.to_json()
    assert (data["stage"], data["component"], data["calls"]) == ("text_encode", "text_encoder", 2)
    assert data["gpu_gib"] == 100 / 2**30
