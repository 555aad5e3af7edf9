"""Settings, cards and effects in short words."""

from __future__ import annotations

import pytest

from workbench.devices import get
from workbench.models import Workload
from workbench.search._choices import spared_patterns
from workbench.search._words import (
    describe_binds,
    describe_bytes,
    describe_choice,
    describe_device,
    describe_loss,
    describe_missing,
    describe_quality,
    describe_settings,
    describe_technique,
    describe_workload,
)
from workbench.techniques import ALL
from workbench.testing.fakes import exact, fake_cost, published, unknown

GIB = 2**30

pytestmark = pytest.mark.usefixtures("fixed_residuals")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "library defaults"),
        ({"offload": {"mode": "none"}}, "no offload"),
        ({"offload": {"mode": "model"}}, "model offload"),
        ({"offload": {"mode": "group"}}, "group offload by 1 block"),
        (
            {"offload": {"mode": "group", "blocks_per_group": 4, "stream": True}},
            "group offload by 4 blocks with a stream",
        ),
        (
            {"offload": {"mode": "sequential", "components": ["text_encoder", "vae"]}},
            "sequential offload of text encoder, VAE",
        ),
        ({"vae_tiling": {}}, "VAE tiles"),
        ({"vae_tiling": {"tile_height": 256, "tile_width": 256}}, "VAE tiles 256 px"),
        (
            {"vae_tiling": {"tile_height": 256, "tile_width": 384, "stride_height": 192}},
            "VAE tiles 256×384 px every 192×default px",
        ),
        ({"vae_slicing": {}}, "VAE slicing"),
        (
            {"quantization": {"transformer": "int8wo", "transformer_2": "int8wo", "text_encoder": "nf4"}},
            "int8 transformer + transformer 2 · nf4 text encoder",
        ),
        (
            {
                "quantization": {
                    "transformer": {"kind": "nf4_double", "layers": "all", "skip": ["norm"]},
                    "text_encoder": "gguf_q4_k",
                }
            },
            "nf4 double (all layers, without norm) transformer · GGUF Q4_K text encoder",
        ),
        ({"dtype": {"vae": "bf16"}}, "VAE in bf16"),
        ({"fused_qkv": {}, "lora": {"rank": 64, "count": 2}}, "fused projections · 2 LoRAs of rank 64"),
        ({"attention": {"backend": "flash"}}, "flash attention"),
        ({"cfg": {"mode": "sequential"}}, "sequential guidance"),
        ({"steps": {"count": 30}}, "30 steps"),
        ({"temporal_chunks": {"frames": 41, "overlap": 8}}, "chunks of 41 frames, overlap 8"),
        ({"cache": {"kind": "first_block"}}, "first block cache"),
        ({"cache": {"kind": "taylorseer", "interval": 8}}, "taylorseer cache of 8 steps"),
        ({"cache": {"kind": "pab", "interval": 4}}, "pab cache of 4 calls"),
        (
            {"quantization": {"transformer": {"kind": "nf4", "skip": spared_patterns(0.25, 30)}}},
            "nf4 (without 8 blocks) transformer",
        ),
        (
            {"offload": {"mode": "group", "stream": True, "low_cpu_mem_usage": True, "resident_blocks": 15}},
            "group offload by 1 block with a stream, pinned late (15 blocks resident)",
        ),
        ({"compile": {}}, "compiled"),
        ({"compile": {"mode": "max-autotune"}}, "compiled max-autotune"),
        ({"compile": {"regional": False}}, "compiled as a whole"),
        ({"new_thing": {"a": 1}}, 'new thing {"a": 1}'),
        ({"new_thing": {}}, "new thing"),
        (
            {
                "offload": {"mode": "model"},
                "vae_tiling": {"tile_height": 256, "tile_width": 256},
                "quantization": {"transformer": "int8wo"},
                "steps": {"count": 30},
            },
            "model offload · VAE tiles 256 px · int8 transformer · 30 steps",
        ),
    ],
)
def test_settings_in_words(settings, words):
    assert describe_settings(settings) == words


@pytest.mark.parametrize("technique", [technique.id for technique in ALL])
def test_every_technique_has_words_of_its_own(technique):
    # words that hold braces are JSON, which is what a technique without words of its own falls back to
    assert "{" not in describe_technique(technique, {"parameter": 1})


def test_a_workload_in_words():
    assert describe_workload(Workload.for_model()) == (
        "Wan2.1-T2V-1.3B: 81 frames of 480 × 832, 50 steps, guidance 5"
    )
    two_experts = Workload.for_model("wan2.2-t2v-a14b", frames=1, steps=1, batch=2)
    assert describe_workload(two_experts) == (
        "Wan2.2-T2V-A14B: 1 frame of 720 × 1280, 1 step, guidance 4 and 3, 2 videos at once"
    )


def test_a_card_in_words():
    card = get("rtx-3060-12gb")
    assert describe_device(card) == "NVIDIA GeForce RTX 3060 12 GB (rtx-3060-12gb), 12.00 GiB"
    assert describe_device(card.capped(memory_bytes=6 * GIB), "a typical 6 GB card") == (
        "a typical 6 GB card: NVIDIA GeForce RTX 3060 12 GB (rtx-3060-12gb), capped to 6.00 GiB"
    )


@pytest.mark.parametrize(
    ("device", "vram_gb", "words"),
    [
        ("rtx-4090", 12.0, ""),
        (None, 12.0, "a typical 12 GB card"),
        (None, 10.5, "a typical 10.5 GB card"),
        (None, None, "a typical 12 GB card, since none was given"),
    ],
)
def test_how_the_card_was_chosen(device, vram_gb, words):
    assert describe_choice(device, vram_gb) == words


@pytest.mark.parametrize(
    ("effects", "sentence", "cell"),
    [
        ([], "exact: the same output as the library's defaults, to rounding", "exact"),
        (
            [exact("offload")],
            "exact: the same output as the library's defaults, to rounding",
            "exact",
        ),
        ([published("quantization", 0.8)], "known loss 0.8 %", "0.8 %"),
        (
            [published("quantization", 0.8), unknown("steps")],
            "known loss 0.8 %; effect unknown of steps",
            "0.8 %\n1 unknown",
        ),
        (
            [exact("offload"), unknown("vae_tiling"), unknown("dtype")],
            "no known loss; effect unknown of vae_tiling, dtype",
            "2 unknown",
        ),
    ],
)
def test_what_is_unknown_of_the_quality_is_said(effects, sentence, cell):
    cost = fake_cost(effects=effects)
    assert (describe_quality(cost), describe_loss(cost)) == (sentence, cell)


def test_by_how_much_a_configuration_misses_its_caps():
    card = get("rtx-3060-12gb").with_ram(8 * GIB)
    cost = fake_cost(device=card, host_ram_gib=10)
    assert describe_missing(cost) == (
        "0.19 GiB too much VRAM (12.19 of 12.00 GiB) and 2.00 GiB too much host RAM (10.00 of 8.00 GiB)"
    )
    assert describe_missing(fake_cost(device="rtx-4090")) == ""


@pytest.mark.parametrize(
    ("binds", "words"),
    [
        ("vae: convolution.default", "vae: convolution"),
        ("vae.decoder.up_blocks.3.resnets.1.conv1: convolution.default", "vae…1.conv1: convolution"),
        ("transformer.blocks.0.ffn: gelu", "transformer…0.ffn: gelu"),
        ("denoise: the pipeline itself", "denoise: the pipeline itself"),
    ],
)
def test_what_binds_is_shortened(binds, words):
    assert describe_binds(binds) == words


def test_bytes_in_words():
    sizes = [0, 5 * 2**20, GIB // 10 + 1, 3 * GIB]
    assert [describe_bytes(size) for size in sizes] == ["0.00 GiB", "5 MiB", "0.10 GiB", "3.00 GiB"]
