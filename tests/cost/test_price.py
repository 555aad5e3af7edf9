from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest

from workbench.cost import CallLog, CallSummary, Placement, Residency, Weights, price
from workbench.cost._trace import Op
from workbench.cost.host import PROCESS_RAM_BYTES
from workbench.cost.margin import margin_bytes, stage_margin
from workbench.cost.price import (
    CUBLAS_WORKSPACE_DEFAULT_BYTES,
    fit_probability,
)
from workbench.cost.roofline import KINDS, compute_seconds, transfer_seconds
from workbench.devices import Device, get

MIB = 2**20
GIB = 2**30
Make = Callable[..., Weights]


@pytest.fixture
def three(weights: Make) -> dict[str, Weights]:
    return {
        "text_encoder": weights(10 * GIB),
        "transformer": weights(4 * GIB, blocks=(512 * MIB,) * 6, leaf=128 * MIB),
        "vae": weights(1 * GIB),
    }


def whole(*names: str) -> Residency:
    return Residency(placements={name: Placement(mode="whole") for name in names})


def test_resident_weights_are_all_there_in_every_stage(
    log: CallLog, calls: dict[str, CallSummary], three: dict[str, Weights], device: Device
) -> None:
    priced = price(log, calls, three, Residency(), device)
    assert [stage.weights_bytes for stage in priced.stages] == [15 * GIB] * 3
    decode = priced.stages[-1]
    assert decode.activations_bytes == 100 * MIB + 8 * GIB + CUBLAS_WORKSPACE_DEFAULT_BYTES
    assert priced.peak_allocated_bytes == decode.weights_bytes + decode.activations_bytes
    assert priced.peak_stage == "decode"
    margin = margin_bytes("decode", priced.peak_reserved_bytes)
    assert margin > 0
    besides = device.context_bytes + device.desktop_bytes
    assert priced.required_vram_bytes == priced.peak_reserved_bytes + besides + margin


def test_the_desktop_comes_on_top_and_more_memory_never_makes_fitting_less_likely(
    log: CallLog, calls: dict[str, CallSummary], three: dict[str, Weights], device: Device
) -> None:
    bare = price(log, calls, three, Residency(), device.with_desktop(0))
    held = price(log, calls, three, Residency(), device.with_desktop(GIB))
    assert held.required_vram_bytes == bare.required_vram_bytes + GIB
    chances = []
    for gib in range(1, 72):
        card = dataclasses.replace(device, memory_bytes=gib * GIB // 2 + device.context_bytes)
        priced = price(log, calls, three, Residency(), card)
        chances.append(fit_probability(priced.stages, card))
        if priced.required_vram_bytes <= card.memory_bytes:
            assert chances[-1] >= stage_margin(priced.peak_stage).probability
    assert chances == sorted(chances) and chances[0] == 0 < chances[-1] < 1


def test_whole_components_take_turns(
    log: CallLog, calls: dict[str, CallSummary], three: dict[str, Weights], device: Device
) -> None:
    priced = price(log, calls, three, whole("text_encoder", "transformer", "vae"), device)
    assert [stage.weights_bytes for stage in priced.stages] == [10 * GIB, 4 * GIB, 1 * GIB]
    assert priced.host_ram_bytes == PROCESS_RAM_BYTES + 15 * GIB
    # each comes and goes once, however often it is called: it goes when the next one comes, the last one when the call is over
    moved = [transfer_seconds(size * GIB, device, pinned=False) for size in (10, 10 + 4, 4 + 1 + 1)]
    assert [stage.by_kind_s["transfer"] for stage in priced.stages] == pytest.approx(moved)


def test_leaves_move_for_every_call(
    log: CallLog, calls: dict[str, CallSummary], three: dict[str, Weights], device: Device
) -> None:
    residency = Residency().placed("transformer", Placement(mode="leaves"))
    priced = price(log, calls, three, residency, device)
    assert priced.stages[1].weights_bytes == 11 * GIB + 128 * MIB
    moved = 10 * transfer_seconds(4 * GIB, device, pinned=False)
    assert priced.stages[1].by_kind_s["transfer"] == pytest.approx(moved)


def test_leaves_move_for_every_pass_through_the_weights(
    log: CallLog, calls: dict[str, CallSummary], three: dict[str, Weights], device: Device
) -> None:
    windowed = {**calls, "transformer": dataclasses.replace(calls["transformer"], passes=3)}
    for mode in ("leaves", "blocks"):
        placed = Residency().placed("transformer", Placement(mode=mode))
        once = price(log, calls, three, placed, device).stages[1].by_kind_s["transfer"]
        thrice = price(log, windowed, three, placed, device).stages[1].by_kind_s["transfer"]
        assert thrice == pytest.approx(3 * once)
    placed = whole("transformer")
    assert price(log, windowed, three, placed, device) == price(log, calls, three, placed, device)


def test_stream_hides_transfers_behind_compute(
    log: CallLog, calls: dict[str, CallSummary], three: dict[str, Weights], device: Device
) -> None:
    def transfer(stream: bool) -> float:
        placed = Residency().placed(
            "transformer", Placement(mode="blocks", blocks_per_group=1, stream=stream)
        )
        return price(log, calls, three, placed, device).stages[1].by_kind_s["transfer"]

    assert 0 < transfer(True) < transfer(False)
    placed = Residency().placed("transformer", Placement(mode="blocks", stream=True))
    priced = price(log, calls, three, placed, device)
    # the weights outside the blocks and two blocks in flight
    assert priced.stages[1].weights_bytes == 11 * GIB + 1 * GIB + 2 * 512 * MIB
    assert priced.host_ram is not None
    assert (
        priced.host_ram.running_bytes == 4 * GIB + 6 * GIB
    )  # the weights and the pinned copies of the blocks
    assert priced.host_ram_bytes == PROCESS_RAM_BYTES + 15 * GIB  # all were loaded on the CPU first


def test_pipeline_itself_may_set_the_peak_beside_the_weights(
    log: CallLog, calls: dict[str, CallSummary], three: dict[str, Weights], device: Device
) -> None:
    *before, decode = log.stages
    heavy = dataclasses.replace(log, stages=(*before, dataclasses.replace(decode, live_bytes=20 * GIB)))
    stage = price(heavy, calls, three, whole("text_encoder", "transformer", "vae"), device).stages[-1]
    assert (stage.weights_bytes, stage.activations_bytes) == (1 * GIB, 20 * GIB)
    assert stage.peak_allocated_bytes == 21 * GIB
    assert stage.binds == "decode: the pipeline itself"


def test_short_of_memory_the_reserve_shrinks_to_what_is_needed(
    log: CallLog, calls: dict[str, CallSummary], three: dict[str, Weights]
) -> None:
    large = price(log, calls, three, whole("text_encoder", "transformer", "vae"), get("rtx-3090"))
    small = price(log, calls, three, whole("text_encoder", "transformer", "vae"), get("rtx-3060-12gb"))
    assert large.stages[-1].peak_reserved_bytes - small.stages[-1].peak_reserved_bytes == 1 * GIB


def test_seconds_follow_the_roofline(matmul: Op, device: Device) -> None:
    seconds = compute_seconds(((matmul, 2),), device)
    rate = device.dense_flops["bf16"] * device.efficiencies["matmul"]
    assert seconds.expected == pytest.approx(2 * matmul.flops / rate)
    assert seconds.by_kind[KINDS.index("matmul")] == seconds.expected
    assert seconds.low == pytest.approx(2 * matmul.flops / device.dense_flops["bf16"])


def test_small_op_costs_its_launch_and_a_view_nothing(device: Device) -> None:
    tiny = Op("aten.add.Tensor", "memory", "fp32", 0, 8, 4)
    view = Op("aten.view.default", "view", "fp32", 0, 0, 0)
    seconds = compute_seconds(((tiny, 1000), (view, 1000)), device)
    assert seconds.by_kind[KINDS.index("launch")] == pytest.approx(
        1000 * device.efficiencies["launch_s"], rel=1e-4
    ), "the rest is the kernel, which runs while the next is launched"
    assert seconds.expected == pytest.approx(1000 * device.efficiencies["launch_s"])


def test_missing_dtype_is_computed_in_fp32(matmul: Op) -> None:
    card = get("v100-16gb")
    assert "bf16" not in card.dense_flops
    rate = card.dense_flops["fp32"] * card.efficiencies["matmul"]
    assert compute_seconds(((matmul, 1),), card).expected == pytest.approx(matmul.flops / rate)


def test_low_and_high_enclose_the_expected_seconds(
    log: CallLog, calls: dict[str, CallSummary], three: dict[str, Weights], device: Device
) -> None:
    for stage in price(log, calls, three, whole("transformer"), device).stages:
        assert 0 < stage.low_s <= stage.seconds <= stage.high_s
        assert stage.high_s / stage.seconds == pytest.approx(stage.seconds / stage.low_s)
        assert sum(stage.by_kind_s.values()) == pytest.approx(stage.seconds)
