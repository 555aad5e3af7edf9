"""A PyTorch that needs more than is predicted is said."""

from __future__ import annotations

import pytest

import workbench as wb
from workbench.cost.regressions import torch_notes


@pytest.mark.parametrize(
    ("version", "dtype", "kind", "said"),
    [
        ("2.9.0+cu128", "bf16", "AutoencoderKLWan", True),
        ("2.9.1", "fp16", "AutoencoderKLMochi", True),
        ("2.9.1", "fp32", "AutoencoderKLWan", False),
        ("2.9.1", "fp16", "AutoencoderKL", False),
        ("2.9.1", "fp16", None, False),
        ("2.8.0+cu126", "bf16", "AutoencoderKLWan", False),
        ("2.13.0", "bf16", "AutoencoderKLWan", False),
        ("2.90.0", "bf16", "AutoencoderKLWan", False),
    ],
)
def test_half_precision_convolutions_of_pytorch_2_9(version, dtype, kind, said):
    assert bool(torch_notes(version, {"vae": dtype, "transformer": "bf16"}, kind)) is said


def test_an_estimate_says_it(monkeypatch):
    settings = {"dtype": {"vae": "bf16"}}
    assert not any("#166643" in note for note in wb.estimate("tiny", settings).notes)
    monkeypatch.setattr("workbench._estimate.versions", lambda: {"torch": "2.9.1+cu128"})
    assert any("#166643" in note for note in wb.estimate("tiny", settings).notes)
    assert not any("#166643" in note for note in wb.estimate("tiny", {}).notes)  # its VAE is fp32
