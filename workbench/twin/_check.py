"""Asks a pipeline whether a configuration works: it is built and its own call runs, without weights."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator

from workbench.cost.rehearsal import Target, rehearse
from workbench.models import ModelSpec, Workload
from workbench.models._build import build_meta_pipeline, call_kwargs
from workbench.twin._sentence import sentence


def why_not(spec: ModelSpec, workload: Workload) -> str | None:
    """None if the pipeline of this row makes this workload, else what stopped it."""
    try:
        with silent():
            pipe = build_meta_pipeline(spec)
            rehearse(pipe, call_kwargs(spec, workload, pipe), Target("cpu"))
    except Exception as error:  # noqa: BLE001  # whatever a constructor or a forward raises is an answer: it does not work
        return sentence(error)
    return None


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
