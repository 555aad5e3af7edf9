"""Trains the miniature, in parts that go on where they were when interrupted.

    python studies/miniature/train.py --install        # about 2.5 hours on two CPU cores; the same command resumes
    python studies/miniature/train.py --quick          # every part for a few steps: does it run?
    python studies/miniature/train.py --keep classifier vae   # these as they are in the package, the rest anew

Draws clips, then trains the classifier, the VAE, and text encoder and denoiser on the VAE's latents; writes the pipeline in fp16 and
prints the study's figures. `--install` puts the weights into the package.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from clips import drawn, encoded
from evaluate import evaluate, table
from loop import Part, train
from parts import FULL, QUICK, ROW, Sizes, classifier_part, denoiser_part, vae_part
from safetensors.torch import save_file
from torch import nn

from workbench._files import replacing
from workbench.miniature import load_classifier, load_miniature
from workbench.miniature._tokenizer import tiny_tokenizer
from workbench.miniature._trained import WEIGHTS
from workbench.models._build import assemble
from workbench.models._quiet import no_progress_bars
from workbench.models.miniature import PROMPT_TOKENS

HERE = Path(__file__).parent
MOST_BYTES = 12_000_000
"""What the weights may take in the package."""
PARTS = ("classifier", "vae", "denoiser")
TRAINING = "training.json"


def run(
    sizes: Sizes,
    folder: Path,
    *,
    steps: Sequence[int] | None = None,
    checkpoint_s: float = 120.0,
    only: str | None = None,
    keep: Sequence[str] = (),
    package: Path = WEIGHTS,
    begin_with: Path | None = None,
) -> Path | None:
    """All parts in order, or those up to `only`; the folder of the finished pipeline, or None before the last part.

    Args:
        steps: how many each part takes, in the order of `PARTS`, instead of what its minutes afford; also of a part that has begun with
            another number. A single one is of all.
        keep: parts that are not trained but taken from the package's weights, in `package`.
        begin_with: weights from which the denoiser starts instead of random ones: a folder of a finished pipeline.
    """
    same_sizes(sizes, folder)
    held_out = drawn(folder, "validation", max(sizes.clips // 20, 8))
    clips = drawn(folder, "train", sizes.clips)
    asked = dict(zip(PARTS, steps if steps and len(steps) > 1 else (steps or [None]) * 3, strict=True))

    def finished(part: Part) -> Iterator[tuple[str, nn.Module]]:
        return iter(train(part, folder, steps=asked[part.name], checkpoint_s=checkpoint_s).items())

    trained: dict[str, nn.Module] = {}
    if "classifier" in keep:
        trained["classifier"] = load_classifier(package)
    else:
        trained |= finished(classifier_part(sizes, clips, held_out))
    if only == "classifier":
        return None
    if "vae" in keep:
        trained["vae"] = load_miniature(package).vae.eval()
    else:
        trained |= finished(vae_part(sizes, clips, held_out))
    if only == "vae":
        return None
    latents, mean, std = encoded(folder, trained["vae"], clips)
    others = held_out_latents(trained["vae"], held_out, mean, std)
    trained["vae"].register_to_config(latents_mean=mean, latents_std=std)
    denoiser = denoiser_part(sizes, latents, others)
    if begin_with is not None:
        begin = load_miniature(begin_with)
        for name, module in denoiser.modules.items():
            module.load_state_dict(getattr(begin, name).state_dict())
    trained |= finished(denoiser)
    return write(
        trained, folder / "pipeline", provenance(sizes, folder, {name: package for name in keep}, begin_with)
    )


@torch.no_grad()
def held_out_latents(vae: nn.Module, clips: Any, mean: list[float], std: list[float]) -> torch.Tensor:
    """Latents of the validation clips, scaled by what was found on the training clips."""
    from workbench.miniature._classifier import as_input

    found = [
        vae.encode(as_input(clips[at : at + 16])).latent_dist.mode()
        for at in range(0, min(len(clips), 256), 16)
    ]
    shape = (1, -1, 1, 1, 1)
    return (torch.cat(found) - torch.tensor(mean).view(shape)) / torch.tensor(std).view(shape)


def same_sizes(sizes: Sizes, folder: Path) -> None:
    """Keeps the sizes with the run, and refuses to go on with others.

    Raises:
        SystemExit: the folder holds a run of other sizes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path, text = folder / "sizes.json", json.dumps(asdict(sizes), indent=1)
    if path.exists() and path.read_text() != text:
        raise SystemExit(
            f"{folder} holds a run of other sizes, those in {path}: take another --out, or remove it"
        )
    with replacing(path) as temporary:
        temporary.write_text(text)


def provenance(
    sizes: Sizes, folder: Path, kept: Mapping[str, Path], begin_with: Path | None
) -> dict[str, Any]:
    """What made the weights: sizes, steps and minutes of each part, versions, machine, date; of other weights, what their training said."""
    facts: dict[str, Any] = {
        "made_by": "studies/miniature/train.py",
        "sizes": asdict(sizes),
        "parts": {name: _part(folder, name) for name in PARTS if name not in kept},
        "versions": {name: version(name) for name in ("torch", "diffusers", "transformers", "numpy")},
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads",
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
    }
    for name, package in kept.items():
        facts["parts"][name] = json.loads((package / TRAINING).read_text())["parts"][name] | {"kept": True}
    if begin_with is not None:
        facts["denoiser_began_with"] = json.loads((begin_with / TRAINING).read_text())
    return facts


def _part(folder: Path, name: str) -> dict[str, Any]:
    state = torch.load(folder / f"{name}.pt", weights_only=True)["state"]
    changes = {"steps_were_changed": state["changes"]} if state.get("changes") else {}
    return {"steps": state["steps"], "minutes": round(state["seconds"] / 60, 2), **changes}


def write(trained: dict[str, nn.Module], folder: Path, facts: dict[str, Any]) -> Path:
    """The pipeline in fp16 as `save_pretrained` writes it, the classifier and `training.json` beside it; all or nothing."""
    temporary = folder.with_name(f".{folder.name}-{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    names = ROW.component_names()
    pipe = assemble(ROW, {name: trained[name].half() for name in names}, tiny_tokenizer(PROMPT_TOKENS))
    with no_progress_bars():
        pipe.save_pretrained(temporary)
    weights = {
        name: tensor.half().contiguous() for name, tensor in trained["classifier"].state_dict().items()
    }
    save_file(weights, temporary / "classifier.safetensors")
    (temporary / TRAINING).write_text(json.dumps(facts, indent=1) + "\n")
    size = sum(path.stat().st_size for path in temporary.rglob("*.safetensors"))
    if size > MOST_BYTES:
        raise SystemExit(f"the weights take {size} bytes, more than {MOST_BYTES}")
    shutil.rmtree(folder, ignore_errors=True)
    temporary.rename(folder)
    return folder


def install(folder: Path, target: Path = WEIGHTS) -> None:
    """Copies a finished pipeline into the package, in place of what was there."""
    temporary = target.with_name(f".{target.name}-{os.getpid()}")
    shutil.copytree(folder, temporary)
    shutil.rmtree(target, ignore_errors=True)
    temporary.rename(target)


def keep_curves(folder: Path, target: Path) -> None:
    """The curves of every part, to where they are kept in the repository."""
    target.mkdir(parents=True, exist_ok=True)
    for name in PARTS:
        if (folder / f"{name}.csv").exists():  # a part that was kept has its curve there already
            shutil.copy(folder / f"{name}.csv", target / f"{name}.csv")


def main() -> None:
    """Reads the command line, trains, evaluates, installs."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--out", type=Path, help="run folder; default: runs/miniature, or runs/miniature-quick"
    )
    parser.add_argument("--quick", action="store_true", help="a few steps of every part")
    parser.add_argument(
        "--minutes",
        nargs=3,
        type=float,
        metavar=("CLASSIFIER", "VAE", "DENOISER"),
        help="instead of 11 46 78",
    )
    parser.add_argument(
        "--steps",
        type=int,
        nargs="+",
        help="steps of every part, or of each of the three, instead of what the minutes afford",
    )
    parser.add_argument("--clips", type=int, help="training clips, instead of 16000")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, help="default: one per core")
    parser.add_argument("--checkpoint-s", type=float, default=120.0, help="seconds between checkpoints")
    parser.add_argument("--only", choices=PARTS[:2], help="stop after this part")
    parser.add_argument(
        "--keep", nargs="+", choices=PARTS[:2], default=(), help="parts to take from the package's weights"
    )
    parser.add_argument("--begin-with", type=Path, help="a finished pipeline, whose denoiser is trained on")
    parser.add_argument(
        "--install", action="store_true", help="put weights into the package and curves into the study"
    )
    given = parser.parse_args()
    if given.steps and len(given.steps) not in (1, len(PARTS)):
        parser.error(f"--steps takes one number or {len(PARTS)}, got {len(given.steps)}")
    if given.threads:
        torch.set_num_threads(given.threads)
    sizes = replace(QUICK if given.quick else FULL, seed=given.seed)
    if given.minutes:
        sizes = replace(sizes, minutes=dict(zip(PARTS, given.minutes, strict=True)))
    if given.clips:
        sizes = replace(sizes, clips=given.clips)
    folder = given.out or HERE.parents[1] / "runs" / ("miniature-quick" if given.quick else "miniature")
    started = time.perf_counter()
    pipeline = run(
        sizes,
        folder,
        steps=given.steps,
        checkpoint_s=given.checkpoint_s,
        only=given.only,
        keep=given.keep,
        begin_with=given.begin_with,
    )
    if pipeline is None:
        return
    print(f"trained in {(time.perf_counter() - started) / 60:.1f} min (this run)", flush=True)
    found = evaluate(pipeline, clips=8 if given.quick else 256, steps=2 if given.quick else None)
    print(table(found))
    with replacing(folder / "evaluation.json") as temporary:
        temporary.write_text(json.dumps(found, indent=1) + "\n")
    if given.install:
        shutil.copy(folder / "evaluation.json", pipeline / "evaluation.json")
        install(pipeline)
        keep_curves(folder, HERE / "curves")
        print(f"installed in {WEIGHTS}")


if __name__ == "__main__":
    main()
