"""Which card is enough, and what a clip costs on it."""

from __future__ import annotations

import dataclasses
import json

import pytest

from workbench._errors import InputError, SettingsError, UnknownNameError
from workbench.questions import Cards, cards
from workbench.questions._cards import CardRow
from workbench.questions._cards_report import format_usd
from workbench.views import plot_cards

THREE = ["h100-80gb", "rtx-3060-12gb", "rtx-4090"]


@pytest.fixture(scope="module")
def found(size) -> Cards:
    return cards(devices=THREE, **size)


def test_the_smallest_and_the_fastest(found) -> None:
    assert [row.device.name for row in found.rows] == ["rtx-3060-12gb", "rtx-4090", "h100-80gb"]
    assert found.smallest.device.name == "rtx-3060-12gb"
    assert found.fastest.seconds == min(row.seconds for row in found.rows)


def test_a_time_limit_rules_slow_cards_out(found, size) -> None:
    limit = (found.rows[0].seconds + found.rows[1].seconds) / 2
    assert found.rows[1].seconds < limit < found.rows[0].seconds
    hurried = cards(devices=THREE, max_seconds=limit, **size)
    assert hurried.smallest.device.name == "rtx-4090"
    assert hurried.rows[0].found.best is None and hurried.rows[0].found.binds == "time"
    assert "no: time binds" in str(hurried)
    figure = plot_cards(hurried)
    assert [bar.y for bar in figure.data if bar.name == "smallest that is enough"] == [
        ("GeForce RTX 4090 24 GB",)
    ]
    assert cards(devices=THREE, max_seconds=1e-6, **size).smallest is None


def test_rent_is_paid_for_the_time_of_a_clip(found, monkeypatch) -> None:
    rents = {"rtx-4090": 0.5, "h100-80gb": 3.0}
    monkeypatch.setattr(CardRow, "rent_usd_per_hour", property(lambda row: rents.get(row.device.name)))
    assert found.rows[0].usd_per_clip is None
    assert found.rows[1].usd_per_clip == pytest.approx(found.rows[1].seconds / 3600 * 0.5)
    assert found.cheapest.usd_per_clip == min(row.usd_per_clip for row in found.rows[1:])
    assert "?: the rent of 1 of the 3 cards is unknown" in str(found)
    assert format_usd(found.cheapest.usd_per_clip) in str(found)


def test_unknown_rents_are_said(found) -> None:
    unknown = [row for row in found.rows if row.rent_usd_per_hour is None]
    none_known = dataclasses.replace(found, rows=tuple(unknown))
    if unknown:
        assert none_known.cheapest is None
        assert "cheapest to rent: unknown" in str(none_known)
        assert none_known.to_json()["cheapest"] is None


def test_dollars_as_text() -> None:
    assert [format_usd(usd) for usd in (12.345, 1.0, 0.0346, 0.00012)] == [
        "$12.35",
        "$1.00",
        "$0.035",
        "$0.00012",
    ]


def test_what_cannot_be_pinned_on_a_card_rules_it_out(size) -> None:
    pinned = cards(
        devices=["t4", "rtx-4090"],
        pin={"dtype": {"transformer": "bf16"}, "quantization": {"transformer": "fp8dq"}},
        **size,
    )
    assert pinned.smallest.device.name == "rtx-4090"
    assert pinned.rows[0].found.binds == "what is pinned"


def test_its_json(found) -> None:
    data = json.loads(json.dumps(found.to_json()))
    assert data["smallest"] == "rtx-3060-12gb" and len(data["cards"]) == 3
    assert data["cards"][0]["fits"] is True


def test_bad_input_is_said() -> None:
    with pytest.raises(InputError, match="cards needs at least one device, got none"):
        cards("tiny", devices=[])
    with pytest.raises(UnknownNameError, match="unknown device 'rtx-1'"):
        cards("tiny", devices=["rtx-1"])
    with pytest.raises(SettingsError, match="cannot pin: cfg does not apply to tiny"):
        cards("tiny", devices=["t4"], pin={"cfg": "sequential"})
