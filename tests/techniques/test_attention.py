"""Attention backends: set on the denoiser alone, never for the whole process; what is missing is said."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from diffusers.models.attention_dispatch import _AttentionBackendRegistry, dispatch_attention_fn

import workbench as wb
from workbench import Workload
from workbench._errors import RehearsalError
from workbench.cost._lowering import lowered
from workbench.cost._recorder import Recorder
from workbench.cost.rehearsal import Target, rehearse
from workbench.devices import get as get_device
from workbench.models import get as get_model
from workbench.techniques import Attention, Dtype, Settings, apply_all
from workbench.techniques._backends import BACKENDS


def chosen(pipe):
    return {str(block.attn1.processor._attention_backend) for block in pipe.transformer.blocks}


def test_the_process_wide_default_stays(miniature):
    before = _AttentionBackendRegistry._active_backend
    handle = apply_all(miniature.pipe, Settings.of([Attention(backend="math")]))
    assert chosen(miniature.pipe) == {"AttentionBackendName._NATIVE_MATH"}
    assert _AttentionBackendRegistry._active_backend == before
    handle.remove()
    assert chosen(miniature.pipe) == {"None"}


def test_a_backend_that_was_chosen_before_comes_back(miniature):
    outer = apply_all(miniature.pipe, Settings.of([Attention(backend="math")]))
    apply_all(miniature.pipe, Settings.of([Attention(backend="flash")])).remove()
    assert chosen(miniature.pipe) == {"AttentionBackendName._NATIVE_MATH"}
    outer.remove()


@pytest.mark.parametrize("backend", ["efficient", "cudnn", "sage", "xformers"])
def test_a_backend_for_gpus_says_so_on_a_machine_without(miniature, backend, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    handle = apply_all(miniature.pipe, Settings.of([Attention(backend=backend)]))
    assert handle.report == [
        f"attention {backend} was not set for transformer: this machine has no CUDA device"
    ]
    assert chosen(miniature.pipe) == {"None"}


def test_a_missing_package_is_said_in_the_librarys_words(miniature, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr("diffusers.models.attention_dispatch._CAN_USE_SAGE_ATTN", False)
    [sentence] = apply_all(miniature.pipe, Settings.of([Attention(backend="sage")])).report
    assert sentence.startswith(
        "attention sage was not set for transformer: Sage Attention backend 'sage' is not usable"
    )


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_backend_is_traced_without_weights(miniature, backend):
    pipe = miniature.weightless()
    half = (Dtype(components={"transformer": "bf16"}),) if backend == "sage" else ()
    settings = Settings.of([*half, Attention(backend=backend)])
    handle = apply_all(pipe, settings)
    trace, _ = rehearse(pipe, miniature.call_kwargs(settings, output_type="pt"), Target("cuda"))
    own = [
        op.name
        for path, op, _ in trace.walk()
        if path.endswith("attn1") and op.kind in ("attention", "matmul")
    ]
    fused = {name for name in own if "scaled_dot_product" in name}
    assert bool(fused) == (backend != "math")
    assert handle.report[-1] == f"transformer attends with {BACKENDS[backend].traced_as}"


def test_a_backend_of_another_package_is_said_to_be_priced_as_another():
    model, device = get_model("wan2.1-t2v-1.3b"), get_device("rtx-4090")
    assert Settings.of([Attention(backend="xformers")]).notes(model, device) == (
        "attention xformers is priced as _native_efficient; scratch memory of its own is not included",
    )
    for own in ("flash", "sage"):
        assert Settings.of([Attention(backend=own)]).notes(model, device) == ()


def test_sage_needs_its_quantised_copies():
    # Wan's self-attention: q, k, v and the output are one size; int8 of q and k, the values turned and in fp8 are 2.5 of it
    tokens, width = 1024, 1536
    recorder = Recorder()
    with torch.no_grad(), lowered(recorder, "cuda", "flash"), recorder:
        query = torch.empty(1, tokens, 12, 128, dtype=torch.bfloat16, device="meta")
        out = dispatch_attention_fn(query, query, query, backend="sage")
    size = tokens * width * 2
    assert out.shape == query.shape
    # the queries were made in here, too
    assert recorder.trace("sage").peak() == (1 + 1 + 2.5) * size
    wide = torch.empty(1, 64, 1, 256, dtype=torch.bfloat16, device="meta")
    refused = pytest.raises(RehearsalError, match=r"of at most 128 channels, got torch\.bfloat16 and 256")
    with torch.no_grad(), lowered(Recorder(), "cuda", "flash"), refused:
        dispatch_attention_fn(wide, wide, wide, backend="sage")


def test_hopper_pads_the_values_of_sage_first():
    peaks = []
    for best in ("flash", "cudnn"):
        recorder = Recorder()
        query = torch.empty(1, 1000, 4, 128, dtype=torch.bfloat16, device="meta")
        with torch.no_grad(), lowered(recorder, "cuda", best), recorder:
            dispatch_attention_fn(query, query, query, backend="sage")
        peaks.append(recorder.trace("sage").peak())
    assert peaks[1] - peaks[0] == 1024 * 4 * 128 * 2


@pytest.mark.parametrize(
    ("device", "kernel"),
    [
        ("rtx-4090", "flash"),
        ("rtx-3060-12gb", "flash"),
        ("t4", "efficient_sm7x"),
        ("v100-16gb", "efficient_sm7x"),
        ("rtx-2080-ti", "efficient_sm7x"),
        ("h100-80gb", "cudnn"),
        ("b200", "cudnn"),
        ("rtx-5090", "flash"),
    ],
)
def test_the_kernel_that_pytorch_picks(device, kernel):
    assert Settings().attention_kernel(get_device(device)) == kernel


def test_older_cards_have_the_memory_efficient_kernel_down_to_maxwell():
    turing = get_device("rtx-2080-ti")
    for capability, kernel in [((6, 1), "efficient_sm7x"), ((5, 0), "efficient_sm7x"), ((3, 5), "math")]:
        card = dataclasses.replace(turing, name="older", compute_capability=capability)
        assert Settings().attention_kernel(card) == kernel


def test_bf16_on_turing_falls_off_the_cliff_and_says_so():
    clip = Workload.for_model("wan2.1-t2v-1.3b", frames=17, height=256, width=256, steps=1)
    half = {"dtype": {"transformer": "fp16", "text_encoder": "fp32"}}
    bf16, fp16 = (wb.estimate(clip, settings, "rtx-2080-ti") for settings in ({}, half))
    stages = [next(s for s in cost.price.stages if s.name == "denoise") for cost in (bf16, fp16)]
    tokens = (17 + 3) // 4 * 256 * 256 // (16 * 16)
    scores = 2 * 12 * tokens**2 * 4  # of one branch of guidance: scores and their softmax in fp32
    assert stages[0].activations_bytes > scores
    assert stages[1].activations_bytes < scores
    assert "_safe_softmax" in stages[0].binds
    [note] = [note for note in bf16.notes if "score matrices" in note]
    assert note == (
        "NVIDIA GeForce RTX 2080 Ti 11 GB has no fused attention in bf16 (PyTorch's need compute capability 8.0): transformer holds whole "
        "score matrices in fp32; dtype fp16 avoids it where the model bears it"
    )
    assert not [note for note in fp16.notes if "score matrices" in note]
    assert not [note for note in wb.estimate(clip, {}, "rtx-3060-12gb").notes if "score matrices" in note]


def test_a_plan_for_turing_takes_fp16():
    plan = wb.plan(frames=17, height=480, width=832, steps=2, device="rtx-2080-ti", trials=8)
    dtype = plan.best.settings.get("dtype")
    assert isinstance(dtype, Dtype)
    assert dtype.components["transformer"] == "fp16"
    assert not any("_safe_softmax" in s.binds for s in plan.best.cost.price.stages if s.name == "denoise")


def test_pascal_has_the_fused_kernel_in_fp32_and_fp16_only():
    clip = Workload.for_model("wan2.1-t2v-1.3b", frames=17, height=256, width=256, steps=1)
    gtx_1080 = dataclasses.replace(get_device("rtx-2080-ti"), name="gtx-1080", compute_capability=(6, 1))
    bf16 = wb.estimate(clip, {}, gtx_1080)
    assert any("score matrices" in note for note in bf16.notes)
    peaks = {
        dtype: next(
            stage.activations_bytes
            for stage in wb.estimate(clip, {"dtype": {"transformer": dtype}}, gtx_1080).price.stages
            if stage.name == "denoise"
        )
        for dtype in ("fp16", "fp32")
    }
    denoise = next(stage for stage in bf16.price.stages if stage.name == "denoise")
    assert peaks["fp16"] < peaks["fp32"] < denoise.activations_bytes
