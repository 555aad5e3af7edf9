"""The tiny twin of a model: the same classes of pipeline and networks, small enough to run on a CPU in a moment."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from PIL import Image

from workbench._errors import RehearsalError
from workbench._store import Store
from workbench.models import ModelSpec, Workload
from workbench.models._build import (
    assemble,
    build_component,
    build_meta_pipeline,
    call_kwargs,
    set_guidance,
)
from workbench.twin._check import silent, why_not
from workbench.twin._leaves import changed
from workbench.twin._search import Found, candidates, unlimited
from workbench.twin._sentence import sentence
from workbench.twin._weights import fill

FORMAT = 12
"""Raised when another search may find another twin, so that kept ones are not read."""


@dataclass(frozen=True, slots=True)
class Twin:
    """A model in miniature, found by `twin_of`."""

    spec: ModelSpec
    """The row with small numbers in its configurations; its name ends in `-twin`."""
    workload: Workload
    """A short clip that it makes."""
    kept: tuple[str, ...]
    """What could not be made small, and why, one sentence each."""

    def pipeline(self, seed: int = 0) -> Any:
        """The pipeline on the CPU, with random weights that depend on nothing but the seed.

        In the row's dtypes, but for fp16, which CPUs compute forty times slower than bf16: that is bf16.
        """
        dtypes = {part.name: "bf16" if part.dtype == "fp16" else part.dtype for part in self.spec.components}
        spec = self.spec.with_dtypes(dtypes)
        with silent():
            modules = {name: build_component(spec, name, "cpu") for name in spec.component_names()}
            for name, module in modules.items():
                fill(module, name, seed)
            pipe = assemble(spec, modules)
            set_guidance(self.workload, pipe)
        pipe.set_progress_bar_config(disable=True)
        return pipe

    def weightless(self) -> Any:
        """The pipeline on the meta device."""
        with silent():
            pipe = build_meta_pipeline(self.spec)
            set_guidance(self.workload, pipe)
        return pipe

    def call_kwargs(self, pipe: Any, **changes: Any) -> dict[str, Any]:
        """Arguments with which the pipeline makes the workload; always the same noise.

        Args:
            changes: fields of the workload that are different this time, `steps=8`.
        """
        kwargs = call_kwargs(self.spec, replace(self.workload, **changes), pipe)
        if "generator" in inspect.signature(type(pipe).__call__).parameters:
            kwargs["generator"] = torch.Generator().manual_seed(0)
        return {name: _coloured(value) for name, value in kwargs.items()}


def _coloured(value: Any) -> Any:
    """Noise in place of a black picture, whose latents have no variance for a pipeline to divide by; the same noise in each."""
    if isinstance(value, list):
        return [_coloured(item) for item in value]
    if isinstance(value, Image.Image) and value.mode == "RGB":
        width, height = value.size
        return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))
    return value


def twin_of(spec: ModelSpec, store: Store | None = None) -> Twin:
    """The tiny twin of a model, from the store if it was found before.

    The first time takes a second or two for most models, up to half a minute where the pipeline refuses the first guesses.

    Raises:
        RehearsalError: no small configuration of this pipeline could be run; the message says why.
    """
    store = store if store is not None else Store()
    key = {"twin": FORMAT, "spec": asdict(spec)}
    known = store.get("twin", key)
    if known is None:
        known = _found(spec).to_json()
        store.put("twin", key, known)
    return _twin(spec, Found.from_json(known, unlimited(spec)))


def _twin(spec: ModelSpec, found: Found) -> Twin:
    small = replace(changed(unlimited(spec), found.changes), name=f"{spec.name}-twin", parameters={})
    return Twin(small, replace(found.workload, model=small.name), found.kept)


_CLIPS_TRIED = 3
"""How many clips that pass without weights are tried with weights."""


def _found(spec: ModelSpec) -> Found:
    """The first candidate that also runs with weights and gives numbers; if none gives numbers, the first that runs."""
    runs: list[Found] = []
    reason = ""
    for found in itertools.islice(candidates(spec, why_not), _CLIPS_TRIED):
        try:
            is_finite = _runs(_twin(spec, found))
        except Exception as error:  # noqa: BLE001  # whatever it raises, this candidate does not run
            reason = sentence(error)
            continue
        if is_finite:
            return found
        runs.append(replace(found, kept=(*found.kept, "what it makes is not finite")))
    if not runs:
        raise RehearsalError(f"{spec.name} has no tiny twin: {reason}")
    return runs[0]


def _runs(twin: Twin) -> bool:
    """Runs a twin; whether everything that it gives is a number."""
    pipe = twin.pipeline()
    with silent():
        return all(
            bool(torch.isfinite(tensor).all()) for tensor in tensors_of(pipe(**twin.call_kwargs(pipe)))
        )


def tensors_of(result: Any) -> tuple[torch.Tensor, ...]:
    """Every tensor of a pipeline's result, in fp32."""
    if isinstance(result, torch.Tensor):
        return (result.detach().float(),)
    if isinstance(result, Mapping):
        return tuple(tensor for item in result.values() for tensor in tensors_of(item))
    if isinstance(result, (list, tuple)):
        return tuple(tensor for item in result for tensor in tensors_of(item))
    return ()
