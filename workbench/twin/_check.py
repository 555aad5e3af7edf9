"""Asks a pipeline whether a configuration works: it is built and its own call runs, without weights."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator, Mapping

from torch import nn

from workbench.cost._trace import Trace
from workbench.cost.rehearsal import Target, components_of, rehearse
from workbench.models import ModelSpec, Workload
from workbench.models._build import build_meta_pipeline, call_kwargs, set_guidance
from workbench.twin._search import TOO_SMALL
from workbench.twin._sentence import sentence


def why_not(spec: ModelSpec, workload: Workload) -> str | None:
    """None if the pipeline of this row makes this workload, else what stopped it."""
    try:
        with silent():
            pipe = build_meta_pipeline(spec)
            set_guidance(workload, pipe)
            trace, _ = rehearse(pipe, call_kwargs(spec, workload, pipe), Target("cpu"))
    except Exception as error:  # noqa: BLE001  # whatever a constructor or a forward raises is an answer: it does not work
        return sentence(error)
    idle = [name for name, share in _shares(components_of(pipe), trace).items() if share < _USED]
    return f"{idle[0]} is called and hardly used: {TOO_SMALL}" if idle else None


_USED = 0.1
"""Share of a network's parameters that a call uses at least: an autoencoder that only decodes uses half of them."""


def _shares(parts: Mapping[str, nn.Module], trace: Trace) -> dict[str, float]:
    """Component that was called -> share of its parameters in layers that ran."""
    ran = {path for path, _, _ in trace.walk()}
    found: dict[str, float] = {}
    for name in dict.fromkeys(path.split(".")[0] for path in ran):
        if name not in parts:  # the pipeline's own ops, and its scheduler's
            continue
        counts = {
            path: sum(parameter.numel() for parameter in module.parameters(recurse=False))
            for path, module in parts[name].named_modules(prefix=name)
        }
        found[name] = sum(count for path, count in counts.items() if path in ran) / (
            sum(counts.values()) or 1
        )
    return found


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """No warnings and no log lines of the libraries inside the block: most of what is tried is not meant to work."""
    previous = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(previous)
