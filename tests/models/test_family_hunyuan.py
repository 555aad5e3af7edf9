"""The HunyuanVideo family: parameter counts, what a rehearsal calls, and the real pipelines at toy widths op for op."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

import workbench
from workbench.cost._memo import Memo
from workbench.cost._trace import ENTER, Trace
from workbench.cost.calllog import CallLog
from workbench.cost.rehearsal import Target, record, rehearse
from workbench.models import ModelSpec, Workload, get
from workbench.models._build import (
    assemble,
    build_component,
    build_meta_pipeline,
    call_kwargs,
    construct,
    set_guidance,
)
from workbench.models.framepack import ROWS as FRAMEPACK
from workbench.models.hunyuan import ROWS as HUNYUAN
from workbench.models.hunyuan15 import ROWS as HUNYUAN15

NAMES = [spec.name for spec in (*HUNYUAN, *FRAMEPACK, *HUNYUAN15)]
DISTINCT = [
    "hunyuanvideo",
    "hunyuanvideo-i2v",
    "framepacki2v_hy",
    "hunyuanvideo-1.5-diffusers-480p_t2v",
    "hunyuanvideo-1.5-diffusers-480p_i2v",
    "hunyuanvideo-1.5-diffusers-480p_i2v_step_distilled",
]
"""One of each way of being built and called."""


@pytest.mark.parametrize("name", NAMES)
def test_parameter_counts_are_the_published_ones(name: str) -> None:
    spec = get(name)
    for component, published in spec.parameters.items():
        count = sum(p.numel() for p in build_component(spec, component).parameters())
        assert count == pytest.approx(published, rel=0.01), component


def test_llava_is_its_llama_with_a_head_and_eyes() -> None:
    """Nobody published a count of the image-to-video text encoder: it is the other's, plus output head, CLIP tower and projector."""
    llama, llava = (
        sum(p.numel() for p in build_component(get(name), "text_encoder").parameters())
        for name in ("hunyuanvideo", "hunyuanvideo-i2v")
    )
    head = 128320 * 4096
    projector = 1024 * 4096 + 4096 + 4096 * 4096 + 4096
    assert llava - llama - head - projector == pytest.approx(
        303.5e6, rel=0.01
    )  # openai/clip-vit-large-patch14-336


def log_of(spec: ModelSpec, workload: Workload, **more: Any) -> CallLog:
    pipe = build_meta_pipeline(spec)
    set_guidance(workload, pipe)
    trace, calls = rehearse(pipe, {**call_kwargs(spec, workload, pipe), **more}, Target(), Memo())
    return CallLog.of(
        trace, {ident: f"{call.component}:{call.name}:{ident}" for ident, call in calls.items()}
    )


def counts(log: CallLog) -> dict[str, int]:
    return {stage.name: sum(call.count for call in stage.calls) for stage in log.stages}


STEPS = 3
COUNTS = {
    # two encoders; the scale is an input, so one call per step
    "hunyuanvideo": {"text_encode": 2, "denoise": STEPS, "decode": 1},
    "hunyuanvideo-i2v": {"image_encode": 1, "text_encode": 2, "denoise": STEPS, "decode": 1},
    # 40 frames are two sections of 33: image encoder and VAE see the image once
    "framepacki2v_hy": {"text_encode": 2, "image_encode": 2, "denoise": 2 * STEPS, "decode": 2},
    # the prompt has no text in quotation marks, so ByT5 is not called
    "hunyuanvideo-1.5-diffusers-480p_t2v": {"text_encode": 2, "denoise": 2 * STEPS, "decode": 1},
    "hunyuanvideo-1.5-diffusers-480p_i2v": {
        "image_encode": 2,
        "text_encode": 2,
        "denoise": 2 * STEPS,
        "decode": 1,
    },
    "hunyuanvideo-1.5-diffusers-480p_i2v_step_distilled": {
        "image_encode": 2,
        "text_encode": 1,
        "denoise": STEPS,
        "decode": 1,
    },
}


def small(spec: ModelSpec, **more: Any) -> Workload:
    """A workload of a few latents, at a size that the pipeline makes as it is."""
    frames = 40 if spec.name.startswith("framepack") else 5
    return Workload.for_model(spec, frames=frames, height=480, width=848, steps=STEPS, **more)


@pytest.mark.parametrize("name", DISTINCT)
def test_calls_of_a_rehearsal(name: str) -> None:
    spec = get(name)
    log = log_of(spec, small(spec))
    assert counts(log) == COUNTS[name]
    assert log.video is not None and log.video[1:] == (480, 848)


def test_true_guidance_is_a_second_call_and_embedded_guidance_is_not() -> None:
    spec = get("hunyuanvideo")
    assert log_of(spec, small(spec, guidance=1.0)).num_calls("transformer") == STEPS
    guided = log_of(spec, small(spec), true_cfg_scale=6.0)
    assert guided.num_calls("transformer") == 2 * STEPS
    assert guided.num_calls("text_encoder") == 2


def test_the_guider_takes_the_scale_of_the_workload() -> None:
    spec = get("hunyuanvideo-1.5-diffusers-480p_t2v")
    assert log_of(spec, small(spec, guidance=1.0)).num_calls("transformer") == STEPS
    distilled = get("hunyuanvideo-1.5-diffusers-480p_t2v_distilled")
    assert log_of(distilled, small(distilled)).num_calls("transformer") == STEPS
    assert log_of(distilled, small(distilled, guidance=6.0)).num_calls("transformer") == 2 * STEPS


@pytest.mark.parametrize(("frames", "sections", "made"), [(33, 1, 37), (34, 2, 73), (129, 4, 145)])
def test_framepack_makes_whole_sections(frames: int, sections: int, made: int) -> None:
    spec = get("framepacki2v_hy")
    log = log_of(spec, Workload.for_model(spec, frames=frames, height=128, width=128, steps=1))
    assert log.num_calls("transformer") == sections
    assert log.video == (made, 128, 128)


def test_framepack_denoises_every_section_in_the_same_memory() -> None:
    spec = get("framepacki2v_hy")
    workload = Workload.for_model(spec, frames=330, height=128, width=128, steps=1)
    pipe = build_meta_pipeline(spec)
    trace, _ = rehearse(pipe, call_kwargs(spec, workload, pipe), Target(), Memo())
    peaks = [event[1].peak() for event in trace.events if event[0] == ENTER and event[4] == "transformer"]
    assert len(peaks) == 10
    assert min(peaks) == max(peaks)


def test_a_plan_says_what_is_made_instead() -> None:
    spec = get("framepacki2v_hy")
    workload = Workload.for_model(spec, frames=129, height=128, width=128, steps=1)
    assert (
        "asked for 129 frames of 128 × 128, the pipeline makes 145 of 128 × 128"
        in workbench.estimate(workload, device="h100-80gb").notes
    )
    cut = Workload.for_model("hunyuanvideo-1.5-diffusers-480p_i2v", frames=5, height=480, width=832, steps=1)
    assert (
        "asked for 5 frames of 480 × 832, the pipeline makes 5 of 480 × 816"
        in workbench.estimate(cut, device="h100-80gb").notes
    )


@pytest.mark.parametrize(
    ("settings", "published"), [({"vae_tiling": {}}, 43.58), ({}, 60.09)], ids=["tiled", "whole"]
)
def test_peak_is_the_measured_one(settings: dict[str, Any], published: float) -> None:
    """121 frames of 512 x 768, bf16 and fp16, everything on the GPU: `max_memory_allocated` in GiB, finetrainers' documentation."""
    workload = Workload.for_model("hunyuanvideo", frames=121, height=512, width=768)
    memory = workbench.estimate(workload, settings, device="h100-80gb").to_json()["memory"]
    assert memory["peak_allocated_gib"] == pytest.approx(published, rel=0.001)
    assert memory["peak_stage"] == ("denoise" if settings else "decode")


def kernels(trace: Trace) -> list[tuple[str, int]]:
    """Ops that touch data, and the bytes alive after each. Which views a composite takes on the way differs between devices, and to set
    elements to a number takes a tensor of one everywhere but on the CPU."""
    passed_over = ("aten.scalar_tensor.default", "aten.lift_fresh.default")
    return [
        (op.name, live) for _, op, live in trace.walk() if op.kind != "view" and op.name not in passed_over
    ]


@pytest.mark.parametrize("name", DISTINCT)
def test_the_real_pipeline_does_what_was_predicted(
    name: str, shrink: Callable[[ModelSpec], ModelSpec]
) -> None:
    """Real classes with random weights, run on the CPU: the same ops in the same order, and after each the same bytes alive."""
    spec = shrink(get(name).with_dtypes(dict.fromkeys(get(name).component_names(), "fp32")))
    # below 128 pixels FramePack's image is small enough to keep its values and with them its layout, which 3-D convolutions on a CPU lose
    frames, size = (34, 128) if name.startswith("framepack") else (5, 32)
    workload = Workload.for_model(spec, frames=frames, height=size, width=size, steps=2)
    torch.manual_seed(0)
    real = assemble(spec, {part.name: construct(part).eval() for part in spec.components})
    real.set_progress_bar_config(disable=True)
    weightless = build_meta_pipeline(spec)
    ran = record(real, call_kwargs(spec, workload, real))
    predicted, _ = rehearse(weightless, call_kwargs(spec, workload, weightless), Target("cpu"), Memo())
    ours, theirs = kernels(predicted), kernels(ran)
    assert [name for name, _ in ours] == [name for name, _ in theirs]
    apart = [abs(mine - real) for (_, mine), (_, real) in zip(ours, theirs, strict=True)]
    assert max(apart) <= 8, "bytes of a number that is being set"
