"""Opens the trained miniature: weights that ship with the package, in `weights/`. Reads the disk, never the network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from workbench._errors import InputError
from workbench.models._quiet import no_progress_bars, quiet_imports

if TYPE_CHECKING:
    from diffusers import WanPipeline

    from workbench.miniature._classifier import ClipClassifier

WEIGHTS = Path(__file__).parent / "weights"
"""Where they are in the package: a folder of `save_pretrained`, with the classifier and what training said of itself beside it."""

_CLASSIFIER = "classifier.safetensors"
_INDEX = "model_index.json"


def is_trained(folder: Path | None = None) -> bool:
    """Whether the trained weights are there, classifier included."""
    folder = WEIGHTS if folder is None else folder
    return (folder / _INDEX).is_file() and (folder / _CLASSIFIER).is_file()


def load_miniature(folder: Path | None = None) -> WanPipeline:
    """The trained miniature on the CPU in fp32.

    Args:
        folder: weights elsewhere, as `studies/miniature/train.py` leaves them; None means the package's.

    Raises:
        InputError: the weights are not there.
    """
    folder = check_trained(folder)
    with quiet_imports(), no_progress_bars():
        import torch
        from diffusers import WanPipeline

        return WanPipeline.from_pretrained(folder, dtype=torch.float32, local_files_only=True)


def load_classifier(folder: Path | None = None) -> ClipClassifier:
    """The classifier that reads colour, shape and direction from clips, in fp32, in evaluation mode.

    Raises:
        InputError: the weights are not there.
    """
    folder = check_trained(folder)
    from safetensors.torch import load_file

    from workbench.miniature._classifier import ClipClassifier

    classifier = ClipClassifier()
    classifier.load_state_dict(
        {name: tensor.float() for name, tensor in load_file(folder / _CLASSIFIER).items()}
    )
    return classifier.eval()


def check_trained(folder: Path | None = None) -> Path:
    """The folder of the weights.

    Raises:
        InputError: they are not there; says how to make them.
    """
    folder = WEIGHTS if folder is None else folder
    if not is_trained(folder):
        where = "this package" if folder == WEIGHTS else repr(str(folder))
        raise InputError(
            f"the miniature's trained weights are not in {where}: train them with `python studies/miniature/train.py --install`, "
            "or use 'tiny', which has random weights"
        )
    return folder
