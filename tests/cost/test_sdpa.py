"""The kernel of attention, for each generation of cards, as PyTorch's sdp_utils.cpp chooses it, and what it needs to work in."""

from __future__ import annotations

import math

import pytest
import torch

from workbench.cost._lowering import lowered
from workbench.cost._recorder import Recorder
from workbench.cost._sdpa import GENERATIONS, cuda_kernel

BF16, FP16, FP32 = torch.bfloat16, torch.float16, torch.float32


def operand(width=128, *, dtype=BF16, tokens=600, heads=4, batch=1):
    return torch.empty(batch, heads, tokens, width, dtype=dtype, device="meta")


def chosen(best, *, width=128, value_width=None, dtype=BF16, mask=None, causal=False, keys=600, **more):
    query, key = operand(width, dtype=dtype), operand(width, dtype=dtype, tokens=keys)
    value = operand(value_width or width, dtype=dtype, tokens=keys)
    return cuda_kernel(best, query, key, value, mask, causal=causal, gqa=more.pop("gqa", False), **more)


def masked(dtype=BF16):
    return torch.empty(600, 600, dtype=dtype, device="meta")


@pytest.mark.parametrize(
    ("best", "options", "kernel"),
    [
        # plain half precision
        ("cudnn", {}, "cudnn"),
        ("flash", {}, "flash"),
        ("efficient", {}, "efficient"),
        ("efficient_sm7x", {"dtype": FP16}, "efficient"),
        # bf16 before Ampere has no fused kernel
        ("efficient_sm7x", {}, "math"),
        # fp32: only the memory-efficient kernel takes it
        ("cudnn", {"dtype": FP32}, "efficient"),
        ("flash", {"dtype": FP32}, "efficient"),
        ("efficient_sm7x", {"dtype": FP32}, "efficient"),
        # a mask: never FlashAttention
        ("cudnn", {"mask": masked()}, "cudnn"),
        ("flash", {"mask": masked()}, "efficient"),
        ("efficient_sm7x", {"dtype": FP16, "mask": masked(FP16)}, "efficient"),
        ("flash", {"mask": masked().t()}, "math"),
        # widths of heads
        ("cudnn", {"width": 256}, "flash"),
        ("cudnn", {"width": 132}, "flash"),
        ("flash", {"width": 256}, "flash"),
        ("flash", {"width": 264}, "efficient"),
        ("flash", {"width": 260}, "math"),
        ("flash", {"width": 12, "dtype": FP32}, "efficient"),
        ("flash", {"width": 10, "dtype": FP32}, "math"),
        ("efficient_sm7x", {"width": 10, "dtype": FP32}, "efficient"),
        ("efficient_sm7x", {"width": 12, "dtype": FP16}, "math"),
        ("flash", {"width": 64, "value_width": 128}, "efficient"),
        # causal with another number of keys than queries
        ("flash", {"causal": True, "keys": 300}, "efficient"),
        # one key only
        ("cudnn", {"keys": 1}, "flash"),
        ("math", {}, "math"),
        ("flash", {"forced": "math"}, "math"),
        ("flash", {"forced": "cudnn"}, "cudnn"),
    ],
)
def test_the_kernel_that_takes_the_call(best, options, kernel):
    assert best in GENERATIONS
    assert chosen(best, **options) == kernel


def test_grouped_queries_have_no_memory_efficient_kernel():
    query, key = operand(heads=8), operand(heads=2)
    kernels = [
        cuda_kernel(best, query, key, key, None, causal=False, gqa=True)
        for best in ("cudnn", "flash", "efficient")
    ]
    assert kernels == ["cudnn", "flash", "math"]
    assert cuda_kernel("flash", query, key, key, None, causal=False, gqa=False) == "math"


def test_operands_of_three_dimensions_are_for_the_fallback():
    query = torch.empty(4, 600, 64, dtype=BF16, device="meta")
    assert cuda_kernel("flash", query, query, query, None, causal=False, gqa=False) == "math"


def peak(best, query, mask=None):
    recorder = Recorder()
    with torch.no_grad(), lowered(recorder, "cuda", best), recorder:
        torch.nn.functional.scaled_dot_product_attention(query, query, query, mask)
    return recorder.trace("attention")


def test_the_fallback_holds_the_score_matrix_in_fp32():
    query = operand(tokens=4096, heads=4)
    scores = 4 * 4096**2 * 4
    assert peak("flash", query).peak() < 3 * query.nbytes
    cliff = peak("efficient_sm7x", query)
    assert cliff.peak() >= 2 * scores  # the scores and their softmax
    assert {op.kind for _, op, _ in cliff.walk()} >= {"matmul"}


def test_wide_heads_in_half_precision_accumulate_in_fp32():
    wide = operand(512, dtype=FP16, heads=1)
    assert wide.shape[-1] > 256  # too wide for FlashAttention, as in the autoencoders of Stable Diffusion
    ops = {op.name: op for _, op, _ in peak("flash", wide).walk()}
    assert ops["aten._scaled_dot_product_efficient_attention.default"].workspace_bytes == 4 * wide.numel()
    for narrower in (operand(512, dtype=FP32, heads=1), operand(128, dtype=FP16)):
        own = {op.name: op for _, op, _ in peak("efficient", narrower).walk()}
        assert own["aten._scaled_dot_product_efficient_attention.default"].workspace_bytes == 0


@pytest.mark.parametrize("is_transposed", [True, False])
def test_cudnn_lays_its_output_out_as_the_queries(is_transposed):
    query = torch.empty(1, 600, 4, 128, dtype=BF16, device="meta").transpose(1, 2)
    query = query if is_transposed else query.contiguous()
    recorder = Recorder()
    with torch.no_grad(), lowered(recorder, "cuda", "cudnn"), recorder:
        out = torch.nn.functional.scaled_dot_product_attention(query, query, query)
    assert (out.shape, out.stride()) == (query.shape, query.stride())
    assert recorder.trace("attention").peak() == pytest.approx(math.prod(out.shape) * 2, abs=512)
