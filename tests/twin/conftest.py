"""One bench per model for all tests of a worker."""

from __future__ import annotations

import functools
from dataclasses import replace

import pytest
import torch

from workbench.models import Defaults, get
from workbench.twin import Bench


@pytest.fixture(scope="session")
def bench():
    """The bench of a model of the catalogue, made once. `small` is LTX-Video, the quickest of all, with a native clip that is small too."""
    torch.set_num_threads(1)
    native = Defaults(frames=17, height=64, width=96, steps=8, guidance=3.0, fps=24)
    small = replace(get("ltx-video"), name="small", defaults=native)
    return functools.cache(lambda name: Bench(small if name == "small" else get(name)))
