"""Verification says what a technique does: acts, does nothing, fails, is refused; and whether removal leaves nothing behind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pytest
from torch import nn

from workbench.techniques import AbstractTechnique, Handle, Settings
from workbench.techniques._tensors import modules_of

SMALL = "small"


def verified(bench, name, settings, **workload):
    return bench(name).verify(settings, **workload)


@pytest.mark.parametrize(
    ("name", "settings", "where", "change"),
    [
        (SMALL, {"quantization": {"transformer": "int8wo"}}, "run on the CPU", "weights x 0."),
        (SMALL, {"quantization": {"transformer": "fp8dq"}}, "traced for CUDA", "weights x 0."),
        (SMALL, {"attention": {"backend": "math"}}, "run on the CPU", "its ops"),
        (SMALL, {"attention": {"backend": "efficient"}}, "traced for CUDA", "its ops"),
        (SMALL, {"offload": {"mode": "sequential"}}, "run on the CPU", "hooks on "),
        # larger than the twin's frames: seen at the native size
        ("ltx-video", {"vae_tiling": {}}, "traced for CUDA", "its ops"),
    ],
)
def test_what_acts_is_seen_to_act(bench, name, settings, where, change):
    found = verified(bench, name, settings)
    assert (found.verdict, found.where, found.restored, found.disagreement) == ("acts", where, None, None)
    assert change in found.detail


def test_a_change_is_measured(bench):
    found = verified(bench, SMALL, {"cache": {"kind": "taylorseer", "interval": 2, "warmup_steps": 2}})
    assert found.flops_ratio < 1 and found.output_difference > 0 and found.hooks > 0
    assert found.weights_ratio == 1
    assert found.to_json()["settings"] == {"cache": {"kind": "taylorseer", "interval": 2, "warmup_steps": 2}}


def test_what_only_a_gpu_can_show_is_said(bench):
    found = verified(bench, SMALL, {"offload": {"mode": "group", "stream": True}})
    assert (found.verdict, found.disagreement) == ("not testable here", None)
    assert "CUDA stream" in found.detail


def test_a_refusal_that_is_right_is_no_disagreement(bench):
    found = verified(bench, SMALL, {"cfg": {"mode": "batched"}})
    assert found.verdict == "does nothing" and found.refusal is not None and found.disagreement is None


def a_bias(pipe):
    layers = modules_of(pipe)["transformer"].modules()
    return next(layer.bias for layer in layers if isinstance(layer, nn.Linear) and layer.bias is not None)


@dataclass(frozen=True, kw_only=True, slots=True)
class Made(AbstractTechnique):
    """A technique that does as it is told."""

    id: ClassVar[str] = "made"

    does: str
    refuses: str | None = None

    def applies_to(self, model, device):
        return self.refuses

    def apply(self, pipe):
        handle = Handle()
        handle.did("was applied")
        match self.does:
            case "fails":
                raise RuntimeError("no such luck\nsecond line")
            case "acts":
                bias = a_bias(pipe)
                before, bias.data = bias.data, bias.data + 1
                handle.undoing(lambda: setattr(bias, "data", before))
            case "leaves a flag":
                pipe.vae.left_behind = True
            case "leaves a weight":
                a_bias(pipe).data += 1
        return handle


def made(bench, **does):
    return verified(bench, SMALL, Settings((Made(**does),)))


def test_a_technique_that_does_nothing_is_a_fault_of_ours(bench):
    assert made(bench, does="nothing").disagreement == "accepted, but it does nothing: was applied"
    assert made(bench, does="nothing", refuses="it would do nothing").disagreement is None


def test_a_technique_that_fails_is_a_fault_of_ours(bench):
    assert made(bench, does="fails").disagreement == "accepted, but it fails: RuntimeError: no such luck"
    assert made(bench, does="fails", refuses="it fails").disagreement is None


def test_a_refusal_of_what_acts_is_a_fault_of_ours(bench):
    found = made(bench, does="acts", refuses="too good")
    assert (
        found.disagreement == "refused, although it acts (the output): made does not apply to small: too good"
    )


def test_what_is_left_behind_is_found_and_the_next_finding_is_clean(bench):
    flag = made(bench, does="leaves a flag")
    assert flag.restored == "vae.:.left_behind is True, was None"
    weight = made(bench, does="leaves a weight")
    assert weight.restored == "the output is another one afterwards"
    assert weight.disagreement.startswith("not undone: ")
    assert made(bench, does="acts").restored is None


def test_a_pipeline_with_an_attention_of_its_own_is_not_changed_by_a_backend(bench):
    found = verified(bench, "cogvideox-2b", {"attention": {"backend": "math"}})
    assert found.verdict == "does nothing"
