"""Options of PyTorch's allocator: what is told to it, what is said, what is predicted."""

from __future__ import annotations

import re

import pytest
import torch

import workbench as wb
from workbench._errors import SettingsError
from workbench.cost.allocator import AllocatorOptions
from workbench.devices import cpu, get
from workbench.models import get as get_model
from workbench.techniques import Allocator, Settings
from workbench.techniques._allocator_settings import told

GROWING = Allocator(expandable_segments=True, max_split_size_mb=128)


@pytest.fixture
def settings_of_pytorch():
    """Reads the allocator's settings; puts them back as they were."""
    before = torch._C._accelerator_getAllocatorSettings()
    yield torch._C._accelerator_getAllocatorSettings
    torch._C._accelerator_setAllocatorSettings(before)


def test_told_beside_what_is_set_already_and_put_back(settings_of_pytorch) -> None:
    torch._C._accelerator_setAllocatorSettings("roundup_power2_divisions:4")
    undo = told("expandable_segments:True,max_split_size_mb:128")
    assert settings_of_pytorch() == (
        "roundup_power2_divisions:4,expandable_segments:True,max_split_size_mb:128"
    )
    undo()
    assert settings_of_pytorch() == "roundup_power2_divisions:4"


def test_applied_to_a_real_pipeline(miniature, settings_of_pytorch) -> None:
    handle = GROWING.apply(miniature.pipe)
    conf = "expandable_segments:True,max_split_size_mb:128"
    if torch.cuda.is_available():
        assert settings_of_pytorch().endswith(conf)
        assert handle.report[0] == f"PyTorch's allocator was told {conf} for what it reserves from now on"
    else:
        assert handle.report == [
            "PyTorch's allocator was not told: this machine has no CUDA device; "
            f"start the process with PYTORCH_ALLOC_CONF={conf}"
        ]
    handle.remove()
    assert conf not in settings_of_pytorch()


def test_the_environment_variable_is_said_in_a_profile() -> None:
    profile = wb.Profile.of(
        wb.estimate("wan2.1-t2v-1.3b", {"allocator": {"expandable_segments": True}}, "rtx-4090")
    )
    said = "start the process with PYTORCH_ALLOC_CONF=expandable_segments:True, so that weights are loaded under it"
    assert said in profile.to_json()["data"]["prediction"]["notes"]


def test_expandable_segments_are_predicted_to_reserve_less() -> None:
    plain, growing = (
        wb.estimate("wan2.1-t2v-1.3b", settings, "h200")
        for settings in ({}, {"allocator": {"expandable_segments": True}})
    )
    assert growing.price.peak_allocated_bytes == plain.price.peak_allocated_bytes
    assert (
        growing.price.peak_allocated_bytes
        < growing.price.peak_reserved_bytes
        < plain.price.peak_reserved_bytes
    )
    assert growing.price.seconds == plain.price.seconds


def test_a_threshold_changes_nothing_predicted_and_says_so() -> None:
    settings = Settings.of([Allocator(garbage_collection_threshold=0.8)])
    assert settings.allocator_options() == AllocatorOptions()
    assert settings.notes(get_model("wan2.1-t2v-1.3b"))[-1] == (
        "garbage_collection_threshold acts only under torch.cuda.set_per_process_memory_fraction, "
        "and changes nothing in this prediction"
    )


def test_it_is_of_no_use_without_cuda() -> None:
    model = get_model("wan2.1-t2v-1.3b")
    assert GROWING.applies_to(model, get("rtx-4090")) is None
    assert str(GROWING.applies_to(model, cpu())).startswith(
        "these are options of PyTorch's CUDA allocator, and "
    )


def test_bad_parameters_are_refused() -> None:
    message = "allocator max_split_size_mb must be a whole number of MiB of at least 20, got 5"
    with pytest.raises(SettingsError, match=f"^{re.escape(message)}$"):
        Settings.parse({"allocator": {"max_split_size_mb": 5}})
