"""Compilation: really applied and taken off again, priced as fused kernels, and refused where hooks would break it."""

from __future__ import annotations

from collections import Counter

import diffusers
import numpy as np
import pytest

import workbench as wb
from workbench import devices, models
from workbench._errors import SettingsError, UnknownNameError
from workbench.cost._flow import fused_ops
from workbench.cost._fusion import FUSED
from workbench.cost._memo import Memo
from workbench.cost.rehearsal import Target, rehearse, retrace
from workbench.models import Workload
from workbench.techniques import Compile, Settings, apply_all
from workbench.techniques._checks import denoisers
from workbench.techniques._compiling import compiled, why_not
from workbench.techniques.compile import WITHOUT_BLOCKS
from workbench.testing.toys import TOYS, Toy
from workbench.twin._snapshot import snapshot

CLIP = Workload.for_model("tiny", frames=9, height=64, width=64, steps=2)


def test_the_classes_without_blocks_are_these():
    classes = {
        models.get(name).component(part).class_name
        for name in models.names()
        for part in denoisers(models.get(name).component_names())
    }
    assert {name for name in classes if not getattr(diffusers, name)._repeated_blocks} == WITHOUT_BLOCKS


@pytest.mark.filterwarnings("default")  # what PyTorch's compiler warns of is not ours
def test_it_compiles_computes_the_same_and_leaves_nothing(miniature):
    reason = why_not(miniature.pipe.transformer)
    if reason is not None:
        pytest.skip(reason)
    baseline, before = miniature.baseline, snapshot(miniature.pipe)
    settings = Settings.of([Compile()])
    handle = apply_all(miniature.pipe, settings)
    blocks = [
        part for part in miniature.pipe.transformer.modules() if type(part).__name__ == "WanTransformerBlock"
    ]
    assert handle.report == [f"transformer: {len(blocks)} repeated blocks are compiled, when it first runs"]
    assert all(block._compiled_call_impl is not None for block in blocks)
    import torch

    torch._dynamo.utils.counters.clear()
    frames = miniature.frames(settings)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] >= 1
    np.testing.assert_allclose(frames, baseline, atol=1e-4, rtol=0)
    handle.remove()
    handle.remove()
    after = snapshot(miniature.pipe)
    assert {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)} == set()
    assert np.array_equal(miniature.frames(Settings()), baseline)


def test_a_weightless_pipeline_is_left_alone(miniature):
    pipe = miniature.weightless()
    before = snapshot(pipe)
    handle = apply_all(pipe, Settings.of([Compile()]))
    assert handle.report == ["transformer was not compiled: the pipeline has no weights"]
    assert snapshot(pipe) == before


def test_marking_twice_or_without_blocks_is_refused(miniature):
    transformer = miniature.pipe.transformer
    _, undo = compiled(transformer, regional=True)
    try:
        with pytest.raises(SettingsError, match="compiled already"):
            compiled(transformer, regional=True)
    finally:
        undo()
    with pytest.raises(SettingsError, match="no repeated blocks"):
        compiled(miniature.pipe.text_encoder, regional=True)


@pytest.mark.parametrize("regional", [True, False])
def test_fewer_kernels_move_fewer_bytes_and_memory_stays(regional):
    settings = {"compile": {} if regional else {"regional": False}}
    plain, fused = (wb.estimate(CLIP, used, "rtx-4090") for used in ({}, settings))
    assert fused.price.peak_reserved_bytes == plain.price.peak_reserved_bytes
    assert fused.total_s < plain.total_s
    assert any("compiling comes on top" in note for note in fused.notes)


def test_other_ops_stay_as_they_were():
    from workbench._estimate import Predictor

    predictor = Predictor(CLIP)
    plain, fused = Settings(), Settings.of([Compile(regional=False)])
    (key,) = [key for key, name in predictor.log(plain).keys().items() if name == "transformer"]
    before, after = (predictor.summary(used, "transformer", key, "flash").ops for used in (plain, fused))

    def of(ops, *kinds):
        return {op: count for op, count in ops if op.kind in kinds}

    for kind in ("matmul", "attention", "conv"):
        assert of(after, kind) == of(before, kind)
    moved = [
        sum((op.read_bytes + op.write_bytes) * n for op, n in of(ops, "memory").items())
        for ops in (before, after)
    ]
    launched = [sum(of(ops, "memory").values()) for ops in (before, after)]
    assert moved[1] < moved[0]
    assert launched[1] < launched[0] / 2
    assert any(op.name == FUSED for op, _ in after)


WRONG = [
    ({"mode": "fastest"}, "unknown mode of compile 'fastest'"),
    ({"regional": 1}, "regional of compile must be one of true, false, got 1"),
    ({"dynamic": "yes"}, "dynamic of compile must be one of true, false, null, got 'yes'"),
    ({"blocks": 3}, "unknown parameter of compile 'blocks'"),
]


@pytest.mark.parametrize(("parameters", "message"), WRONG)
def test_bad_parameters(parameters, message):
    with pytest.raises((SettingsError, UnknownNameError)) as error:
        Compile.parse(parameters)
    assert str(error.value).startswith(message)


CONFLICTS = [
    ({"cache": {"kind": "first_block"}}, {}, "compile does not go with cache"),
    ({"cfg": {"mode": "batched"}}, {"regional": False}, "compile does not go with cfg"),
    ({"temporal_chunks": {"frames": 5}}, {"regional": False}, "compile does not go with temporal_chunks"),
    (
        {"quantization": {"transformer": "fp8_storage"}},
        {},
        "compile does not go with quantization fp8_storage",
    ),
    ({"offload": {"mode": "sequential"}}, {}, "compile does not go with offload layer by layer"),
    (
        {"offload": {"mode": "group"}},
        {"fullgraph": True},
        "compile with fullgraph does not go with offload group",
    ),
]


@pytest.mark.parametrize(("other", "parameters", "message"), CONFLICTS)
def test_what_it_does_not_go_with(other, parameters, message):
    with pytest.raises(SettingsError) as error:
        Settings.parse({**other, "compile": parameters})
    assert str(error.value).startswith(message)


def test_blocks_and_what_stands_around_them_go_together():
    used = {
        "cfg": {"mode": "batched"},
        "offload": {"mode": "group"},
        "quantization": {"transformer": "int8wo"},
    }
    assert Settings.parse({**used, "compile": {}}).get("compile") == Compile()


def test_it_needs_blocks_and_a_card_that_inductor_knows():
    cogvideox, wan = models.get("cogvideox-5b"), models.get("wan2.1-t2v-1.3b")
    assert "names no repeated blocks; regional false" in (Compile().applies_to(cogvideox, None) or "")
    assert Compile(regional=False).applies_to(cogvideox, None) is None
    assert "below compute capability 8.0" in (Compile().applies_to(wan, devices.get("rtx-2080-ti")) or "")
    assert Compile().applies_to(wan, devices.get("rtx-3060-12gb")) is None


@pytest.mark.parametrize("name", sorted(TOYS))
def test_every_way_of_building_a_denoiser_is_fused(name):
    toy = Toy(name)
    pipe = toy.weightless()
    kwargs = toy.call_kwargs(Settings())
    memo = Memo()
    _, calls = rehearse(pipe, kwargs, Target(), memo)
    call = next(call for call in calls.values() if call.component == "transformer")
    plain = Counter(dict(retrace(call, pipe.transformer, Target(), memo).op_counts()))
    fused = dict(fused_ops(call, pipe.transformer, Target(), memo, whole=True))

    def of(ops, *kinds):
        return {op: count for op, count in ops.items() if op.kind in kinds}

    def moved(ops):
        return sum((op.read_bytes + op.write_bytes) * count for op, count in of(ops, "memory").items())

    assert of(fused, "matmul", "attention", "conv") == of(plain, "matmul", "attention", "conv")
    assert moved(fused) < moved(plain)
    assert sum(of(fused, "memory").values()) < sum(of(plain, "memory").values()) / 2
    # the eager trace is as it was: what fusing remembers is kept apart
    assert retrace(call, pipe.transformer, Target(), memo).op_counts() == plain


def test_the_contract_of_json():
    assert Compile.parse({}).to_json() == {}
    assert Compile.parse({"regional": False, "dynamic": True}).to_json() == {
        "regional": False,
        "dynamic": True,
    }
