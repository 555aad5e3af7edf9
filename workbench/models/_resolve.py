"""One name for any model: a catalogue name, a folder, a hub id, or a pipeline in memory, made into a `ModelSpec`.

A model that the catalogue knows, whatever way it is named, is the catalogue's row, with its checked limits and sources. Of any other,
what the configurations leave open is derived once from its pipeline and kept on disk, so that the next plan needs no torch.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench._errors import InputError, UnknownNameError
from workbench._store import Store
from workbench.models import _catalogue as catalogue
from workbench.models._folder import INDEX, USUAL_DTYPE, FolderReading
from workbench.models._hub import folder_of, is_hub_id
from workbench.models._spec import ComponentSpec, Defaults, ModelSpec

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

    from workbench.models._live import LiveReading


def resolve_model(model: ModelSpec | str | Path | DiffusionPipeline) -> ModelSpec:
    """The model behind a name, a folder or a pipeline; afterwards `get` knows it by its name too.

    Args:
        model: a catalogue name; a hub id (of a catalogue model, or any other whose configurations are here or reachable); a folder with
            `model_index.json` and configurations; a live pipeline, with or without weights; a row.

    Raises:
        UnknownNameError: no catalogue name, folder or hub id.
        InputError: the folder or the pipeline cannot be planned; the message says what is missing.
    """
    if isinstance(model, ModelSpec):
        return _registered(model)
    if not isinstance(model, (str, Path)):
        return _of_pipeline(model)
    known = catalogue.find(str(model)) or _in_dtypes(str(model))
    if known is not None:
        return known
    path = Path(model).expanduser()
    if path.is_dir():
        return _of_folder(path.resolve(), str(path.resolve()))
    text = str(model)
    if isinstance(model, str) and is_hub_id(text):
        row = catalogue.find(_catalogue_name(text))
        return row if row is not None else _of_folder(folder_of(text), text)
    if len(path.parts) > 1:
        raise InputError(f"model {text!r} is no folder on this machine, and no catalogue name or hub id")
    raise UnknownNameError.of("model", text, catalogue.names())


def _catalogue_name(hub_id: str) -> str:
    return hub_id.rpartition("/")[2].lower().removesuffix("-diffusers")


def _of_folder(folder: Path, name: str) -> ModelSpec:
    if not (folder / INDEX).is_file():
        raise InputError(
            f"{str(folder)!r} is no saved pipeline: it has no {INDEX} (`save_pretrained` writes one; weights are not needed)"
        )
    reading = FolderReading(folder)
    for row in _rows_of(reading.pipeline_class):
        if all(_matches(part, reading.components.get(part.name)) for part in row.components):
            return row
    return _registered(_spec(reading, name, folder.name, None))


def _of_pipeline(pipe: Any) -> ModelSpec:
    if not hasattr(pipe, "components") or not hasattr(pipe, "config"):
        raise InputError(
            "model must be a catalogue name, a folder, a hub id or a diffusers pipeline, "
            f"got a {type(pipe).__module__}.{type(pipe).__name__}"
        )
    from workbench.models._live import LiveReading

    reading = LiveReading(pipe)
    for row in _rows_of(reading.pipeline_class):
        if all(_matches(part, reading.components.get(part.name)) for part in row.components):
            return _registered(_as_loaded(row, reading))
    text = json.dumps(
        [reading.pipeline_class, {k: [p.config, p.dtype] for k, p in reading.components.items()}],
        sort_keys=True,
        default=str,
    )
    name = f"live-{reading.pipeline_class}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
    return _registered(_spec(reading, name, f"live {reading.pipeline_class}", pipe))


def _as_loaded(row: ModelSpec, reading: LiveReading) -> ModelSpec:
    """The catalogue's row in the dtypes that the pipeline is in, under a name of its own if those are not the documented ones."""
    dtypes = {part.name: part.dtype for part in reading.components.values()}
    changed = {name: dtype for name, dtype in dtypes.items() if row.component(name).dtype != dtype}
    if not changed:
        return row
    suffix = ",".join(f"{name}={dtype}" for name, dtype in sorted(changed.items()))
    return replace(row.with_dtypes(changed), name=f"{row.name}[{suffix}]")


def _in_dtypes(text: str) -> ModelSpec | None:
    """The row behind the name that `_as_loaded` makes, `wan2.1-t2v-1.3b[vae=bf16]`."""
    name, bracket, rest = text.partition("[")
    row = catalogue.find(name) if bracket and rest.endswith("]") else None
    pairs = [pair.partition("=") for pair in rest[:-1].split(",")]
    if row is None or any(part not in row.component_names() for part, _, _ in pairs):
        return None
    return _registered(replace(row.with_dtypes({part: dtype for part, _, dtype in pairs}), name=text))


def _spec(
    reading: FolderReading | LiveReading, name: str, title: str, pipe: DiffusionPipeline | None
) -> ModelSpec:
    """The row of a model that the catalogue does not know."""
    template = next(iter(_rows_of(reading.pipeline_class)), None)
    components, assumed = _with_dtypes(reading, template)
    open_spec = ModelSpec(
        name=name,
        title=title,
        family="outside the catalogue",
        task="t2v",
        pipeline_class=reading.pipeline_class,
        pipeline_config=reading.pipeline_config,
        components=tuple(components),
        scheduler=reading.plain["scheduler"],
        extras={key: part for key, part in reading.plain.items() if key != "scheduler"},
        defaults=Defaults(frames=1, height=1, width=1, steps=1, guidance=1.0, fps=1),
        temporal_factor=1,
        size_multiple=1,
        remarks=(*reading.remarks, *assumed),
        sources=(f"read from {name}",),
    )
    found = _derived(open_spec, pipe)
    native = Defaults(**found["defaults"]) if template is None else template.defaults
    borrowed = () if template is None else (f"native workload: that of {template.name}, of the same class",)
    return replace(
        open_spec,
        task=found["task"],
        inputs=tuple(found["inputs"]) if template is None else template.inputs,
        temporal_factor=found["temporal_factor"],
        frame_remainder=found["frame_remainder"] if template is None else template.frame_remainder,
        size_multiple=found["size_multiple"],
        defaults=native,
        call=found["call"] if template is None else template.call,
        sources=(*open_spec.sources, *borrowed),
    )


def _with_dtypes(
    reading: FolderReading | LiveReading, template: ModelSpec | None
) -> tuple[list[ComponentSpec], tuple[str, ...]]:
    """The components with a dtype where the reading found none, and the sentence that says so.

    As documented for the catalogue's model of the same class; else like the other components, for pipelines mostly load in one dtype.
    """
    documented = {part.name: part.dtype for part in template.components} if template is not None else {}
    said = Counter(
        part.dtype for part in reading.components.values() if part.name not in reading.without_dtype
    )
    usual = said.most_common(1)[0][0] if said else USUAL_DTYPE
    assumed = {name: documented.get(name, usual) for name in reading.without_dtype}
    components = [
        replace(part, dtype=assumed.get(part.name, part.dtype)) for part in reading.components.values()
    ]
    if not assumed:
        return components, ()
    listed = ", ".join(f"{name} {dtype}" for name, dtype in assumed.items())
    return components, (f"dtypes that the folder does not say, as planned: {listed}",)


def _derived(spec: ModelSpec, pipe: DiffusionPipeline | None) -> dict[str, Any]:
    """What the pipeline itself says, from the disk if it was asked before; asking imports torch and diffusers."""
    store = Store()
    key = {
        "pipeline": [spec.pipeline_class, dict(spec.pipeline_config)],
        "components": [[p.name, p.class_name, dict(p.config), p.dtype] for p in spec.components],
    }
    known = store.get("model", key)
    if known is None:
        from workbench.models._build import build_meta_pipeline
        from workbench.models._derive import derive

        known = derive(pipe if pipe is not None else build_meta_pipeline(spec))
        store.put("model", key, known)
    return known


def _registered(spec: ModelSpec) -> ModelSpec:
    catalogue.register(spec)
    return spec


def _rows_of(pipeline_class: str) -> list[ModelSpec]:
    return [row for row in catalogue.ALL if row.pipeline_class == pipeline_class]


def _matches(row: ComponentSpec, found: ComponentSpec | None) -> bool:
    """Whether a component has a row's configuration; what a file leaves out because it is the default counts as equal."""
    if found is None or found.class_name != row.class_name:
        return False
    expected = json.loads(json.dumps(dict(row.config)))
    actual = json.loads(json.dumps(dict(found.config), default=str))
    return all(actual[key] == value for key, value in expected.items() if key in actual)
