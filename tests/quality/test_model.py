"""Curves, their ends, and how losses add up."""

from __future__ import annotations

import math

import pytest

from workbench._errors import InputError
from workbench.models import Workload, get
from workbench.quality import Loss, Part, QualityRecords, Row, combined, load, predicted, save
from workbench.techniques import Settings

SPEC, WORKLOAD = get("wan2.1-t2v-1.3b"), Workload.for_model("wan2.1-t2v-1.3b")


def loss_of(records, settings):
    return predicted(Settings.parse(settings), SPEC, WORKLOAD, records)


def test_a_curve_is_a_power_law_between_its_points(records):
    # from 1e-3 at 1 to 16e-3 at 4 is the square: 4e-3 at 2
    assert records.read(Part("steps", 2.0, 50.0)).mse == pytest.approx((4e-3, 8e-3))
    assert records.read(Part("steps", 4.0, 50.0)).mse == pytest.approx((16e-3, 32e-3))


def test_a_curve_goes_to_nothing_in_proportion_but_not_far_and_not_beyond_its_end(records):
    assert records.read(Part("steps", 0.5, 50.0)).mse == pytest.approx((5e-4, 1e-3))
    assert records.read(Part("steps", 0.49, 50.0)) is None
    assert records.read(Part("steps", 4.1, 50.0)) is None


def test_the_nearest_variant_counts(records):
    assert records.read(Part("steps", 1.0, 30.0)).mse[0] == pytest.approx(2e-3)
    assert records.read(Part("steps", 1.0, 40.0)).mse[0] == pytest.approx(1e-3)


def test_a_point_without_any_loss_is_joined_by_a_straight_line(records):
    rows = [Row(Part("x", 1.0), (0.0,), (0.0,)), Row(Part("x", 4.0), (0.4,), (0.8,))]
    known = {"unrelated_mse": (1.0,), "unrelated_dssim": (1.0,), "provenance": "", "source": ""}
    found = QualityRecords.of(rows, scenes=("a",), **known).read(Part("x", 2.0))
    assert (found.mse, found.dssim) == (pytest.approx((0.2,)), pytest.approx((0.4,)))


def test_what_skips_layers_is_read_as_the_whole_where_it_was_not_measured(records):
    some = {"quantization": {"transformer": {"kind": "nf4", "skip": ["^blocks.0"]}}}
    assert loss_of(records, some).mse == loss_of(records, {"quantization": {"transformer": "nf4"}}).mse


def test_small_errors_add_in_mean_square(records):
    both = loss_of(records, {"steps": {"count": 25}, "quantization": {"transformer": "int8wo"}})
    assert both.mse == pytest.approx((1.1e-3, 2.2e-3), rel=0.01)
    assert both.distance().psnr_db == pytest.approx(-10 * math.log10(1.1e-3 * math.sqrt(2)), abs=0.05)


def test_large_errors_saturate_at_unrelated_clips_and_one_alone_stays_as_measured(records):
    far = Loss((0.09, 0.2), (0.7, 0.9), "measured on the miniature", "")
    twice = combined([far, far], records.ceiling)
    assert twice.mse == pytest.approx((0.1 * (1 - 0.01), 0.2))
    assert combined([far], records.ceiling).mse == pytest.approx(far.mse)


def test_a_combination_is_known_only_if_all_of_it_is(records):
    assert loss_of(records, {"steps": {"count": 25}, "lora": {"rank": 8}}) is None
    assert loss_of(records, {"vae_slicing": {}}) is None
    assert loss_of(records, {"steps": {"count": 25}, "vae_slicing": {}}) == loss_of(
        records, {"steps": {"count": 25}}
    )


def test_losses_over_other_clips_are_combined_by_rank_and_are_as_sure_as_the_weaker(records):
    other = Loss((3e-3, 1e-3, 2e-3), (0.03, 0.01, 0.02), "measured on this model", "three clips")
    mine = Loss((1e-6, 2e-6), (1e-5, 2e-5), "measured on the miniature", "two clips")
    found = combined([other, mine], records.ceiling)
    assert found.mse == pytest.approx((1e-3, 3e-3), rel=0.01)
    assert (found.provenance, found.source) == ("measured on the miniature", "three clips; two clips")


def test_records_are_saved_and_read_back(records, tmp_path):
    path = tmp_path / "records.json"
    save(records, path)
    assert load(path) == records
    assert load(path).about == records.about
    assert [file.name for file in tmp_path.iterdir()] == ["records.json"]


@pytest.mark.parametrize("text", ["", "[]", '{"format": 9}', '{"format": 1, "curves": []}'])
def test_files_that_are_no_records_are_refused(text, tmp_path):
    path = tmp_path / "records.json"
    path.write_text(text)
    with pytest.raises(InputError, match="quality records"):
        load(path)
    with pytest.raises(InputError, match="cannot be read"):
        load(tmp_path / "none.json")


def test_a_row_of_other_clips_is_refused(records):
    known = {"unrelated_mse": (1.0,), "unrelated_dssim": (1.0,), "provenance": "", "source": ""}
    with pytest.raises(InputError, match="must have 1 clips, got 2"):
        QualityRecords.of([Row(Part("x"), (0.1, 0.2), (0.1, 0.2))], scenes=("a",), **known)
