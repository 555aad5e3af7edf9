"""Prints the figures that the miniature must reach, measured on the test split.

    python studies/miniature/evaluate.py                                   # the weights in the package
    python studies/miniature/evaluate.py --weights runs/miniature/pipeline --clips 64 --split validation --guidance 6 --shift 2

Accuracy is the classifier's reading of colour, shape and direction: on real clips, on real clips through the VAE (what generation can reach
at best), and on clips generated from the captions of as many other real clips.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from parts import ROW, reconstruction_psnr

from workbench.measurement._video import to_uint8
from workbench.miniature import load_classifier, load_miniature, world
from workbench.miniature._classifier import LABELS, as_input
from workbench.miniature._trained import WEIGHTS

GOALS: Mapping[str, tuple[str, float]] = {
    **{f"real_{name}": ("at least", 0.97) for name in LABELS},
    **{f"generated_{name}": ("at least", 0.85) for name in LABELS},
    "reconstruction_psnr_db": ("at least", 30.0),
    "generate_s": ("under", 15.0),
    "weights_mb": ("at most", 12.0),
}
"""Figure -> what issue 6 asks of it."""


def evaluate(
    folder: Path = WEIGHTS,
    *,
    clips: int = 256,
    split: str = "test",
    steps: int | None = None,
    guidance: float | None = None,
    shift: float | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """All figures. Real accuracy is of four times as many clips as are generated.

    Args:
        steps: denoising steps; None, as for guidance and the scheduler's shift, means the model's own.
    """
    pipe, classifier = load_miniature(folder), load_classifier(folder)
    pipe.set_progress_bar_config(disable=True)
    if shift is not None:
        pipe.scheduler = type(pipe.scheduler).from_config(pipe.scheduler.config, flow_shift=shift)
    scenes = [world.scene(split, number) for number in range(4 * clips)]
    real = np.stack([world.draw(scene) for scene in scenes])
    truth = [scene.labels for scene in scenes]
    psnr = reconstruction_psnr(pipe.vae, real[:clips])
    settings = {
        "num_inference_steps": steps or ROW.defaults.steps,
        "guidance_scale": ROW.defaults.guidance if guidance is None else guidance,
    }
    # captions of other clips than those of the rows above, so that the two samples of the Fréchet distance are independent
    asked = [world.scene(split, 4 * clips + number) for number in range(clips)]
    made = generated(pipe, [world.caption(scene) for scene in asked], settings, seed)
    read = classifier.read(made)
    wanted = [scene.labels for scene in asked]
    kinds = {kind: [row for row, scene in enumerate(asked) if scene.kind == kind] for kind in world.KINDS}
    return {
        "split": split,
        "clips": clips,
        **settings,
        "flow_shift": pipe.scheduler.config.flow_shift,
        **_right("real", classifier.read(real), truth),
        **_right("reconstructed", classifier.read(reconstructed(pipe.vae, real[:clips])), truth[:clips]),
        **_right("generated", read, wanted),
        "generated_all_three": float(np.mean([one == true for one, true in zip(read, wanted, strict=True)])),
        "by_kind": {
            kind: {
                "clips": len(rows),
                **{
                    name: float(np.mean([read[row][name] == wanted[row][name] for row in rows]))
                    for name in LABELS
                },
            }
            for kind, rows in kinds.items()
            if rows
        },
        "reconstruction_psnr_db": float(psnr.mean()),
        "reconstruction_psnr_worst_db": float(psnr.min()),
        "generate_s": seconds(pipe, settings),
        "threads": torch.get_num_threads(),
        "weights_mb": sum(path.stat().st_size for path in folder.rglob("*.safetensors")) / 1e6,
    }


def generated(
    pipe: Any, captions: list[str], settings: Mapping[str, Any], seed: int, batch: int = 16
) -> np.ndarray:
    """Clips of these captions, [N, 17, 64, 64, 3] of bytes."""
    generator = torch.Generator().manual_seed(seed)
    made = []
    for start in range(0, len(captions), batch):
        video = pipe(captions[start : start + batch], generator=generator, **_call(), **settings).frames
        made += [to_uint8(clip) for clip in video]
    return np.stack(made)


def seconds(pipe: Any, settings: Mapping[str, Any]) -> float:
    """Median seconds of three calls for one clip, after one to warm up."""
    taken = []
    for number in range(4):
        started = time.perf_counter()
        pipe(
            "a red circle moves right in the night",
            generator=torch.Generator().manual_seed(number),
            **_call(),
            **settings,
        )
        taken.append(time.perf_counter() - started)
    return float(np.median(taken[1:]))


def _call() -> dict[str, Any]:
    """Arguments of every call: the native size, tensors as output, what the row adds."""
    native = ROW.defaults
    return {
        "num_frames": native.frames,
        "height": native.height,
        "width": native.width,
        "output_type": "pt",
        **ROW.call,
    }


@torch.no_grad()
def reconstructed(vae: Any, clips: np.ndarray, batch: int = 8) -> np.ndarray:
    """Clips after the VAE's encoder and decoder, as bytes."""
    made = []
    for start in range(0, len(clips), batch):
        video = vae.decode(vae.encode(as_input(clips[start : start + batch])).latent_dist.mode()).sample
        made.append(video.clamp(-1, 1).add(1).mul(127.5).round().byte().permute(0, 2, 3, 4, 1).numpy())
    return np.concatenate(made)


def _right(name: str, read: list[dict[str, str]], truth: list[dict[str, str]]) -> dict[str, float]:
    """Share of clips whose label was read as it is, per label."""
    return {
        f"{name}_{label}": float(
            np.mean([one[label] == true[label] for one, true in zip(read, truth, strict=True)])
        )
        for label in LABELS
    }


def reached(name: str, value: float) -> bool:
    """Whether a figure is what the issue asks."""
    word, bound = GOALS[name]
    return value >= bound if word == "at least" else value < bound if word == "under" else value <= bound


def _goal(name: str, value: float) -> str:
    if name not in GOALS:
        return ""
    word, bound = GOALS[name]
    return f"   {'reached' if reached(name, value) else 'MISSED '}: {word} {bound:g}"


def table(found: Mapping[str, Any]) -> str:
    """The figures as text, each beside its goal."""
    lines = []
    for name, value in found.items():
        if isinstance(value, float):
            lines.append(f"{name:32} {value:8.3f}{_goal(name, value)}")
        elif not isinstance(value, dict):
            lines.append(f"{name:32} {value!s:>8}")
    lines += [
        f"  {kind:12} " + "  ".join(f"{k} {v:.3g}" for k, v in row.items())
        for kind, row in found["by_kind"].items()
    ]
    return "\n".join(lines)


def main() -> None:
    """Reads the command line, measures, prints."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="default: those in the package")
    parser.add_argument("--clips", type=int, default=256, help="clips to generate")
    parser.add_argument("--split", choices=world.SPLITS, default="test")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--guidance", type=float)
    parser.add_argument("--shift", type=float, help="flow shift of the scheduler")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args()
    found = evaluate(
        given.weights,
        clips=given.clips,
        split=given.split,
        steps=given.steps,
        guidance=given.guidance,
        shift=given.shift,
        seed=given.seed,
    )
    print(json.dumps(found, indent=1) if given.json else table(found))


if __name__ == "__main__":
    main()
