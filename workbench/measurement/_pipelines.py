"""Opens the pipeline that `generate` runs: the tiny one, or a folder that `save_pretrained` wrote. Reads the disk, never the network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from workbench._errors import InputError, UnknownNameError
from workbench.miniature import load_tiny
from workbench.models import ModelSpec, names, resolve_model
from workbench.models._folder import INDEX
from workbench.models._quiet import no_progress_bars, quiet_imports

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

TINY: Final = "tiny"


def spec_of(model: str | Path) -> ModelSpec:
    """The catalogue's row of `"tiny"` or of a saved pipeline, without loading it.

    Raises:
        InputError: no such pipeline here, one that cannot be planned, or one that needs more than a prompt.
    """
    if str(model) in names() and str(model) != TINY:
        raise InputError(
            f"the weights of {str(model)!r} are not in this package: pass the folder of a pipeline saved with save_pretrained, or {TINY!r}"
        )
    if str(model) != TINY and not (Path(model) / INDEX).is_file():
        if not Path(model).exists() and len(Path(model).parts) == 1:
            raise UnknownNameError.of("model", str(model), names())
        raise InputError(
            f"model must be {TINY!r} or a folder saved with save_pretrained, got {str(model)!r}, which has no {INDEX}"
        )
    spec = resolve_model(model)
    if spec.inputs:
        raise InputError(
            f"generate makes videos from text; {spec.name} also needs {' and '.join(spec.inputs)}, which generate does not take"
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
