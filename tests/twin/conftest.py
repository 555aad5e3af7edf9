"""One bench per model for all tests of a worker."""

from __future__ import annotations

import functools

import pytest
import torch

from workbench.models import get
from workbench.twin import Bench


@pytest.fixture(scope="session")
def bench():
    """The bench of a model of the catalogue, made once."""
    torch.set_num_threads(1)
    return functools.cache(lambda name: Bench(get(name)))
