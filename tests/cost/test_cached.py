"""What a run reserves over its calls, against one replay of the same run as a whole."""

from __future__ import annotations

import dataclasses

import pytest

from workbench._estimate import Predictor
from workbench.cost._cached import Cached, Sequences
from workbench.cost._trace import ALLOC, ENTER, FREE, Trace
from workbench.cost.allocator import Allocator, AllocatorOptions, replay
from workbench.cost.calllog import CallLog, CallSummary, StageCall, call_name
from workbench.cost.price import price
from workbench.cost.residency import RESIDENT, Placement, Residency
from workbench.cost.turns import sending_back
from workbench.devices import get
from workbench.models import Workload
from workbench.techniques import Settings

MIB = 2**20
EXPANDABLE = AllocatorOptions(expandable_segments=True)


def trace(name: str, *sizes_mib: int, output_mib: int = 0) -> Trace:
    """A call that holds all of these at once, frees them, and returns one more."""
    events = [(ALLOC, k, size * MIB) for k, size in enumerate(sizes_mib)]
    output = [(ALLOC, len(sizes_mib), output_mib * MIB)] if output_mib else []
    return Trace(name, [*events, *output, *((FREE, k) for k in range(len(sizes_mib)))])


def call(component: str, live_mib: int = 0) -> StageCall:
    return StageCall(component=component, key=component, count=1, live_bytes=live_mib * MIB)


def reserved(cached: Cached, traced: Trace, component: str, weights, placement=RESIDENT, live_mib: int = 0):
    """(whole, own) MiB after a call on a device with plenty of memory."""
    summary = CallSummary.of(traced, cached.sequences.options)
    found = cached.reserved(
        "stage",
        call(component, live_mib),
        summary,
        placement,
        weights(100 * MIB),
        live_mib * MIB,
        lambda _: True,
    )
    return tuple(num_bytes / MIB for num_bytes in found)


def test_segments_that_fit_are_used_again(weights) -> None:
    cached = Cached(Sequences())
    assert reserved(cached, trace("encoder", 60, 40), "encoder", weights) == (100, 100)
    assert reserved(cached, trace("denoiser", 50, 30), "denoiser", weights) == (100, 80)


def test_segments_that_do_not_fit_come_on_top(weights) -> None:
    cached = Cached(Sequences())
    reserved(cached, trace("denoiser", 60, 40), "denoiser", weights)
    assert reserved(cached, trace("decoder", 80), "decoder", weights) == (180, 80)


def test_expandable_segment_grows_to_the_largest_call(weights) -> None:
    cached = Cached(Sequences(EXPANDABLE))
    assert reserved(cached, trace("denoiser", 60, 40), "denoiser", weights) == (100, 100)
    assert reserved(cached, trace("decoder", 80, 40), "decoder", weights) == (120, 120)


def test_outputs_are_alive_in_the_next_call_and_counted_once(weights) -> None:
    # the encoder's 30 lie in a segment of 30; the denoiser finds its 60 and is called with those 30
    cached = Cached(Sequences())
    assert reserved(cached, trace("encoder", 60, output_mib=30), "encoder", weights) == (90, 90)
    assert reserved(cached, trace("denoiser", 60, 20), "denoiser", weights, live_mib=30) == (110, 110)


def test_moving_models_in_and_out_empties_the_cache(weights) -> None:
    cached = Cached(Sequences(), frozenset({("stage", "denoiser")}))
    whole = Placement(mode="whole")
    reserved(cached, trace("encoder", 60), "encoder", weights, whole)
    assert reserved(cached, trace("encoder", 90), "encoder", weights, whole) == (150, 90)
    assert reserved(cached, trace("denoiser", 100), "denoiser", weights, whole) == (100, 100)
    assert reserved(cached, trace("denoiser", 110), "denoiser", weights, whole) == (
        210,
        110,
    )  # nothing is sent back


def test_cache_is_emptied_where_a_model_is_sent_back() -> None:
    visits = ("vae", "text_encoder", "transformer", "vae")
    log = CallLog(
        stages=(),
        visits=visits,
        visit_stages=("image_encode", "text_encode", "denoise", "decode"),
        offload_order=("text_encoder", "transformer", "vae"),
    )
    residency = Residency(placements={name: Placement(mode="whole") for name in visits})
    # the autoencoder that has encoded an image is sent back by nobody, and neither is anything when the call is over
    assert sending_back(log, residency) == {("denoise", "transformer"), ("decode", "vae")}
    assert not sending_back(log, Residency())


def test_cache_stays_where_nothing_is_sent_back(log, calls, weights) -> None:
    # an autoencoder that encodes before the denoiser runs: the text encoder stays, and so does what it has left
    pieces = CallSummary.of(trace("Encoder", *([512] * 8)))
    one = CallSummary.of(trace("Decoder", 2048))
    calls = {**calls, "text_encoder": pieces, "vae": one}
    three = {name: weights(MIB) for name in ("text_encoder", "transformer", "vae")}
    whole = Residency(placements={name: Placement(mode="whole") for name in three})
    encode, _, decode = log.stages
    early = dataclasses.replace(
        log, stages=(encode, decode), visits=("text_encoder", "vae"), visit_stages=("text_encode", "decode")
    )
    assert price(early, calls, three, whole, get("h200")).stages[-1].cached_bytes > 3 * 1024 * MIB
    assert price(log, calls, three, whole, get("h200")).stages[-1].cached_bytes == 0


def test_weights_that_come_and_go_leave_their_room(weights) -> None:
    leaves = Placement(mode="leaves")
    cached = Cached(Sequences())
    summary = CallSummary.of(trace("encoder", 60))
    whole, own = cached.reserved(
        "stage", call("encoder"), summary, leaves, weights(200 * MIB), 200 * MIB, lambda _: True
    )
    assert (whole, own) == (260 * MIB, 260 * MIB)
    summary = CallSummary.of(trace("decoder", 150))
    whole, own = cached.reserved("stage", call("decoder"), summary, RESIDENT, weights(0), 0, lambda _: True)
    assert (whole, own) == (410 * MIB, 150 * MIB)  # the 150 are taken to find neither the 60 nor the 200


def test_weights_that_came_on_a_stream_leave_room_that_nothing_else_can_use(weights) -> None:
    streamed = Placement(mode="layers", stream=True)
    cached = Cached(Sequences())
    for component, at_most, expected in (
        ("encoder", 1000, (260, 260)),
        (
            "decoder",
            1000,
            (200 + 60 + 150, 150),
        ),  # nor do the 150 find room in the 60
        ("decoder", 300, (150, 150)),
    ):
        traced = trace(component, 60 if component == "encoder" else 150)
        held = 200 * MIB if component == "encoder" else 0
        summary = CallSummary.of(traced)
        placement = streamed if component == "encoder" else RESIDENT
        found = cached.reserved(
            "stage",
            call(component),
            summary,
            placement,
            weights(held),
            held,
            lambda most, limit=at_most: most <= limit * MIB,
        )
        assert found == tuple(size * MIB for size in expected), component


def test_call_that_replaces_features_is_taken_alone(weights) -> None:
    cached = Cached(Sequences())
    filling = trace("filling", 60, output_mib=40)
    replacing = Trace(
        "replacing", [(FREE, -1), (ALLOC, 0, 70 * MIB), (FREE, 0), (ALLOC, 1, 40 * MIB)], (40 * MIB,)
    )
    assert reserved(cached, filling, "denoiser", weights) == (100, 100)
    # the features of 40, in whose segment of 40 the new ones lie, and 70
    assert reserved(cached, replacing, "denoiser", weights, live_mib=40) == (110, 110)


def test_short_of_memory_the_cache_is_given_back(weights) -> None:
    cached = Cached(Sequences())
    first, second = (CallSummary.of(trace(name, size)) for name, size in (("denoiser", 60), ("decoder", 80)))
    for summary in (first, second):
        found = cached.reserved(
            "stage", call(summary.name), summary, RESIDENT, weights(0), 0, lambda most: most < 100 * MIB
        )
    assert found == (80 * MIB, 80 * MIB)


def test_needless_cache_does_not_make_a_stage_the_one_that_needs_most(log, calls, weights) -> None:
    # the encoder leaves 1 GiB; of that 100 MiB serve the pipeline and 512 the denoiser, which takes 7 pieces of 512 more; in none of them
    # is room for the decoder's 2 GiB
    pieces = CallSummary.of(trace("Denoiser", *([512] * 8)))
    one = CallSummary.of(trace("Decoder", 2048))
    calls = {**calls, "transformer": pieces, "vae": one}
    three = {name: weights(MIB) for name in ("text_encoder", "transformer", "vae")}
    priced = price(log, calls, three, Residency(), get("h200"))
    decode = priced.stages[-1]
    assert decode.cached_bytes == (4 * 1024 + 512 - 100) * MIB
    assert decode.peak_reserved_bytes == priced.peak_reserved_bytes
    assert priced.peak_stage == "denoise"


@pytest.mark.parametrize("options", [AllocatorOptions(), EXPANDABLE], ids=["default", "expandable"])
def test_real_run_reserves_what_its_replay_as_a_whole_does(
    options: AllocatorOptions, tmp_path, monkeypatch
) -> None:
    monkeypatch.setenv("WORKBENCH_CACHE_DIR", str(tmp_path))
    workload = Workload.for_model("wan2.1-t2v-1.3b", frames=17, height=256, width=384, steps=2)
    rehearsing = Predictor(workload).rehearsing(Settings())
    run, names = rehearsing.named()
    traced = {
        names[id(event[1])]: event[1] for event in run.events if event[0] == ENTER and id(event[1]) in names
    }
    sequence, most = (), 0
    sequences = Sequences(options)
    for stage in rehearsing.log.stages:
        for made in stage.calls:
            summary = CallSummary.of(traced[call_name(made.key)], options)
            sequence = (*sequence, (summary, made.live_bytes))
            most = max(most, sequences.reserved(sequence))
    whole = replay(run, Allocator(options=options)).peak_reserved
    # the pipeline's own tensors, of which only the sum is known here, cut what is free otherwise than they really do
    assert most == pytest.approx(whole, rel=0.02)
