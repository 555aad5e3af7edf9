"""What hooks remember counts as a call's arguments: replays repeat it, calls made again have it, and little is traced."""

from __future__ import annotations

import pytest
import torch

from workbench._rehearsing import call_key
from workbench.cost._calls import Call
from workbench.cost._memo import Memo
from workbench.cost._trace import ENTER, RUN
from workbench.cost.calllog import CallLog
from workbench.cost.rehearsal import Target, rehearse, retrace
from workbench.models import Workload, get
from workbench.models._build import build_meta_pipeline, call_kwargs
from workbench.techniques import Cache, Quantization, Settings, apply_all

STEPS = 20
CACHES = {
    "first_block": (
        Cache(kind="first_block", hit_rate=0.4),
        3,
    ),  # the first call, one that is skipped, one that is not
    "taylorseer": (Cache(kind="taylorseer"), 4),  # no factors, one, all; extrapolated
    "taylorseer full": (Cache(kind="taylorseer", lite=False, order=2), 5),
    "magcache": (
        Cache(kind="magcache", mag_ratios=tuple([1.0] + [0.99] * 19)),
        4,
    ),  # and the last one, which forgets
    "pab": (Cache(kind="pab"), 3),
    "fastercache": (Cache(kind="fastercache"), 3),
}


def rehearsed(cache, memo=None):
    spec = get("tiny")
    pipe = build_meta_pipeline(spec)
    handle = apply_all(pipe, Settings.of([cache]))
    kwargs = call_kwargs(spec, Workload.for_model(spec, steps=STEPS), pipe)
    trace, calls = rehearse(pipe, kwargs, Target(), memo)
    return pipe, handle, trace, calls


@pytest.mark.parametrize("name", CACHES)
def test_a_long_cached_run_has_few_distinct_calls(name):
    cache, distinct = CACHES[name]
    _, _, trace, calls = rehearsed(cache)
    log = CallLog.of(trace, {ident: call_key(call) for ident, call in calls.items()})
    assert log.num_calls("transformer") == 2 * STEPS
    assert len([call for call in calls.values() if call.component == "transformer"]) <= distinct + 1
    keys = {key for key, component in log.keys().items() if component == "transformer"}
    assert 2 <= len(keys) <= distinct


@pytest.mark.parametrize("name", CACHES)
def test_a_call_made_again_is_the_call_that_was_made(name):
    cache, _ = CACHES[name]
    pipe, _, trace, calls = rehearsed(cache)
    made = {id(event[1]): event[1] for event in trace.events if event[0] == ENTER}
    for ident, call in calls.items():
        if call.component == "transformer":
            again = retrace(call, pipe.transformer, Target())
            assert list(steps_of(again)) == list(steps_of(made[ident]))
            assert (again.peak(), again.net()) == (made[ident].peak(), made[ident].net())


def steps_of(trace):
    """(op, bytes alive since the first op) of every op."""
    first = None
    for _, op, live in trace.walk():
        first = live if first is None else first
        yield op, live - first


def test_a_call_is_made_again_under_other_techniques():
    cache = Cache(kind="first_block", hit_rate=0.5)
    pipe, handle, _, calls = rehearsed(cache)
    handle.remove()
    [skipped] = [call for call in calls.values() if any(state.decision is True for state in call.states)]
    [full] = [call for call in calls.values() if any(state.decision is False for state in call.states)]
    flops = {}
    for name, more in {"plain": (), "int8": (Quantization(components={"transformer": "int8wo"}),)}.items():
        handle = apply_all(pipe, Settings.of([cache, *more]))
        traces = [retrace(call, pipe.transformer, Target()) for call in (skipped, full)]
        handle.remove()
        assert traces[0].flops < 0.6 * traces[1].flops
        flops[name] = [(trace.flops, trace.num_ops) for trace in traces]
    assert [ops for _, ops in flops["int8"]] > [ops for _, ops in flops["plain"]]
    assert [count for count, _ in flops["int8"]] == [count for count, _ in flops["plain"]]


def test_keys_tell_calls_apart_by_what_hooks_remember():
    cache = CACHES["taylorseer"][0]
    once, again = (
        {call_key(call) for call in rehearsed(cache)[3].values() if call.component == "transformer"}
        for _ in range(2)
    )
    assert once == again and len(once) == 4
    plain = {call_key(call) for call in rehearse_plain().values() if call.component == "transformer"}
    assert len(plain) == 1 and not plain & once


def rehearse_plain():
    spec = get("tiny")
    pipe = build_meta_pipeline(spec)
    return rehearse(pipe, call_kwargs(spec, Workload.for_model(spec, steps=2), pipe), Target())[1]


def test_one_memo_serves_runs_with_and_without_a_cache():
    spec, memo = get("tiny"), Memo()
    pipe = build_meta_pipeline(spec)
    kwargs = call_kwargs(spec, Workload.for_model(spec, steps=6), pipe)
    plain, _ = rehearse(pipe, kwargs, Target(), memo)
    for _ in range(2):
        handle = apply_all(pipe, Settings.of([CACHES["taylorseer"][0]]))
        memo.forget(pipe.transformer)
        cached, calls = rehearse(pipe, kwargs, Target(), memo)
        assert cached.flops < plain.flops
        assert (
            CallLog.of(cached, {ident: call_key(call) for ident, call in calls.items()}).num_calls(
                "transformer"
            )
            == 12
        )
        handle.remove()
        memo.forget(pipe.transformer)
    again, _ = rehearse(pipe, kwargs, Target(), memo)
    assert [(op, live) for _, op, live in again.walk()] == [(op, live) for _, op, live in plain.walk()]


def test_a_hook_that_tells_nothing_is_traced_at_every_step(monkeypatch):
    from workbench.techniques import _foreseen

    monkeypatch.delattr(_foreseen.Broadcast, "outlook")
    _, _, trace, calls = rehearsed(Cache(kind="pab"))
    monkeypatch.undo()
    _, _, told, _ = rehearsed(Cache(kind="pab"))
    denoiser = [call for call in calls.values() if call.component == "transformer"]
    assert len(denoiser) == STEPS  # both branches of a step are the same call
    assert [(op, live) for _, op, live in trace.walk()] == [(op, live) for _, op, live in told.walk()]


def test_a_hook_that_tells_wrong_counters_is_not_believed(monkeypatch):
    from workbench.cost._hookstates import Outlook
    from workbench.techniques import _foreseen

    honest = _foreseen.Broadcast.outlook
    monkeypatch.setattr(
        _foreseen.Broadcast,
        "outlook",
        lambda self, state: Outlook(honest(self, state).decision, {"iteration": -1}),
    )
    _, _, trace, _ = rehearsed(Cache(kind="pab"))
    monkeypatch.undo()
    _, _, told, _ = rehearsed(Cache(kind="pab"))
    assert [(op, live) for _, op, live in trace.walk()] == [(op, live) for _, op, live in told.walk()]


def test_a_look_at_a_computed_value_finds_what_was_stated():
    from workbench._errors import RehearsalError
    from workbench.cost._looks import finding
    from workbench.cost._recorder import Recorder

    recorder = Recorder()
    with recorder:
        computed = torch.empty(200, 200) * 2
        assert computed.is_meta
        with finding(0.25):
            assert computed.mean().item() == 0.25
        with pytest.raises(RehearsalError):
            computed.mean().item()
    means = [event for event in recorder.events if event[0] == RUN and event[1].name == "aten.mean.default"]
    assert len(means) == 2


def test_a_kept_half_of_an_output_is_another_call_than_a_tensor_of_its_size() -> None:
    # a cache that keeps the conditional half of a batch holds the memory of both halves
    batch = torch.empty(2, 640, 128, device="meta")
    half, alone = batch.chunk(2)[1], torch.empty(1, 640, 128, device="meta")
    assert (half.shape, half.stride()) == (alone.shape, alone.stride())
    keys = {
        call_key(Call("transformer", "Denoiser", (tensor,), {}))
        for tensor in (half, alone, batch.chunk(2)[0])
    }
    assert len(keys) == 2
