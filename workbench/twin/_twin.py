"""The tiny twin of a model: the same classes of pipeline and networks, small enough to run on a CPU in a moment."""

from __future__ import annotations

import inspect
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from workbench._store import Store
from workbench.models import ModelSpec, Workload
from workbench.models._build import assemble, build_component, build_meta_pipeline, call_kwargs
from workbench.twin._check import silent, why_not
from workbench.twin._leaves import Place, Value, changed
from workbench.twin._search import search
from workbench.twin._weights import fill

FORMAT = 10
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
        pipe.set_progress_bar_config(disable=True)
        return pipe

    def weightless(self) -> Any:
        """The pipeline on the meta device."""
        with silent():
            return build_meta_pipeline(self.spec)

    def call_kwargs(self, pipe: Any, **changes: Any) -> dict[str, Any]:
        """Arguments with which the pipeline makes the workload; always the same noise.

        Args:
            changes: fields of the workload that are different this time, `steps=8`.
        """
        kwargs = call_kwargs(self.spec, replace(self.workload, **changes), pipe)
        if "generator" in inspect.signature(type(pipe).__call__).parameters:
            kwargs["generator"] = torch.Generator().manual_seed(0)
        return kwargs


def twin_of(spec: ModelSpec, store: Store | None = None) -> Twin:
    """The tiny twin of a model, from the store if it was found before.

    The first time takes a second for most models, up to half a minute where the pipeline refuses the first guess.

    Raises:
        RehearsalError: no small configuration of this pipeline could be run; the message says why.
    """
    store = store if store is not None else Store()
    key = {"twin": FORMAT, "spec": asdict(spec)}
    known = store.get("twin", key)
    if known is None:
        found = search(spec, why_not)
        known = {
            "changes": [[name, list(path), value] for (name, path), value in found.changes.items()],
            "workload": found.workload.to_json(),
            "kept": list(found.kept),
        }
        store.put("twin", key, known)
    changes: dict[Place, Value] = {
        (name, tuple(path)): tuple(value) if isinstance(value, list) else value
        for name, path, value in known["changes"]
    }
    small = replace(changed(spec, changes), name=f"{spec.name}-twin", parameters={})
    return Twin(
        small, Workload.from_json({**known["workload"], "model": small.name}, small), tuple(known["kept"])
    )
