"""Asks a pipeline whether a configuration works: it is built and its own call runs, without weights."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections import Counter
from collections.abc import Iterator

from torch import nn

from workbench.cost._trace import ENTER, RUN, Trace
from workbench.cost.rehearsal import Target, components_of, rehearse
from workbench.models import ModelSpec, Workload
from workbench.models._build import build_meta_pipeline, call_kwargs
from workbench.twin._sentence import sentence


def why_not(spec: ModelSpec, workload: Workload) -> str | None:
    """None if the pipeline of this row makes this workload, else what stopped it."""
    try:
        with silent():
            pipe = build_meta_pipeline(spec)
            trace, _ = rehearse(pipe, call_kwargs(spec, workload, pipe), Target("cpu"))
    except Exception as error:  # noqa: BLE001  # whatever a constructor or a forward raises is an answer: it does not work
        return sentence(error)
    parts = components_of(pipe)
    idle = [name for name, flops in _flops(trace).items() if flops < _USED * _count(parts[name])]
    return f"{idle[0]} is called and computes next to nothing: the clip is too small for it" if idle else None


_USED = 0.1
"""FLOPs per parameter below which most of a network was not used: a matrix takes two per parameter and token, a kernel more."""


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _flops(trace: Trace) -> Counter[str]:
    """Component that was called -> its FLOPs."""
    found: Counter[str] = Counter()
    for event in trace.events:
        if event[0] == ENTER:
            found[event[4].split(".")[0]] += event[1].flops
        elif event[0] == RUN and event[2]:
            found[event[2].split(".")[0]] += event[1].flops
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
