"""The outline of a run is its full price, as far as it goes: held against `price` on runs, weights and placements drawn at random."""

from __future__ import annotations

import random

import pytest

from workbench.cost import CallLog, CallSummary, Placement, Residency, Weights, price
from workbench.cost.calllog import Stage, StageCall
from workbench.cost.loading import Loaded
from workbench.cost.outline import Composer, Form
from workbench.cost.price import ComputeCache
from workbench.devices import get

MIB = 2**20
NAMES = ("text_encoder", "text_encoder_2", "transformer", "transformer_2", "vae")
STAGES = {
    "image_encode": ("vae",),
    "text_encode": ("text_encoder", "text_encoder_2"),
    "denoise": ("transformer",),
    "denoise_2": ("transformer_2", "transformer"),
    "decode": ("vae",),
}
PLACEMENTS = (
    Placement(),
    Placement(mode="whole"),
    Placement(mode="leaves"),
    Placement(mode="layers", stream=True),
    Placement(mode="blocks", blocks_per_group=2),
    Placement(mode="blocks", stream=True, pins_late=True, resident_blocks=2),
    Placement(mode="blocks", stream=True, resident_blocks=3),
    Placement(mode="blocks", on_disk=True),
)


def a_log(draw: random.Random) -> CallLog:
    stages = tuple(
        Stage(
            name=name,
            calls=tuple(
                StageCall(
                    component=component,
                    key=f"{component}:{name}",
                    count=draw.randint(1, 5),
                    live_bytes=draw.randint(0, 300 * MIB),
                )
                for component in components
            ),
            live_bytes=draw.randint(0, 900 * MIB),
            ops=(),
        )
        for name, components in STAGES.items()
    )
    visits = [(call.component, stage.name) for stage in stages for call in stage.calls]
    return CallLog(
        stages=stages,
        visits=tuple(component for component, _ in visits),
        visit_stages=tuple(stage for _, stage in visits),
        offload_order=NAMES,
        never_offloaded=draw.choice(((), ("text_encoder_2",))),
    )


def a_form(name: str, log: CallLog, draw: random.Random, matmul) -> Form:
    blocks = tuple(draw.randint(8, 64) * MIB for _ in range(draw.randint(4, 8)))
    total = sum(blocks) + draw.randint(0, 200) * MIB
    weights = Weights(
        total_bytes=total,
        pinned_bytes=2 * total,
        reserved_bytes=total + 2 * MIB,
        largest_leaf_bytes=draw.randint(1, 60) * MIB,
        blocks=blocks,
        blocks_pinned=tuple(2 * size for size in blocks),
        largest_layer_bytes=40 * MIB,
        leaf_window_bytes=70 * MIB,
        num_tensors=10,
        outside_bytes=draw.choice((0, min(20 * MIB, total - sum(blocks)))),
        layers=(total // 20,) * 20,
    )
    loaded = Loaded(
        plain_bytes=total, largest_bytes=MIB, stored_bytes=total, originals_bytes=draw.choice((0, MIB))
    )
    calls = {}
    for stage in log.stages:
        for call in stage.calls:
            if call.component == name:
                reserved = draw.randint(1, 500) * 2 * MIB
                needed = draw.randint(1, reserved // MIB) * MIB
                calls[call.key] = CallSummary(
                    name=call.key,
                    peak_bytes=needed,
                    reserved_bytes=reserved,
                    needed_bytes=needed,
                    given_bytes=0,
                    small_bytes=0,
                    requests=(reserved, -1),
                    passes=draw.randint(1, 3),
                    binds=("", "aten.mm.default"),
                    ops=((matmul, draw.randint(1, 40)),),
                )
    return Form(weights=weights, loaded=loaded, calls=calls)


@pytest.mark.parametrize("seed", range(6))
def test_seconds_host_ram_and_what_is_missing_are_those_of_the_price(seed: int, matmul) -> None:
    draw = random.Random(seed)
    log = a_log(draw)
    forms = {name: [a_form(name, log, draw, matmul) for _ in range(2)] for name in NAMES}
    residencies = [Residency(placements={name: draw.choice(PLACEMENTS) for name in NAMES}) for _ in range(40)]
    fits, misses = 0, 0
    for cap in (2, 3, 6):
        device = get("rtx-3090").capped(memory_bytes=cap * 1024 * MIB)
        compute = ComputeCache(device)
        composer = Composer(device, compute)
        for residency in residencies:
            chosen = {name: draw.choice(of_one) for name, of_one in forms.items()}
            outline = composer.outline(log, chosen, residency, 77 * MIB)
            priced = price(
                log,
                {key: call for form in chosen.values() for key, call in form.calls.items()},
                {name: form.weights for name, form in chosen.items()},
                residency,
                device,
                compute,
                frames_bytes=77 * MIB,
                loaded={name: form.loaded for name, form in chosen.items()},
            )
            assert outline.total_s == priced.seconds[0]
            assert outline.stage_s == {stage.name: stage.seconds for stage in priced.stages}
            assert outline.host_ram_bytes == priced.host_ram_bytes
            least = max(outline.least_vram_bytes.values())
            assert (least <= device.memory_bytes) == (priced.required_vram_bytes <= device.memory_bytes)
            if least > device.memory_bytes:
                assert least == priced.required_vram_bytes
                misses += 1
            else:
                fits += 1
        # some of all stages were worked out for an earlier run
        assert composer.num_stage_times < len(residencies) * len(log.stages)
    assert fits > 10 and misses > 10, (fits, misses)
