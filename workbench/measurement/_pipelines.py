"""Opens the pipeline that `generate` runs: the tiny one, or a folder that `save_pretrained` wrote. Reads the disk, never the network."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from workbench._errors import InputError, UnknownNameError
from workbench.miniature import load_tiny
from workbench.models import ModelSpec, get, names
from workbench.models._quiet import no_progress_bars, quiet_imports

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

TINY: Final = "tiny"
_INDEX: Final = "model_index.json"


def spec_of(model: str | Path) -> ModelSpec:
    """The catalogue's row of `"tiny"` or of a saved pipeline, without loading it.

    Raises:
        InputError: no such pipeline here, one that the catalogue does not know, or one that needs more than a prompt.
    """
    spec = get(TINY) if str(model) == TINY else _spec_of_folder(Path(model))
    if spec.task != "t2v":
        raise InputError(
            f"generate makes videos from text; {spec.name} also needs an image, which generate does not take"
        )
    return spec


def open_pipeline(model: str | Path, spec: ModelSpec) -> DiffusionPipeline:
    """Loads the pipeline on the CPU, in the dtypes that the model's documentation loads."""
    if str(model) == TINY:
        return load_tiny()
    with quiet_imports(), no_progress_bars():
        import diffusers

        from workbench.models._build import TORCH_DTYPES

        dtypes = {part.name: TORCH_DTYPES[part.dtype] for part in spec.components}
        pipeline_class = getattr(diffusers, spec.pipeline_class)
        return pipeline_class.from_pretrained(model, dtype=dtypes, local_files_only=True)


def _spec_of_folder(folder: Path) -> ModelSpec:
    if not (folder / _INDEX).is_file():
        if str(folder) in names():
            raise InputError(
                f"the weights of {str(folder)!r} are not in this package: pass the folder of a pipeline saved with "
                f"save_pretrained, or {TINY!r}"
            )
        if not folder.exists() and len(folder.parts) == 1:
            raise UnknownNameError.of("model", str(folder), names())
        raise InputError(
            f"model must be {TINY!r} or a folder saved with save_pretrained, got {str(folder)!r}, which has no {_INDEX}"
        )
    class_name = _read(folder / _INDEX).get("_class_name")
    rows = [get(name) for name in names() if get(name).pipeline_class == class_name]
    for spec in rows:
        if all(_matches(part.config, folder / part.name) for part in spec.components):
            return spec
    known = ", ".join(spec.name for spec in rows) or "none"
    raise InputError(
        f"the pipeline in {str(folder)!r} is of no model in the catalogue: its class is {class_name}, "
        f"and its configuration is of none of that class ({known})"
    )


def _matches(config: Mapping[str, Any], folder: Path) -> bool:
    """Whether a saved component has this configuration; what transformers leaves out because it is the default counts as equal."""
    if not (folder / "config.json").is_file():
        return False
    saved = _read(folder / "config.json")
    expected = json.loads(json.dumps(dict(config)))
    return all(saved[key] == value for key, value in expected.items() if key in saved)


def _read(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"{str(path)!r} cannot be read as JSON: {error}") from error
    if not isinstance(data, dict):
        raise InputError(f"{str(path)!r} must hold a JSON object")
    return data
