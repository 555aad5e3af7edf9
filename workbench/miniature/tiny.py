"""Makes, saves and loads the tiny Wan: a real `WanPipeline` with seeded random weights and a tokenizer of its own.

Its dimensions are the catalogue row `tiny` and nowhere else. This is one of the files that touch the disk: it keeps the pipeline in
the user's cache, in a folder named after everything that it depends on, so a change makes a new folder instead of a stale one.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import tempfile
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from workbench._errors import InputError
from workbench.miniature._tokenizer import tiny_tokenizer, vocabulary
from workbench.models import get
from workbench.models._quiet import no_progress_bars, quiet_imports

if TYPE_CHECKING:
    from diffusers import WanPipeline

CACHE_VARIABLE = "WORKBENCH_CACHE_DIR"
"""Environment variable that moves the cache folder."""


def build_tiny(seed: int = 0) -> WanPipeline:
    """The tiny pipeline in memory, on the CPU in fp32; the same seed gives the same weights. Leaves torch's own seed alone."""
    import torch

    from workbench.models._build import assemble, construct

    spec = get("tiny")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        modules = {part.name: construct(part).eval() for part in spec.components}
    return assemble(spec, modules, tiny_tokenizer(spec.call["max_sequence_length"]))


def save_tiny(folder: str | Path, seed: int = 0) -> Path:
    """Writes the tiny pipeline to `folder` with `save_pretrained`; the folder appears complete or not at all.

    Raises:
        InputError: the folder exists and is not empty.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"folder for the tiny pipeline must be new or empty, got {str(folder)!r}")
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        with no_progress_bars():
            build_tiny(seed).save_pretrained(temporary)
        temporary.chmod(0o755)  # mkdtemp makes it private; the result is an ordinary folder
        os.replace(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def load_tiny(*, cache: bool = True) -> WanPipeline:
    """The tiny pipeline, on the CPU in fp32.

    Args:
        cache: make it once, keep it in the user's cache folder and load it from there with `from_pretrained`.
            False builds the same pipeline in memory and touches no disk.
    """
    if not cache:
        return build_tiny()
    folder = cache_folder() / f"tiny-{_fingerprint()}"
    if not folder.exists():
        try:
            save_tiny(folder)
        except (InputError, OSError):
            # Another process may have put the same folder there in the meantime; then it is complete.
            if not (folder / "model_index.json").exists():
                raise
    with quiet_imports(), no_progress_bars():
        import torch
        from diffusers import WanPipeline

        return WanPipeline.from_pretrained(folder, dtype=torch.float32, local_files_only=True)


def cache_folder() -> Path:
    """The folder that may be deleted at any time: `$WORKBENCH_CACHE_DIR`, or the platform's user cache."""
    if configured := os.environ.get(CACHE_VARIABLE):
        return Path(configured).expanduser()
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    return base / "diffusion-workbench"


def _fingerprint() -> str:
    """Twelve hex digits over all that decides what is saved: the row, the tokenizer, the libraries that make and write it."""
    versions = [version(name) for name in ("torch", "diffusers", "transformers", "tokenizers")]
    text = json.dumps([asdict(get("tiny")), vocabulary(), versions], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
