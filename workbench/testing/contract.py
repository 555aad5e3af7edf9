"""The contract of a technique, to be called from tests; a technique of another package can be held to it too.

    from workbench.testing import contract
    miniature = contract.Miniature()
    contract.assert_restores(miniature, MyTechnique(...))
    contract.assert_predicts(miniature, MyTechnique(...))
    contract.assert_output(miniature, MyTechnique(...))

Everything runs on the miniature, a real `WanPipeline` of toy size, on the CPU. Needs torch and diffusers.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from workbench.cost.rehearsal import Target, record, rehearse
from workbench.miniature import build_tiny
from workbench.miniature._tokenizer import tiny_tokenizer
from workbench.models import get
from workbench.models._build import assemble, build_component
from workbench.techniques import AbstractTechnique, Settings, apply_all
from workbench.twin._snapshot import snapshot as snapshot

WORKLOAD: Mapping[str, Any] = {
    "prompt": "a red fox runs through the snow",
    "negative_prompt": "static",
    "num_frames": 9,
    "height": 64,
    "width": 64,
    "num_inference_steps": 2,
    "guidance_scale": 5.0,
    "max_sequence_length": 64,
}
"""Small, but with guidance, two steps (the second one finds what the first one left behind) and three latent frames."""


class Miniature:
    """The tiny pipeline, real and weightless, and its output without techniques."""

    def __init__(self, **workload: Any) -> None:
        self.workload = {**WORKLOAD, **workload}
        self.pipe: Any = build_tiny()
        self.pipe.set_progress_bar_config(disable=True)

    @functools.cached_property
    def baseline(self) -> np.ndarray:
        """Frames of the untouched pipeline."""
        return self.frames(Settings())

    def weightless(self) -> Any:
        """A new weightless pipeline with the real tokenizer, so that both see the same tokens."""
        spec = get("tiny")
        modules = {name: build_component(spec, name) for name in spec.component_names()}
        return assemble(spec, modules, tiny_tokenizer(spec.call["max_sequence_length"]))

    def call_kwargs(self, settings: Settings, **more: Any) -> dict[str, Any]:
        """Arguments of one call; always the same noise."""
        generator = torch.Generator().manual_seed(0)
        return settings.call_kwargs({**self.workload, "generator": generator, **more})

    def frames(self, settings: Settings) -> np.ndarray:
        """Frames of the pipeline as it is now."""
        return self.pipe(**self.call_kwargs(settings, output_type="np")).frames


def assert_restores(miniature: Miniature, *techniques: AbstractTechnique) -> None:
    """Applied, used and removed, nothing is left: the same tensors in the same places, hooks, classes and flags, the same output."""
    settings = Settings.of(techniques)
    baseline = miniature.baseline  # a first call, after which the pipeline has all its caches
    before = snapshot(miniature.pipe)
    handle = apply_all(miniature.pipe, settings)
    assert handle.report, f"{settings.to_json()} reports nothing: not even that it did nothing"
    assert all(sentence and sentence[-1] not in ".\n" for sentence in handle.report), handle.report
    miniature.frames(settings)
    handle.remove()
    handle.remove()  # does nothing more
    after = snapshot(miniature.pipe)
    changed = [key for key in before.keys() | after.keys() if before.get(key) != after.get(key)]
    assert not changed, (
        f"{settings.to_json()} leaves behind {[(k, before.get(k), after.get(k)) for k in changed[:5]]}"
    )
    assert np.array_equal(miniature.frames(Settings()), baseline), (
        f"{settings.to_json()} changes the output after removal"
    )


def assert_predicts(miniature: Miniature, *techniques: AbstractTechnique) -> None:
    """The run without weights has the ops of the run with weights, and after each op the same bytes are alive."""
    settings = Settings.of(techniques)
    handle = apply_all(miniature.pipe, settings)
    try:
        real = record(miniature.pipe, miniature.call_kwargs(settings, output_type="pt"))
    finally:
        handle.remove()
    pipe = miniature.weightless()
    apply_all(pipe, settings)
    predicted, _ = rehearse(pipe, miniature.call_kwargs(settings, output_type="pt"), Target("cpu"))
    assert_same_walk(predicted.walk(), real.walk())


def assert_same_walk(predicted: Any, real: Any) -> None:
    """Two traces are equal op for op, byte for byte."""
    rows = [[(path, op.name, live) for path, op, live in walk] for walk in (predicted, real)]
    for number, (ours, theirs) in enumerate(zip(*rows, strict=False)):
        assert ours[1:] == theirs[1:], f"op {number}: predicted {ours}, ran {theirs}"
    assert len(rows[0]) == len(rows[1]), f"predicted {len(rows[0])} ops, ran {len(rows[1])}"
    assert rows[0], "nothing was recorded"


def assert_output(
    miniature: Miniature, *techniques: AbstractTechnique, changes: bool = True, tolerance: float = 1e-4
) -> None:
    """The output is the baseline's to rounding if the techniques say so, and otherwise finite and another one.

    Args:
        changes: False for an inexact technique that has nothing to do here (a tile that is larger than the frame).
        tolerance: largest absolute difference, of values from 0 to 1, that counts as rounding.
    """
    settings = Settings.of(techniques)
    handle = apply_all(miniature.pipe, settings)
    try:
        frames = miniature.frames(settings)
    finally:
        handle.remove()
    exact = all(technique.effect().provenance == "exact" for technique in techniques)
    assert frames.shape == miniature.baseline.shape
    assert np.isfinite(frames).all()
    if exact or not changes:
        np.testing.assert_allclose(frames, miniature.baseline, atol=tolerance, rtol=0)
    else:
        assert not np.array_equal(frames, miniature.baseline), f"{settings.to_json()} changes nothing"
