"""LoRA adapters: predicted op for op as peft runs them, taken off without a trace, and only looked at on a real pipeline."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

import workbench as wb
from workbench._errors import SettingsError, UnknownNameError
from workbench.cost.rehearsal import Target, record, rehearse
from workbench.models import get
from workbench.techniques import Lora, Offload, Quantization, Settings, apply_all
from workbench.techniques._kinds import is_installed
from workbench.testing import contract
from workbench.testing.toys import Toy
from workbench.twin._snapshot import snapshot

WAN = "wan2.1-t2v-1.3b"
pytestmark = pytest.mark.filterwarnings("ignore:Already found a `peft_config` attribute:UserWarning")
needs_peft = pytest.mark.skipif(not is_installed("peft"), reason="needs the package peft")


def loaded(toy, rank, count, targets):
    """Adapters on the real pipeline, with peft's own names for the layers."""
    from peft import LoraConfig

    for number in range(count):
        config = LoraConfig(r=rank, lora_alpha=rank, target_modules=targets)
        toy.pipe.transformer.add_adapter(config, adapter_name=f"mine_{number}")
    toy.pipe.transformer.set_adapter([f"mine_{number}" for number in range(count)])
    toy.pipe.transformer.requires_grad_(False)


@needs_peft
@pytest.mark.parametrize(
    ("name", "lora", "targets"),
    [
        ("skyreels", Lora(rank=4), ["to_q", "to_k", "to_v", "to_out.0"]),
        ("cogvideox", Lora(rank=2, count=2), ["to_q", "to_k", "to_v", "to_out.0"]),
        ("ltx", Lora(rank=4, targets="linear"), "all-linear"),
    ],
)
def test_the_prediction_is_the_run_op_for_op(name, lora, targets):
    toy = Toy(name)
    if targets == "all-linear":
        from torch import nn

        layers = toy.pipe.transformer.named_modules()
        targets = [path for path, layer in layers if isinstance(layer, nn.Linear)]
    loaded(toy, lora.rank, lora.count, targets)
    settings = Settings.of([lora])
    real = record(toy.pipe, toy.call_kwargs(settings))
    pipe = toy.weightless()
    apply_all(pipe, settings)
    predicted, _ = rehearse(pipe, toy.call_kwargs(settings), Target("cpu"))
    contract.assert_same_walk(predicted.walk(), real.walk())


@needs_peft
@pytest.mark.parametrize("more", [(), (Quantization(components={"transformer": "int8wo"}),)], ids=str)
def test_adapters_are_taken_off_a_weightless_pipeline(more):
    pipe = Toy("skyreels").weightless()
    before = snapshot(pipe)
    handle = apply_all(pipe, Settings.of([Lora(rank=4, count=2), *more, Offload(mode="model")]))
    assert any("2 adapters of rank 4 on 24 layers" in sentence for sentence in handle.report), handle.report
    handle.remove()
    after = snapshot(pipe)
    assert [key for key in before.keys() | after.keys() if before.get(key) != after.get(key)] == []


@needs_peft
def test_weights_grow_by_two_thin_matrices_per_layer():
    part, rank = get(WAN).component("transformer"), 64
    width = part.config["num_attention_heads"] * part.config["attention_head_dim"]
    # per block four square layers of self-attention and four of cross-attention, in bf16
    expected = part.config["num_layers"] * 8 * 2 * rank * width * 2
    plain, one, two = (
        wb.estimate(WAN, settings, "rtx-4090").price
        for settings in ({}, {"lora": {"rank": rank}}, {"lora": {"rank": rank, "count": 2}})
    )
    denoise = [
        next(stage for stage in price.stages if stage.name == "denoise") for price in (plain, one, two)
    ]
    assert denoise[1].weights_bytes - denoise[0].weights_bytes == pytest.approx(expected, rel=1e-3)
    assert denoise[2].weights_bytes - denoise[0].weights_bytes == pytest.approx(2 * expected, rel=1e-3)
    assert denoise[0].seconds < denoise[1].seconds < denoise[2].seconds
    moved = {"offload": {"mode": "model"}}
    plain, one = (
        wb.estimate(WAN, {**moved, **more}, "rtx-4090").price for more in ({}, {"lora": {"rank": rank}})
    )
    assert one.host_ram_bytes - plain.host_ram_bytes == pytest.approx(expected, rel=1e-3)


def test_merged_adapters_cost_nothing():
    merged = wb.estimate(WAN, {"lora": {"rank": 64, "fused": True}}, "rtx-4090")
    assert merged.price == wb.estimate(WAN, {}, "rtx-4090").price
    assert any("pipe.fuse_lora()" in note for note in Lora(rank=64, fused=True).notes(get(WAN), None))


def test_a_real_pipeline_is_only_looked_at(miniature):
    before = snapshot(miniature.pipe)
    handle = apply_all(miniature.pipe, Settings.of([Lora(rank=8, count=2)]))
    assert handle.report == [
        "transformer: no adapter is loaded, 2 of rank 8 were predicted; load yours with pipe.load_lora_weights"
    ]
    assert snapshot(miniature.pipe) == before
    handle.remove()


@needs_peft
def test_a_real_pipelines_adapters_are_said():
    toy = Toy("skyreels")
    loaded(toy, 4, 2, ["to_q"])
    assert apply_all(toy.pipe, Settings.of([Lora(rank=4)])).report == [
        "transformer: 2 adapters of rank 4, 4 loaded, 1 of rank 4 was predicted"
    ]


def test_without_peft_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr("workbench.techniques.lora.is_installed", lambda package: False)
    with pytest.raises(SettingsError, match=r"it needs the package peft: pip install .*\[lora\]"):
        wb.estimate(WAN, {"lora": {"rank": 4}})
    with pytest.raises(SettingsError, match="lora needs the package peft"):
        Lora(rank=4).apply(Toy("skyreels").weightless())


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({}, "lora needs the parameter 'rank'"),
        ({"rank": 0}, "rank of lora must be a whole number of at least 1, got 0"),
        ({"rank": 8, "count": 0}, "count of lora must be a whole number of at least 1, got 0"),
        ({"rank": 8, "targets": "atention"}, "unknown targets of lora 'atention': did you mean attention"),
        ({"rank": 8, "fused": "yes"}, "fused of lora must be true or false, got 'yes'"),
        ({"rank": 8, "components": "vae"}, "components of lora must be a list of names, got 'vae'"),
    ],
)
def test_bad_parameters(value, words):
    with pytest.raises((SettingsError, UnknownNameError)) as caught:
        Settings.parse({"lora": value})
    assert words in str(caught.value)


def test_what_it_does_not_go_with():
    with pytest.raises(SettingsError, match="lora does not go with fused_qkv"):
        Settings.parse({"lora": {"rank": 8}, "fused_qkv": {}})
    with pytest.raises(SettingsError, match="text_encoder is no network of diffusers"):
        wb.estimate(WAN, {"lora": {"rank": 8, "components": ["text_encoder"]}})
    with pytest.raises(UnknownNameError, match="component of"):
        Lora(rank=8, components=("unet",)).apply(SimpleNamespace(components={}))
