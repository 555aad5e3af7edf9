"""Attention backends: set on the denoiser alone, never for the whole process; what is missing is said."""

from __future__ import annotations

import pytest
import torch
from diffusers.models.attention_dispatch import _AttentionBackendRegistry

from workbench.cost.rehearsal import Target, rehearse
from workbench.devices import get as get_device
from workbench.models import get as get_model
from workbench.techniques import Attention, Settings, apply_all
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
    settings = Settings.of([Attention(backend=backend)])
    handle = apply_all(pipe, settings)
    trace, _ = rehearse(pipe, miniature.call_kwargs(settings, output_type="pt"), Target("cuda"))
    own = [
        op.name
        for path, op, _ in trace.walk()
        if path.endswith("attn1") and op.kind in ("attention", "matmul")
    ]
    fused = {name for name in own if "scaled_dot_product" in name}
    assert bool(fused) == (backend != "math")
    assert handle.report == [f"transformer attends with {BACKENDS[backend].traced_as}"]


def test_a_backend_of_another_package_is_said_to_be_priced_as_another():
    model, device = get_model("wan2.1-t2v-1.3b"), get_device("rtx-4090")
    assert Settings.of([Attention(backend="sage")]).notes(model, device) == (
        "attention sage is priced as _native_flash; scratch memory of its own is not included",
    )
    assert Settings.of([Attention(backend="flash")]).notes(model, device) == ()


@pytest.mark.parametrize(
    ("device", "kernel"), [("rtx-4090", "flash"), ("t4", "efficient_sm7x"), ("v100-16gb", "efficient_sm7x")]
)
def test_the_kernel_that_pytorch_picks(device, kernel):
    assert Settings().attention_kernel(get_device(device)) == kernel
