"""Settings as changes that records can know."""

from __future__ import annotations

import pytest

from workbench.models import Workload, get
from workbench.quality import Part, parts_of, single_part
from workbench.techniques import Settings

WAN = "wan2.1-t2v-1.3b"


def parts(settings, model=WAN, **workload):
    """Parts of the one technique in a settings JSON."""
    (technique,) = Settings.parse(settings).techniques
    return parts_of(technique, get(model), Workload.for_model(model, **workload))


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"steps": {"count": 25}}, (Part("steps", 1.0, 50.0),)),
        ({"steps": {"count": 50}}, ()),
        ({"steps": {"count": 60}}, None),
        ({"quantization": {"transformer": "nf4"}}, (Part("quantization denoiser nf4 insensitive"),)),
        (
            {"quantization": {"transformer": {"kind": "nf4", "skip": ["a"]}}},
            (
                Part(
                    'quantization denoiser nf4 insensitive but ["a"]',
                    otherwise="quantization denoiser nf4 insensitive",
                ),
            ),
        ),
        ({"dtype": {"vae": "bf16"}}, (Part("dtype vae fp32 bf16"),)),
        ({"dtype": {"transformer": "bf16"}}, ()),  # it is loaded in bf16
        ({"temporal_chunks": {"frames": 41, "overlap": 8}}, (Part("temporal_chunks", 21 / 11 - 1, 0.25),)),
        ({"temporal_chunks": {"frames": 81}}, ()),
        ({"vae_tiling": {}}, None),
        ({"cache": {"kind": "first_block", "threshold": 0.2}}, (Part("cache first_block {}", 0.2),)),
        ({"lora": {"rank": 8}}, None),
    ],
)
def test_a_technique_is_these_changes(settings, expected):
    assert parts(settings) == expected


def test_tiles_go_by_their_size_in_latents_and_whole_frames_are_no_tiles():
    tiles = {"tile_height": 128, "tile_width": 256, "stride_height": 96, "stride_width": 192}
    assert parts({"vae_tiling": tiles}) == (Part("vae_tiling", 16 / 128, 0.75),)
    assert parts({"vae_tiling": tiles}, height=128, width=256) == ()


def test_two_experts_under_one_scheme_are_one_change():
    settings = {"quantization": {"transformer": "nf4", "transformer_2": "nf4", "text_encoder": "nf4"}}
    found = parts(settings, "wan2.2-t2v-a14b")
    assert [part.key for part in found] == [
        "quantization denoiser nf4 insensitive",
        "quantization text_encoder nf4 insensitive",
    ]


def test_cache_parameters_that_change_what_it_does_tell_curves_apart():
    plain, full = (
        parts({"cache": {"kind": "taylorseer", "interval": 3, **more}})[0] for more in ({}, {"lite": False})
    )
    assert plain.away == full.away == 2.0
    assert plain.key != full.key
    assumed = parts({"cache": {"kind": "first_block", "threshold": 0.2, "hit_rate": 0.9}})
    assert assumed == parts({"cache": {"kind": "first_block", "threshold": 0.2}})


def test_a_single_change_is_found_beside_exact_techniques_and_only_then():
    spec, workload = get(WAN), Workload.for_model(WAN)
    one = Settings.parse({"steps": {"count": 25}, "vae_slicing": {}})
    assert single_part(one, spec, workload) == Part("steps", 1.0, 50.0)
    two = one.with_("dtype", {"vae": "bf16"})
    assert single_part(two, spec, workload) is None
    both = Settings.parse({"quantization": {"transformer": "nf4", "text_encoder": "nf4"}})
    assert single_part(both, spec, workload) is None
