"""The scan of layers: what it finds on a real tiny pipeline, that it goes on after a stop, and what plans then say."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest

import workbench as wb
from workbench import records
from workbench._errors import InputError, UnknownNameError
from workbench.measurement import sensitivity
from workbench.miniature import build_tiny
from workbench.models import Workload, get
from workbench.quality import quality_of, scan_file
from workbench.techniques import Settings

SMALL = {"frames": 5, "height": 32, "width": 32, "steps": 2, "inputs": 2, "clips": 2}


@pytest.fixture(scope="module")
def pipe() -> Any:
    made = build_tiny()
    made.set_progress_bar_config(disable=True)
    return made


@pytest.fixture(scope="module")
def scan(pipe: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Both kinds on every block."""
    return sensitivity(pipe, path=tmp_path_factory.mktemp("scan") / "scan.nc", **SMALL)


def weights_of(pipe: Any) -> dict[str, int]:
    return {name: id(parameter) for name, parameter in pipe.transformer.named_parameters()}


def test_every_block_alone_costs_something_less_in_eight_bits_than_in_four(scan):
    blocks = len(build_tiny().transformer.blocks)
    assert scan.layers[:blocks] == tuple(f"blocks.{number}" for number in range(blocks))
    for eight, four in zip(scan.kinds["int8wo"].distances, scan.kinds["nf4"].distances, strict=True):
        assert 0 < eight < four
    assert scan.kinds["int8wo"].whole < scan.kinds["nf4"].whole
    assert all(
        eight > four
        for eight, four in zip(scan.kinds["int8wo"].psnr_db, scan.kinds["nf4"].psnr_db, strict=True)
    )
    assert len(scan.kinds["nf4"].psnr_db) == 2


def test_the_error_of_all_layers_is_about_the_sum_of_theirs(scan):
    found = scan.kinds["nf4"]
    assert sum(found.distances) == pytest.approx(found.whole, rel=0.5)


def test_bytes_are_those_that_are_stored(scan):
    # fp32 to int8 with a scale per output channel, and to four bits with a scale per 64 weights
    for loaded, eight, four in zip(
        scan.layer_bytes, scan.kinds["int8wo"].packed_bytes, scan.kinds["nf4"].packed_bytes, strict=True
    ):
        assert 0.25 < eight / loaded < 0.3
        assert 0.125 < four / loaded < 0.16


def test_the_pipeline_is_left_as_it_was(pipe, tmp_path):
    before = weights_of(pipe)
    sensitivity(pipe, kinds=("nf4",), path=tmp_path / "scan.nc", **{**SMALL, "clips": 0})
    assert weights_of(pipe) == before
    assert not pipe.transformer._forward_pre_hooks


def test_single_layers_are_named_in_full(pipe, tmp_path):
    found = sensitivity(
        pipe, kinds=("nf4",), by="layer", path=tmp_path / "scan.nc", **{**SMALL, "clips": 0, "inputs": 1}
    )
    assert "blocks.0.attn1.to_q" in found.layers
    assert len(found.layers) > len(build_tiny().transformer.blocks)


def test_a_scan_that_was_stopped_goes_on_and_ends_as_one_that_was_not(pipe, scan, tmp_path):
    path = tmp_path / "scan.nc"

    def stopping(line: str) -> None:
        if line.startswith("nf4 of blocks.1"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sensitivity(pipe, path=path, say=stopping, **SMALL)
    half = records.load(path)
    assert math.isnan(half["layer_distance"].values[1][-1])
    lines: list[str] = []
    whole = sensitivity(pipe, path=path, say=lines.append, **SMALL)
    assert not any(line.startswith("int8wo of blocks") for line in lines)
    assert lines[0].startswith("nf4 of blocks.1")
    assert [path.name for path in tmp_path.iterdir()] == ["scan.nc"]
    for kind, found in scan.kinds.items():
        assert whole.kinds[kind].distances == pytest.approx(found.distances)
        assert whole.kinds[kind].psnr_db == pytest.approx(found.psnr_db)
    lines.clear()
    sensitivity(pipe, path=path, say=lines.append, **SMALL)
    assert lines == []


def test_other_inputs_begin_anew(pipe, tmp_path):
    path, small = tmp_path / "scan.nc", {**SMALL, "clips": 0, "inputs": 1}
    sensitivity(pipe, kinds=("nf4",), path=path, **small)
    lines: list[str] = []
    sensitivity(pipe, kinds=("nf4",), path=path, say=lines.append, **{**small, "seed": 1})
    assert lines[0].startswith("nf4 of blocks.0")


def test_the_record_has_its_layers_and_reads_back(scan, tmp_path):
    path = tmp_path / "scan.nc"
    records.save(scan.to_dataset(), path)
    read = records.load(path)
    assert read["layer"].values[0] == "transformer.blocks.0"
    assert read["layer_distance"].dims == ("trial", "layer")
    assert list(read["trial"].values) == [
        "int8wo", "int8wo/clip 0", "int8wo/clip 1", "nf4", "nf4/clip 0", "nf4/clip 1", "unrelated"
    ]  # fmt: skip
    again = type(scan).from_dataset(read)
    assert again.kinds == scan.kinds
    assert (again.layers, again.unrelated) == (scan.layers, scan.unrelated)


def test_a_mixed_quantisation_spares_the_most_sensitive_layers(scan):
    worst = scan.order("nf4")[0]
    assert scan.kinds["nf4"].distances[scan.layers.index(worst)] == max(scan.kinds["nf4"].distances)
    mixed = scan.settings("nf4", high_precision=1)
    choice = mixed["quantization"]["transformer"]
    assert choice["kind"] == "nf4"
    assert len(choice["skip"]) == 1
    applied = build_tiny()
    handle = wb.Settings.parse(mixed).techniques[0].apply(applied)
    names = {
        layer: type(applied.transformer.get_submodule(layer).attn1.to_q.weight).__name__
        for layer in scan.layers
    }
    assert names.pop(worst) == "Parameter"
    assert set(names.values()) == {"FourBitTensor"}
    handle.remove()
    assert scan.settings("nf4", high_precision=0) == {"quantization": {"transformer": "nf4"}}


def test_a_budget_in_bytes_is_kept(scan):
    least, most = sum(scan.kinds["nf4"].packed_bytes), sum(scan.layer_bytes)
    nothing = scan.settings("nf4", budget_bytes=least)
    assert nothing == {"quantization": {"transformer": "nf4"}}
    everything = scan.settings("nf4", budget_bytes=most)
    assert len(everything["quantization"]["transformer"]["skip"]) == len(scan.layers)
    one = max(
        loaded - packed
        for loaded, packed in zip(scan.layer_bytes, scan.kinds["nf4"].packed_bytes, strict=True)
    )
    some = scan.settings("nf4", budget_bytes=least + one)
    assert 1 <= len(some["quantization"]["transformer"]["skip"]) < len(scan.layers)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({}, "one of the two"),
        ({"high_precision": 1, "budget_bytes": 1e9}, "one of the two"),
        ({"high_precision": 99}, "high_precision must be 0 to"),
        ({"budget_bytes": 1.0}, "budget_bytes must be at least"),
    ],
)
def test_budgets_that_make_no_sense_are_refused(scan, arguments, said):
    with pytest.raises(InputError, match=said):
        scan.settings("nf4", **arguments)
    with pytest.raises(UnknownNameError, match="scanned kind"):
        scan.order("fp4")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"kinds": ()}, "at least one kind"),
        ({"kinds": ("nf5",)}, "kind of quantisation"),
        ({"kinds": ("int4wo",)}, "CUDA devices only"),
        ({"by": "head"}, "way to take a network apart"),
        ({"inputs": 0}, "inputs of sensitivity must be"),
        ({"clips": -1}, "clips of sensitivity must be"),
        ({"component": "unet"}, "component"),
    ],
)
def test_bad_input_is_refused_before_anything_runs(pipe, arguments, said):
    with pytest.raises(InputError, match=said):
        sensitivity(pipe, **arguments)


def test_estimates_then_say_measured_on_this_model(pipe, scan, monkeypatch, tmp_path):
    monkeypatch.setenv("WORKBENCH_CONFIG_DIR", str(tmp_path))
    spec = get("tiny")

    def distance(settings: dict[str, Any], model: str = "tiny") -> Any:
        found = quality_of(Settings.parse(settings), get(model), Workload.for_model(model))
        return found.effects[0].distance

    nf4 = {"quantization": {"transformer": "nf4"}}
    assert distance(nf4) is None
    path = scan_file(spec, "transformer")
    path.parent.mkdir(parents=True)
    records.save(scan.to_dataset(), path)
    whole = distance(nf4)
    assert (whole.provenance, whole.clips) == ("measured on this model", 2)
    assert whole.psnr_low_db == pytest.approx(min(scan.kinds["nf4"].psnr_db))
    mixed = distance(scan.settings("nf4", high_precision=1))
    assert mixed.psnr_db > whole.psnr_db
    assert "shares of the prediction's error" in mixed.source
    # what the scan does not know: other layers, other kinds, half of a block, another model
    assert distance({"quantization": {"transformer": {"kind": "nf4", "layers": "all"}}}) is None
    assert distance({"quantization": {"transformer": "fp4"}}) is None
    assert distance({"quantization": {"transformer": {"kind": "nf4", "skip": [r"\.ffn\."]}}}) is None
    assert distance({"quantization": {"transformer": "nf4", "text_encoder": "nf4"}}) is None
    assert distance(nf4, "wan2.1-t2v-1.3b") is None


def test_a_live_pipeline_that_was_scanned_is_estimated_from_it(pipe, monkeypatch, tmp_path):
    monkeypatch.setenv("WORKBENCH_CONFIG_DIR", str(tmp_path))
    settings = {"quantization": {"transformer": "nf4"}, "vae_slicing": {}}
    before = wb.estimate(pipe, settings, vram_gb=12).to_json()["quality"]
    assert before["unknown"] == ["quantization"]
    wb.sensitivity(pipe, kinds=("nf4",), **{**SMALL, "inputs": 1})
    after = wb.estimate(pipe, settings, vram_gb=12).to_json()["quality"]
    assert after["unknown"] == []
    assert after["distance"]["provenance"] == "measured on this model"
    assert {file.suffix for file in (tmp_path / "quality").iterdir()} == {".nc"}


def test_an_incomplete_scan_gives_no_settings(scan):
    open_end = dataclasses.replace(scan.kinds["nf4"], distances=(float("nan"),) * len(scan.layers))
    half = dataclasses.replace(scan, kinds={"nf4": open_end})
    with pytest.raises(InputError, match="not complete"):
        half.settings("nf4", high_precision=1)
    assert half.share("nf4", ("blocks",)) is None
