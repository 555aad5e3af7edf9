"""What an estimate says of quality, with records and without."""

from __future__ import annotations

import dataclasses

import pytest

from workbench.models import Workload, get
from workbench.quality import quality_of, use
from workbench.search._words import describe_effect, describe_loss, describe_quality
from workbench.techniques import Settings
from workbench.testing.fakes import fake_cost

STEPS = {"steps": {"count": 25}}
NF4 = {"quantization": {"transformer": "nf4"}}


def quality(settings, model="wan2.1-t2v-1.3b"):
    return quality_of(Settings.parse(settings), get(model), Workload.for_model(model))


def test_without_records_what_nobody_measured_is_unknown():
    found = quality(NF4)
    assert (found.unknown, found.distance) == (("quantization",), None)
    assert found.to_json()["effects"][0]["distance"] is None


def test_with_records_the_miniature_says_it_and_the_json_has_every_number_with_its_provenance(records):
    with use(records):
        said = quality(NF4).to_json()
    effect = said["effects"][0]
    assert (effect["provenance"], effect["source"], effect["loss_percent"]) == (
        "measured on the miniature",
        "two clips",
        None,
    )
    assert effect["distance"] == said["distance"]
    assert said["distance"]["psnr_high_db"] == pytest.approx(30.0)
    assert said["distance"]["psnr_low_db"] == pytest.approx(27.0, abs=0.02)
    assert (said["distance"]["clips"], said["unknown"], said["loss_percent"]) == (2, [], None)


def test_what_is_published_stays_beside_what_the_miniature_shows(records):
    with use(records):
        (effect,) = quality(STEPS).effects
    assert (effect.provenance, effect.loss_percent) == ("published", 5.0)
    assert effect.distance.provenance == "measured on the miniature"
    words = describe_effect(effect)
    assert words.startswith("loss 5 % quality, published; PSNR 28.5 dB (27.0 to 30.0), SSIM 0.985")


def test_one_unknown_part_leaves_the_whole_unknown_and_is_named(records):
    with use(records):
        found = quality({**NF4, "vae_tiling": {}})
    assert (found.unknown, found.distance) == (("vae_tiling",), None)
    assert "effect unknown of vae_tiling" in describe_quality(_cost(found))


def test_what_changed_nothing_on_the_miniature_is_unknown_elsewhere(records):
    with use(records):
        assert quality({"cache": {"kind": "pab"}}).unknown == ("cache",)


def test_the_miniature_itself_is_measured_on_this_model(records):
    with use(records):
        found = quality({"steps": {"count": 13}, **NF4}, "miniature")
    assert {effect.distance.provenance for effect in found.effects} == {"measured on this model"}
    assert found.distance.provenance == "measured on this model"


def test_words_for_a_whole_that_was_measured(records):
    with use(records):
        cost = _cost(quality({**NF4, "vae_slicing": {}}))
    assert describe_quality(cost) == (
        "PSNR 28.5 dB (27.0 to 30.0), SSIM 0.985, measured on the miniature, against the un-optimised run of the same seed"
    )
    assert describe_loss(cost) == "28 dB"


def test_a_combination_says_that_it_is_worked_out_and_how_far_off_others_were(records):
    held_out = {"combinations": 48, "psnr_median_abs_error_db": 1.23}
    with use(dataclasses.replace(records, about={"held_out": held_out})):
        one, both = quality(NF4), quality({**NF4, **STEPS})
    assert not one.distance.predicted
    assert both.distance.predicted
    assert both.distance.psnr_db < one.distance.psnr_db
    assert both.distance.source.endswith("1.2 dB off in the middle of 48 others")
    assert "from parts measured on the miniature" in describe_quality(_cost(both))


def test_exact_settings_have_no_distance(records):
    with use(records):
        found = quality({"vae_slicing": {}})
    assert found.is_exact
    assert found.distance is None


def _cost(found):
    return dataclasses.replace(fake_cost(), quality=found)
