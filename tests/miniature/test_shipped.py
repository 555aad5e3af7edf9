"""The weights that ship: small enough, loadable, and what they were trained for. All figures: studies/miniature/evaluate.py."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from workbench.miniature import is_trained, load_classifier, load_miniature, world
from workbench.miniature._classifier import LABELS, as_input
from workbench.miniature._trained import WEIGHTS

CLIPS = 96


@pytest.fixture(scope="module")
def real() -> np.ndarray:
    """Clips of the test split, which no part was trained on."""
    return np.stack([world.draw(world.scene("test", number)) for number in range(CLIPS)])


def test_they_are_there_say_how_they_were_made_and_take_at_most_12_mb():
    assert is_trained()
    facts = json.loads((WEIGHTS / "training.json").read_text())
    assert set(facts["parts"]) == {"classifier", "vae", "denoiser"}
    assert all(part["steps"] > 1000 for part in facts["parts"].values())
    assert sum(path.stat().st_size for path in WEIGHTS.rglob("*.safetensors")) <= 12_000_000


def test_the_classifier_reads_real_clips(real):
    read = load_classifier().read(real)
    for label in LABELS:
        right = [
            found[label] == world.scene("test", number).labels[label] for number, found in enumerate(read)
        ]
        assert np.mean(right) >= 0.95  # 97 % over more clips: of 96, two more may be wrong by chance


def test_the_vae_gives_clips_back(real):
    vae = load_miniature().vae
    with torch.no_grad():
        video = as_input(real[:8])
        back = vae.decode(vae.encode(video).latent_dist.mode()).sample.clamp(-1, 1)
    psnr = -10 * torch.log10(((back - video) / 2).square().mean((1, 2, 3, 4)))
    assert float(psnr.mean()) >= 29


def test_a_prompt_makes_a_clip_that_differs_from_another_prompts():
    pipe = load_miniature()
    pipe.set_progress_bar_config(disable=True)
    clips = [
        pipe(
            prompt,
            num_frames=17,
            height=64,
            width=64,
            num_inference_steps=8,
            guidance_scale=4.0,
            max_sequence_length=32,
            negative_prompt="",
            output_type="pt",
            generator=torch.Generator().manual_seed(0),
        ).frames
        for prompt in (
            "a big red star moves right in the night",
            "a big green circle moves left in the night",
        )
    ]
    assert clips[0].shape == (1, 17, 3, 64, 64)
    assert all(bool(torch.isfinite(clip).all()) for clip in clips)
    # the same noise: what differs is what was asked for
    assert float((clips[0] - clips[1]).abs().mean()) > 0.01
