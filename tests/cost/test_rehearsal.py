"""The trace of real Wan models without weights, against figures that are known, and replay against the full trace."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from workbench.cost._calls import Call, watched
from workbench.cost._lowering import lowered
from workbench.cost._memo import Memo
from workbench.cost._recorder import Recorder
from workbench.cost._trace import Op, Trace
from workbench.cost.calllog import CallLog
from workbench.cost.rehearsal import Target, rehearse, retrace
from workbench.models import Workload, get
from workbench.models._build import build_component, build_meta_pipeline, call_kwargs

GIB = 2**30


def call_of(component: str, name: str, *shapes: tuple[int, ...], dtype: torch.dtype, **kwargs: Any) -> Call:
    tensors = tuple(torch.empty(shape, dtype=dtype, device="meta") for shape in shapes)
    return Call(component, name, tensors, kwargs)


def denoiser_call(height: int, width: int) -> Call:
    tensors = {
        "hidden_states": torch.empty(1, 16, 21, height // 8, width // 8, dtype=torch.bfloat16, device="meta"),
        "timestep": torch.zeros(1),
        "encoder_hidden_states": torch.empty(1, 512, 4096, dtype=torch.bfloat16, device="meta"),
    }
    return Call("transformer", "WanTransformer3DModel", (), {**tensors, "return_dict": False})


@pytest.mark.parametrize(("height", "width", "expected_gib"), [(720, 1280, 8.0), (480, 832, 3.5)])
def test_activations_of_the_14b_denoiser(height: int, width: int, expected_gib: float) -> None:
    module = build_component(get("wan2.1-t2v-14b"), "transformer")
    trace = retrace(denoiser_call(height, width), module, Target("cuda", "flash"))
    assert trace.peak() / GIB == pytest.approx(expected_gib, rel=0.03)


@pytest.mark.parametrize(("dtype", "expected_gib"), [("bf16", 10.1), ("fp32", 20.2)])
def test_peak_of_the_untiled_decode(dtype: str, expected_gib: float) -> None:
    module = build_component(get("wan2.1-t2v-14b").with_dtypes({"vae": dtype}), "vae")
    torch_dtype = {"bf16": torch.bfloat16, "fp32": torch.float32}[dtype]
    call = call_of(
        "vae", "AutoencoderKLWan.decode", (1, 16, 21, 90, 160), dtype=torch_dtype, return_dict=False
    )
    assert retrace(call, module, Target()).peak() / GIB == pytest.approx(expected_gib, rel=0.03)


def full_trace(call: Call, module: torch.nn.Module, target: Target) -> Trace:
    """The same call with nothing remembered: every op of every block, tile and frame is run."""
    recorder = Recorder(memo=None, cudnn=target.kind == "cuda")
    args, kwargs = call.arguments()
    with (
        torch.no_grad(),
        lowered(recorder, target.kind, target.attention),
        recorder,
        watched(recorder, {call.component: module}),
    ):
        recorder.adopt_all(args, kwargs)
        run: Callable[..., Any] = module if "." not in call.name else module.decode
        result = run(*args, **kwargs)
    trace = recorder.trace(call.name)
    del result
    return trace


def steps_of(trace: Trace) -> Iterator[tuple[Op, int]]:
    live: int | None = None
    for _, op, after in trace.walk():
        live = after if live is None else live
        yield op, after - live


def arguments_bytes(call: Call) -> int:
    args, kwargs = call.arguments()
    tensors = [v for v in (*args, *kwargs.values()) if isinstance(v, torch.Tensor)]
    return sum(t.untyped_storage().nbytes() for t in tensors)


@pytest.mark.parametrize("tiled", [False, True])
def test_replayed_decode_equals_the_full_trace_at_every_op(tiled: bool) -> None:
    vae = build_component(get("tiny"), "vae")
    if tiled:
        vae.enable_tiling(64, 64, 48, 48)
    call = call_of(
        "vae", "AutoencoderKLWan.decode", (1, 16, 5, 14, 20), dtype=torch.float32, return_dict=False
    )
    replayed, full = (
        list(steps_of(retrace(call, vae, Target()))),
        list(steps_of(full_trace(call, vae, Target()))),
    )
    assert len(replayed) == len(full) > 1000
    assert replayed == full


def test_replayed_denoiser_equals_the_full_trace_at_every_op() -> None:
    module = build_component(get("wan2.1-t2v-1.3b"), "transformer")
    tensors = {
        "hidden_states": torch.empty(1, 16, 5, 16, 16, dtype=torch.bfloat16, device="meta"),
        "timestep": torch.zeros(1),
        "encoder_hidden_states": torch.empty(1, 512, 4096, dtype=torch.bfloat16, device="meta"),
    }
    call = Call("transformer", "WanTransformer3DModel", (), {**tensors, "return_dict": False})
    for target in (Target("cuda", "flash"), Target("cuda", "math"), Target("cpu", "cpu")):
        assert list(steps_of(retrace(call, module, target))) == list(
            steps_of(full_trace(call, module, target))
        )


def test_passes_count_frames_tiles_and_windows() -> None:
    vae = build_component(get("tiny"), "vae")
    call = call_of("vae", "AutoencoderKLWan.decode", (1, 16, 5, 8, 8), dtype=torch.float32, return_dict=False)
    assert retrace(call, vae, Target()).passes() == 5  # frame by frame
    vae.enable_tiling(32, 32, 32, 32)
    assert retrace(call, vae, Target()).passes() == 5 * 4
    denoiser = build_component(get("wan2.1-t2v-1.3b"), "transformer")
    assert retrace(denoiser_call(480, 832), denoiser, Target()).passes() == 1


def test_math_attention_materialises_the_score_matrix() -> None:
    module = build_component(get("wan2.1-t2v-1.3b"), "transformer")
    flash = retrace(denoiser_call(480, 832), module, Target("cuda", "flash"))
    math = retrace(denoiser_call(480, 832), module, Target("cuda", "math"))
    tokens, heads = 21 * 30 * 52, 12
    assert math.peak() - flash.peak() > heads * tokens**2 * 2  # one bf16 score per pair of tokens and head
    assert math.flops == flash.flops


def test_log_of_a_run_has_the_stages_and_counts_of_the_workload() -> None:
    spec = get("tiny")
    workload = Workload.for_model(spec, steps=4)
    pipe = build_meta_pipeline(spec)
    trace, calls = rehearse(pipe, call_kwargs(spec, workload, pipe), Target())
    log = CallLog.of(trace, {ident: f"{call.component}:{call.name}" for ident, call in calls.items()})
    assert [stage.name for stage in log.stages] == ["text_encode", "denoise", "decode"]
    assert log.visits == ("text_encoder", "transformer", "vae")
    assert [log.num_calls(name) for name in log.visits] == [2, 8, 1]
    assert CallLog.from_json(log.to_json()).to_json() == log.to_json()


def test_two_experts_share_the_steps() -> None:
    spec = get("wan2.2-t2v-a14b")
    workload = Workload.for_model(spec, frames=5, height=64, width=64)
    pipe = build_meta_pipeline(spec)
    trace, calls = rehearse(pipe, call_kwargs(spec, workload, pipe), Target())
    log = CallLog.of(trace, {ident: f"{call.component}:{call.name}" for ident, call in calls.items()})
    assert [stage.name for stage in log.stages] == ["text_encode", "denoise", "denoise_2", "decode"]
    experts = log.num_calls("transformer"), log.num_calls("transformer_2")
    assert sum(experts) == 2 * workload.steps and min(experts) > 0


def _of_components(memo: Memo) -> set[object]:
    """Without the first step of a scheduler, which still holds what the run before left in it."""
    return {key for key in memo.calls if not str(key[1]).endswith(".step")}


def test_memo_serves_two_runs() -> None:
    spec = get("tiny")
    workload = Workload.for_model(spec, steps=2)
    pipe, memo = build_meta_pipeline(spec), Memo()
    first, _ = rehearse(pipe, call_kwargs(spec, workload, pipe), Target(), memo)
    second, _ = rehearse(pipe, call_kwargs(spec, workload, pipe), Target(), memo)
    known = _of_components(
        memo
    )  # the first decode leaves its caches as attributes, so the second is another call
    rehearse(pipe, call_kwargs(spec, workload, pipe), Target(), memo)
    assert _of_components(memo) == known
    assert known
    assert [(op, live) for _, op, live in first.walk()] == [(op, live) for _, op, live in second.walk()]
