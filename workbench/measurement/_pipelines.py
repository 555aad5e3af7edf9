"""Opens the pipeline that `generate` runs: the miniature, the tiny one, or a folder that `save_pretrained` wrote. Never the network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from workbench._errors import InputError, UnknownNameError
from workbench.miniature import is_trained, load_miniature, load_tiny
from workbench.miniature._trained import check_trained
from workbench.models import ModelSpec, names, resolve_model
from workbench.models._folder import INDEX
from workbench.models._quiet import no_progress_bars, quiet_imports

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

TINY: Final = "tiny"
MINIATURE: Final = "miniature"
SHIPPED: Final = (MINIATURE, TINY)
"""Models of the catalogue that `generate` can run: the trained one, and the one of random weights."""

_PROMPTS = {MINIATURE: "a big red star moves slowly left in the forest"}
_PROMPT = "a red fox runs through the snow"


def default_model(planned: str | None = None) -> str:
    """What runs where no model is named: the one that a profile was planned for if it ships with the package; else the trained miniature,
    or, in a checkout that does not have its weights yet, the tiny one."""
    if planned in SHIPPED:
        return planned
    return MINIATURE if is_trained() else TINY


def default_prompt(model: str | Path) -> str:
    """What is asked for where no prompt is given: the miniature knows shapes, not foxes."""
    return _PROMPTS.get(str(model), _PROMPT)


def spec_of(model: str | Path) -> ModelSpec:
    """The catalogue's row of a shipped model, or of a saved pipeline, without loading it.

    Raises:
        InputError: no such pipeline here, one that cannot be planned, or one that needs more than a prompt.
    """
    shipped = " or ".join(repr(name) for name in SHIPPED)
    if str(model) == MINIATURE:
        check_trained()
    if str(model) in names() and str(model) not in SHIPPED:
        raise InputError(
            f"the weights of {str(model)!r} are not in this package: pass the folder of a pipeline saved with save_pretrained, or {shipped}"
        )
    if str(model) not in SHIPPED and not (Path(model) / INDEX).is_file():
        if not Path(model).exists() and len(Path(model).parts) == 1:
            raise UnknownNameError.of("model", str(model), names())
        raise InputError(
            f"model must be {shipped} or a folder saved with save_pretrained, got {str(model)!r}, which has no {INDEX}"
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
    if str(model) == MINIATURE:
        return load_miniature()
    with quiet_imports(), no_progress_bars():
        import diffusers

        from workbench.models._build import TORCH_DTYPES

        dtypes = {part.name: TORCH_DTYPES[part.dtype] for part in spec.components}
        pipeline_class = getattr(diffusers, spec.pipeline_class)
        return pipeline_class.from_pretrained(model, dtype=dtypes, local_files_only=True)
