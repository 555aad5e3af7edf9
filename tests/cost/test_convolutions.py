"""The scratch memory of single 3-D convolutions, against what others measured of `torch.cuda.max_memory_allocated`."""

from __future__ import annotations

import pytest
import torch

from workbench.cost._lowering import lowered
from workbench.cost._recorder import Recorder

GIB = 2**30


def convolved(dtype, shape, weight, padding, times=1):
    """Peak bytes of doing it so many times, the last output alive while the next is made, with input and filter."""
    recorder = Recorder(cudnn=True)
    x = torch.empty(shape, dtype=dtype, device="meta")
    filters = torch.empty(weight, dtype=dtype, device="meta")
    bias = torch.empty(weight[0], dtype=dtype, device="meta")
    with torch.no_grad(), lowered(recorder, "cuda", "flash"), recorder:
        for _ in range(times):
            out = torch.nn.functional.conv3d(x, filters, bias, padding=padding)
    del out
    return x.nbytes + filters.nbytes + bias.nbytes + recorder.trace("convolution").peak()


WAN = ((1, 96, 6, 626, 626), (96, 96, 3, 3, 3))
"""The shapes of issue 166643: those of Wan's decoder."""


def test_fp16_as_in_issue_95024():
    # "max alloc. (GB): 12.874233344"
    peak = convolved(torch.float16, (1, 64, 361, 370, 251), (32, 64, 3, 3, 3), 1)
    assert peak / 1e9 == pytest.approx(12.874233344, abs=2e-6)


def test_fp32_as_in_issue_166643():
    # PyTorch 2.8.0 and 2.9.1, CUDA 12.8, 100 times: 0.8427 before, 3.3555 after, "2.5128 GB for all operations" (in GiB)
    shape, weight = WAN
    before = 4 * (96 * 6 * 626 * 626 + 96 * 96 * 27)
    used = convolved(torch.float32, shape, weight, 0, times=2) - before
    assert used / GIB == pytest.approx(2.5128, abs=1e-4)


def test_bf16_as_with_cudnn_9_15_in_issue_166643():
    # A100, PyTorch 2.9.1, cuDNN 9.15.1.9, 100 times: 1.6773 after (GiB); its input and filter were cast from fp32, which were gone
    shape, weight = WAN
    peak = convolved(torch.bfloat16, shape, weight, 0, times=2)
    assert peak / GIB == pytest.approx(1.6773, abs=1e-3)


def test_fp32_in_2024_took_no_copy_of_the_output():
    # issue 128947: an A100, "peak: 16.98281955718994" (GiB): input and filter twice, the output once
    peak = convolved(torch.float32, (1, 256, 4, 1090, 1922), (64, 256, 3, 3, 3), 0)
    output = 64 * 2 * 1088 * 1920 * 4
    assert (peak - output) / GIB == pytest.approx(16.98281955718994, abs=1e-5)
    assert 1 < peak / GIB / 16.98281955718994 < 1.06  # we count on the safe side


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_2d_as_in_issue_123533(dtype):
    # fp16, 256 channels, 2048x1024: "1024 Allocated memory: 1.00 GB; Cached memory: 4.02 GB" (GiB), where input, output and their copies
    # are 4; the filter's 20 MiB segment is the rest. fp32 is counted alike, which nobody measured
    recorder = Recorder(cudnn=True)
    with torch.no_grad(), lowered(recorder, "cuda", "flash"), recorder:
        x = torch.empty(1, 256, 2048, 1024 if dtype == torch.float16 else 512, dtype=dtype, device="meta")
        filters = torch.empty(256, 256, 3, 3, dtype=dtype, device="meta")
        torch.nn.functional.conv2d(x, filters, padding=1)
    assert recorder.trace("convolution").peak() - filters.nbytes == 4 * GIB
