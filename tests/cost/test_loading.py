"""What loading takes, by the way it is done: worked out by hand for three components."""

from __future__ import annotations

import dataclasses
import json
import shutil

import pytest

from workbench import estimate
from workbench.cost.loading import HostRam, Loaded, load_peaks, loading_notes
from workbench.devices import get

GIB = 2**30
TEXT = Loaded(plain_bytes=10 * GIB, largest_bytes=2 * GIB, stored_bytes=10 * GIB)
DENOISER = Loaded(
    plain_bytes=26 * GIB,
    largest_bytes=1 * GIB,
    stored_bytes=8 * GIB,
    originals_bytes=24 * GIB,
    largest_original_bytes=1 * GIB,
    packing_bytes=2 * GIB,
    largest_packed_bytes=GIB // 2,
)
VAE = Loaded(plain_bytes=1 * GIB, largest_bytes=GIB // 4, stored_bytes=1 * GIB)
BOTH = Loaded(
    plain_bytes=10 * GIB,
    largest_bytes=2 * GIB,
    stored_bytes=5 * GIB,
    originals_bytes=8 * GIB,
    largest_original_bytes=GIB // 2,
)


@pytest.fixture
def unknown_folder(tmp_path):
    """A saved pipeline that no row of the catalogue describes."""
    from workbench.miniature import load_tiny

    load_tiny().save_pretrained(tmp_path)
    config = tmp_path / "transformer" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"num_layers": 2}))
    return tmp_path


def in_gib(components):
    return {
        peak.way: (peak.host_bytes / GIB, peak.host_mapped_bytes / GIB, peak.vram_bytes / GIB)
        for peak in load_peaks(components)
    }


def test_every_way_of_quantising_the_denoiser():
    assert DENOISER.packed_bytes == 6 * GIB
    assert in_gib((TEXT, DENOISER, VAE)) == {
        # all three, and the packed weights beside the originals, which stay
        "cpu": (37 + 6, 6, 0),
        # all three on the GPU, and what packing a weight takes
        "gpu": (37, 24, 37 + 2),
        # the text encoder waits on the CPU; one weight of the denoiser in 16 bits, and what packing it takes
        "on_load": (11, 0, 8 + 1 + 1.5),
        # the last component is the peak
        "direct": (2, 0, 10 + 8 + 1 + 1.5),
    }


def test_quantised_while_loading_all_stay_on_the_gpu_until_the_last():
    peaks = in_gib((BOTH, DENOISER, VAE))
    assert peaks["on_load"] == (2, 0, 5 + 8 + 1 + 1.5)
    assert peaks["direct"][2] == 5 + 8 + 1 + 1.5


def test_what_is_known_to_be_mapped_is_no_memory_of_the_process():
    text, denoiser = (dataclasses.replace(part, is_mapped=True) for part in (TEXT, DENOISER))
    peaks = load_peaks((text, denoiser, VAE))
    assert in_gib((text, denoiser, VAE)) == {
        "cpu": (1 + 6, 6, 0),
        "gpu": (24, 24, 37 + 2),  # the originals come back from the GPU
        "on_load": (1, 0, 8 + 1 + 1.5),
        "direct": (0.25, 0, 10 + 8 + 1 + 1.5),
    }
    assert peaks[0].kept_bytes == 0


def test_without_quantisation_nothing_is_kept():
    for peak in load_peaks((TEXT, VAE)):
        assert peak.kept_bytes == 0 and not peak.is_quantised
    assert in_gib((TEXT, VAE)) == {
        "cpu": (11, 0, 0),
        "gpu": (11, 0, 11),
        "on_load": (11, 0, 0),
        "direct": (2, 0, 11),
    }


def test_host_ram_is_the_most_of_loading_and_running():
    [on_cpu, *_] = load_peaks((TEXT, DENOISER, VAE))
    parts = {"process_bytes": GIB, "kept_bytes": on_cpu.kept_bytes, "loading": on_cpu}
    loads = HostRam(running_bytes=18 * GIB, **parts)
    assert loads.total_bytes == (1 + 43) * GIB and loads.mapped_bytes == (1 + 18) * GIB
    runs = HostRam(running_bytes=60 * GIB, **parts)
    assert runs.total_bytes == (1 + 60 + 24) * GIB and runs.mapped_bytes == (1 + 60) * GIB
    assert runs.to_json() == {
        "process_gib": 1.0,
        "running_gib": 60.0,
        "kept_gib": 24.0,
        "loading_gib": 43.0,
        "total_gib": 85.0,
        "total_if_mapped_gib": 61.0,
    }


def test_a_way_that_the_card_has_no_room_for_is_said():
    peaks, card = load_peaks((TEXT, DENOISER, VAE)), get("rtx-4090")
    idle = HostRam(process_bytes=GIB, running_bytes=0, kept_bytes=0)
    [said] = loading_notes(idle, peaks, 20 * GIB, card)
    assert said == (
        "moved to the GPU before they are quantised, the weights would take 39.0 GiB of VRAM before the run: quantise them on the CPU, "
        "as applying a profile to a pipeline on the CPU does"
    )
    assert loading_notes(idle, peaks, 30 * GIB, card) == ()  # the run itself does not fit
    unquantised = load_peaks((TEXT, TEXT, TEXT))
    assert loading_notes(idle, unquantised, 20 * GIB, card) == ()


def test_host_ram_that_is_enough_for_mapped_files_only_is_said():
    [on_cpu, *_] = load_peaks((TEXT, DENOISER, VAE))
    ram = HostRam(process_bytes=GIB, running_bytes=18 * GIB, kept_bytes=on_cpu.kept_bytes, loading=on_cpu)
    card = get("rtx-4090")
    [said] = loading_notes(ram, (), 20 * GIB, dataclasses.replace(card, ram_bytes=32 * GIB))
    assert said == (
        "44.0 GiB of host RAM are needed if the files have another dtype than is loaded, and every tensor is cast; "
        "19.0 GiB do if they have that dtype, because they are then mapped"
    )
    for enough in (16 * GIB, 64 * GIB, None):
        assert loading_notes(ram, (), 20 * GIB, dataclasses.replace(card, ram_bytes=enough)) == ()


@pytest.mark.parametrize(
    "quantization",
    ["int8wo", {"kind": "nf4", "layers": "all"}, "fp8_storage"],
    ids=("int8wo", "all in nf4", "fp8 storage"),
)
def test_an_estimate_says_what_its_loading_takes(quantization):
    plain = estimate("tiny", vram_gb=12).to_json()["memory"]
    cost = estimate("tiny", {"quantization": {"transformer": quantization}}, vram_gb=12)
    found = cost.to_json()["memory"]
    ways = {way["way"]: way for way in found["loading"]}
    assert list(ways) == ["cpu", "gpu", "on_load", "direct"]
    assert ways["cpu"]["host_ram_gib"] > plain["loading"][0]["host_ram_gib"]
    assert 0 < ways["cpu"]["host_ram_if_mapped_gib"] < found["host_ram"]["kept_gib"] + 1
    assert ways["gpu"]["vram_gib"] > ways["on_load"]["vram_gib"] > ways["cpu"]["vram_gib"] == 0
    assert found["host_ram_gib"] == found["host_ram"]["total_gib"] >= found["host_ram"]["total_if_mapped_gib"]
    assert plain["host_ram"]["kept_gib"] == 0
    json.dumps(found)


def test_loading_survives_its_json():
    assert Loaded.from_json(json.loads(json.dumps(DENOISER.to_json()))) == DENOISER


def test_a_folder_says_whether_its_weights_are_mapped(unknown_folder, tmp_path_factory):
    """Its files have the dtype that is loaded; the configurations alone do not say."""
    known = estimate(unknown_folder, vram_gb=12).to_json()["memory"]["loading"][0]
    assert known["host_ram_gib"] == known["host_ram_if_mapped_gib"] == 0
    bare = tmp_path_factory.mktemp("bare") / "pipeline"
    shutil.copytree(unknown_folder, bare, ignore=shutil.ignore_patterns("*.safetensors"))
    unknown = estimate(bare, vram_gb=12).to_json()["memory"]["loading"][0]
    assert unknown["host_ram_gib"] > unknown["host_ram_if_mapped_gib"] == 0
