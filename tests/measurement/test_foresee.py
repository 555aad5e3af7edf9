"""Predictions for this machine, by another process where a GPU must not be touched by this one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from workbench.measurement._foresee import foresee
from workbench.models import Workload, get

TINY = get("tiny")
WORKLOAD = Workload.for_model("tiny", frames=5, height=32, width=32, steps=2)
SETTINGS = [{}, {"offload": {"mode": "model"}, "vae_tiling": {}}]


@pytest.fixture
def with_a_gpu(monkeypatch):
    """This process believes that there is a GPU; the one that it starts finds none."""
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)


def test_another_process_predicts_the_same(with_a_gpu, monkeypatch):
    there = foresee(TINY, WORKLOAD, SETTINGS)
    monkeypatch.undo()
    assert there == foresee(TINY, WORKLOAD, SETTINGS)
    assert all(one.cost["time"]["total_s"] > 0 and one.said == () for one in there)
    assert there[0].cost["workload"] == WORKLOAD.to_json()


def test_a_process_that_fails_is_a_sentence(with_a_gpu):
    [found] = foresee(replace(TINY, name="no-such-model"), WORKLOAD, [{}])
    assert found.cost is None
    assert found.said[0].startswith("no prediction: the process that predicts failed: ")
    assert "no-such-model" in found.said[0]
