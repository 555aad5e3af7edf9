"""The choices that take traces of their own: when they are tried, and that nothing is lost by trying them one at a time."""

from __future__ import annotations

import re

import pytest

import workbench as wb
from workbench._estimate import Predictor
from workbench.cost.outline import Outline
from workbench.devices import get, resolve
from workbench.models import Workload
from workbench.models import get as get_model
from workbench.search._choices import CONDITIONS, spared_blocks, spared_patterns
from workbench.search._composing import Composed, Composition
from workbench.search._outlines import Outlines
from workbench.search._rescue import HELPS, _may_help
from workbench.search.caution import caution
from workbench.search.pareto import Row, undominated
from workbench.search.space import Space
from workbench.techniques import Settings

GIB = 2**30


def wide(name: str, card: str = "rtx-4090", **more) -> Space:
    workload = Workload.for_model(name)
    return Space.of(get_model(name), workload, get(card), blocks=30, more=True, **more)


def test_the_lean_space_is_a_part_of_the_whole_one_with_the_same_first_choices():
    for name in ("wan2.1-t2v-1.3b", "cogvideox-5b", "hunyuanvideo"):
        whole = wide(name)
        lean = Space.of(get_model(name), Workload.for_model(name), get("rtx-4090"), blocks=30)
        assert whole.has_more and not lean.has_more
        for dimension, choices in lean.dimensions.items():
            assert whole.dimensions[dimension][: len(choices)] == choices
            assert whole.lean[dimension] == choices
        assert sum(1 for _ in whole.points()) == sum(1 for _ in lean.points())
        assert {"spared", "cfg", "attention", "cache", "compile"} <= set(whole.dimensions)
    assert "overlap" in wide("wan2.1-t2v-1.3b").dimensions  # whose denoiser takes windows


def test_every_choice_of_the_whole_space_makes_settings_that_apply():
    for name in ("wan2.1-t2v-1.3b", "cogvideox-5b"):
        space, card = wide(name), get("rtx-4090")
        plain = space.settings_of(space.plain)
        for dimension, choices in space.dimensions.items():
            for choice in choices[1:]:
                settings = space.settings_of(space.at(dimension, choice))
                settings.check(space.spec, card)
                assert settings != plain
    assert wide("cogvideox-5b").dimensions["cfg"] == ("own", "sequential")
    assert wide("wan2.1-t2v-1.3b").dimensions["cfg"] == ("own", "batched")
    assert wide("cogvideox-5b").dimensions["compile"] == ("off", "whole")  # names no repeated blocks
    assert wide("wan2.1-t2v-1.3b").dimensions["compile"] == ("off", "blocks", "whole")
    assert wide("cogvideox-5b").dimensions["attention"] == ("native",)  # calls PyTorch itself
    assert "int4wo" not in wide("wan2.1-t2v-1.3b", "rtx-2080-ti").dimensions["denoiser"]


def test_conditions_name_choices_under_which_their_dimension_exists():
    space = wide("wan2.1-t2v-1.3b")
    for name in CONDITIONS:
        for choice in space.dimensions.get(name, ()):
            assert space.at(name, choice)[name] == choice


def test_spared_blocks_are_the_first_of_an_order_and_by_default_those_at_both_ends():
    (by_position,) = spared_patterns(0.25, 8)
    assert [k for k in range(8) if re.search(by_position, f"blocks.{k}.attn1.to_q")] == [0, 7]
    (ordered,) = spared_patterns(0.5, 4, order=(2, 1, 0, 3))
    assert [k for k in range(4) if re.search(ordered, f"transformer_blocks.{k}.ff.net.0.proj")] == [1, 2]
    assert spared_blocks(ordered) == 2 and spared_blocks("norm") is None
    assert spared_patterns(0.0, 8) == []
    space = wide("wan2.1-t2v-1.3b", order=tuple(range(29, -1, -1)))
    chosen = space.settings_of(space.at("spared", 0.25, {**space.plain, "denoiser": "nf4"})).to_json()
    skip = chosen["quantization"]["transformer"]["skip"]
    assert spared_blocks(skip[0]) == 8 and re.search(skip[0], "blocks.29.ffn.net.2")
    assert caution(chosen, 50) == caution({"quantization": {"transformer": "nf4"}}, 50) - 1


def test_exploring_one_at_a_time_finds_the_front_of_all_points():
    workload = Workload.for_model("tiny", frames=5, height=64, width=64, steps=6)
    predictor, device = Predictor(workload), resolve(None, vram_gb=12)
    whole = Space.of(predictor.spec, workload, device, blocks=predictor.num_blocks(), more=True)
    few = {name: choices[:1] for name, choices in whole.dimensions.items()}
    space = whole.only(
        **few
        | {"offload": ("none", "group"), "denoiser": ("none", "int8wo")}
        | {"fused": (0, 1), "cache": ("none", "taylorseer")}
    )
    composition = Composition(space, Outlines(predictor, device))
    assert composition.explore() > 0
    every = [c for c in map(composition.needed, space.points(space.dimensions)) if c is not None and c.fits]
    rows = [
        Row(
            seconds=c.outline.total_s,
            caution=c.caution,
            host_ram_bytes=c.outline.host_ram_bytes,
            order=(c.outline.total_s, c.caution),
            item=c,
        )
        for c in every
    ]
    exact = [(row.seconds, row.caution) for row in undominated(rows)]
    assert [(c.outline.total_s, c.caution) for c in composition.front()] == exact
    assert any(c.settings.get("cache") for c in composition.front())


def missing(stages: dict[str, float]) -> Composed:
    """A configuration whose stages need so many GiB."""
    least = {name: round(size * GIB) for name, size in stages.items()}
    outline = Outline(total_s=1.0, least_vram_bytes=least, host_ram_bytes=0, stage_s={})
    return Composed(point={}, settings=Settings(), outline=outline, caution=0, missing_bytes=1)


@pytest.mark.parametrize(
    ("stages", "helping"),
    [
        ({"text_encode": 9, "denoise": 3, "decode": 3}, {"text"}),
        ({"text_encode": 3, "denoise": 9, "decode": 3}, {"denoiser", "cfg"}),
        ({"text_encode": 9, "denoise_2": 9, "decode": 3}, {"text", "denoiser", "cfg"}),
        ({"text_encode": 9, "denoise": 9, "decode": 9}, set()),
    ],
)
def test_where_nothing_fits_only_what_may_help_is_traced(stages, helping):
    device = get("rtx-4090").capped(memory_bytes=8 * GIB)
    assert {name for name in HELPS if _may_help(missing(stages), name, device)} == helping


def test_a_plan_of_more_keeps_pins_and_what_is_forbidden():
    rest = [
        "quantization",
        "temporal_chunks",
        "cache",
        "allocator",
        "dtype",
        "vae_tiling",
        "vae_attention_slicing",
    ]
    plan = wb.plan(12, model="tiny", more=True, pin={"steps": 4}, forbid=rest, trials=4)
    assert plan.best is not None
    assert all(c.settings.to_json()["steps"] == {"count": 4} for c in plan.front)
    assert not any(set(rest) & set(c.settings.to_json()) for c in plan.front)
    assert any(t.params.get("fused") == 1 for t in plan.study.trials)
