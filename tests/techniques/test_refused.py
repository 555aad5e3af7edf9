"""Techniques that a pipeline's own code fails under: refused with a sentence, and not tried again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch

from workbench._errors import SettingsError
from workbench._estimate import Predictor
from workbench.cost import Store
from workbench.devices import get as device
from workbench.models import Workload
from workbench.techniques import Settings
from workbench.techniques._technique import UNKNOWN, AbstractTechnique, Handle

applied = []


@dataclass(frozen=True, kw_only=True, slots=True)
class HalfTheChannels(AbstractTechnique):
    """Gives the denoiser half of the channels that it takes."""

    id: ClassVar[str] = "half_the_channels"

    def applies_to(self, model, device):
        return None

    def rewrites(self, model):
        return frozenset({"transformer"})

    def effect(self):
        return UNKNOWN

    def apply(self, pipe):
        applied.append(pipe)
        module, forward = pipe.transformer, pipe.transformer.forward

        def halved(hidden_states: torch.Tensor, *args, **kwargs):
            return forward(hidden_states[:, : hidden_states.shape[1] // 2], *args, **kwargs)

        module.forward = halved
        handle = Handle()
        handle.did("the denoiser gets half of the channels", lambda: vars(module).pop("forward"))
        return handle


def test_a_failure_under_a_technique_is_a_sentence_that_is_kept(tmp_path):
    workload = Workload.for_model("tiny", frames=5, height=32, width=32, steps=1)
    settings = Settings((HalfTheChannels(),))
    for _ in range(2):
        predictor = Predictor(workload, Store(tmp_path))
        with pytest.raises(
            SettingsError, match=r"^WanPipeline fails under half_the_channels: \w+: .*channel"
        ):
            predictor.cost(settings, device("rtx-4090"))
    assert len(applied) == 1  # the second time it was read


def test_the_pipeline_is_as_before_and_other_settings_are_priced(tmp_path):
    workload = Workload.for_model("tiny", frames=5, height=32, width=32, steps=1)
    untouched = Predictor(workload, Store(tmp_path / "one")).cost(Settings(), device("rtx-4090"))
    predictor = Predictor(workload, Store(tmp_path / "other"))
    with pytest.raises(SettingsError):
        predictor.cost(Settings((HalfTheChannels(),)), device("rtx-4090"))
    assert predictor.cost(Settings(), device("rtx-4090")) == untouched
