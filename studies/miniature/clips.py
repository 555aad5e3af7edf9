"""Clips of the world and their latents as arrays on the disk, made once: two processes draw, an interrupted run draws what is missing."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from loop import say_now

from workbench._files import replacing
from workbench.miniature import world
from workbench.miniature._classifier import as_input

Clips = npt.NDArray[np.uint8]
_BLOCK = 250


def drawn(folder: Path, split: str, count: int, say: Callable[[str], None] = say_now) -> Clips:
    """The first clips of a split, [count, 17, 64, 64, 3], read from the disk as they are needed."""
    path = folder / f"clips-{split}-{count}.npy"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        started = time.perf_counter()
        with replacing(path) as temporary:
            shape = (count, world.FRAMES, world.SIZE, world.SIZE, 3)
            held = np.lib.format.open_memmap(temporary, "w+", np.uint8, shape)
            blocks = [(split, start, min(start + _BLOCK, count)) for start in range(0, count, _BLOCK)]
            for (_, start, end), block in zip(blocks, _drawn(blocks), strict=True):
                held[start:end] = block
            held.flush()
            del held
        say(f"{count} clips of {split} drawn in {time.perf_counter() - started:.0f} s")
    clips: Clips = np.load(path, mmap_mode="r")
    return clips


def _drawn(blocks: list[tuple[str, int, int]]) -> Iterator[Clips]:
    """Blocks in order; few are drawn here, since a new process first imports what this one has imported."""
    if len(blocks) <= 2:
        yield from map(_block, blocks)
        return
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        yield from pool.map(_block, blocks)


def _block(job: tuple[str, int, int]) -> Clips:
    split, start, end = job
    return np.stack([world.draw(world.scene(split, number)) for number in range(start, end)])


@torch.no_grad()
def encoded(
    folder: Path, vae: torch.nn.Module, clips: Clips, say: Callable[[str], None] = say_now
) -> tuple[torch.Tensor, list[float], list[float]]:
    """Latents of clips, [N, 16, 5, 8, 8] in fp16, each channel of mean 0 and deviation 1; and that mean and deviation."""
    path, facts = folder / f"latents-{len(clips)}.npy", folder / f"latents-{len(clips)}.json"
    if not (path.exists() and facts.exists()):
        started = time.perf_counter()
        parts = [
            vae.encode(as_input(clips[start : start + 16])).latent_dist.mode()
            for start in range(0, len(clips), 16)
        ]
        latents = torch.cat(parts)
        mean, std = latents.mean((0, 2, 3, 4)), latents.std((0, 2, 3, 4))
        shape = (1, -1, 1, 1, 1)
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.save(file, ((latents - mean.view(shape)) / std.view(shape)).half().numpy())
        with replacing(facts) as temporary:
            temporary.write_text(json.dumps({"mean": mean.tolist(), "std": std.tolist()}))
        say(f"{len(clips)} clips encoded in {time.perf_counter() - started:.0f} s")
    known = json.loads(facts.read_text())
    return torch.from_numpy(np.load(path)), known["mean"], known["std"]
