"""Side by side."""

from __future__ import annotations

import json

import pytest

import workbench as wb
from workbench._errors import InputError
from workbench.questions import compare

MODEL_OFFLOAD = {"offload": {"mode": "model"}}


def test_two_cards_have_their_best_plans(size) -> None:
    found = compare(device=["rtx-3060-12gb", "rtx-4090"], **size)
    assert [side.name for side in found.sides] == ["RTX 3060 12 GB", "RTX 4090 24 GB"]
    assert all(side.is_planned and side.candidate.cost.fits for side in found.sides)
    text = str(found)
    assert "is fastest" in text and "required VRAM" in text and "NVIDIA GeForce RTX 4090 24 GB" in text
    assert "Side by side" in found._repr_html_()


def test_two_settings_are_what_estimate_says(size) -> None:
    card = "rtx-3060-12gb"
    found = compare(settings=[None, MODEL_OFFLOAD], device=card, **size)
    assert [side.name for side in found.sides] == ["best plan", "model offload"]
    values = {name: value for name, value in size.items() if name != "model"}
    cost = wb.estimate(wb.Workload.for_model("tiny", **values), MODEL_OFFLOAD, card)
    assert found.sides[1].candidate.cost == cost
    assert json.loads(json.dumps(found.to_json()))["sides"][1]["time"]["total_s"] == cost.total_s


def test_every_combination_of_caps_and_settings(size) -> None:
    found = compare(settings=[{}, MODEL_OFFLOAD], vram_gb=[8, 12], device="rtx-3060-12gb", **size)
    names = [side.name for side in found.sides]
    assert names == [
        "8 GiB, library defaults",
        "12 GiB, library defaults",
        "8 GiB, model offload",
        "12 GiB, model offload",
    ]


@pytest.mark.parametrize("device", [["t4"], ["t4"] * 9])
def test_one_side_is_no_comparison_and_nine_are_a_study(device) -> None:
    with pytest.raises(InputError, match=f"compare needs 2 to 8 combinations .* got {len(device)}"):
        compare("tiny", device=device)
