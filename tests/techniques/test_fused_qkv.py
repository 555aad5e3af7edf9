"""Fused projections: really a second copy beside the separate ones, used by the network, and taken out again."""

from __future__ import annotations

from types import SimpleNamespace

import diffusers
import pytest

import workbench as wb
from workbench import models
from workbench._errors import SettingsError, UnknownNameError
from workbench.techniques import FusedQkv, Quantization, Settings
from workbench.techniques.fused_qkv import FUSED_LAYERS, FUSES, NOT_FUSED
from workbench.testing import contract
from workbench.testing.toys import Toy

COGVIDEOX = "cogvideox-5b"


@pytest.mark.parametrize("name", ["cogvideox", "skyreels"])
def test_toys_keep_the_contract(name):
    toy = Toy(name)
    contract.assert_restores(toy, FusedQkv())
    contract.assert_predicts(toy, FusedQkv())
    contract.assert_output(toy, FusedQkv())


def test_both_copies_are_quantised():
    toy = Toy("skyreels")
    both = (FusedQkv(), Quantization(components={"transformer": "int8wo"}))
    contract.assert_restores(toy, *both)
    contract.assert_predicts(toy, *both)


@pytest.mark.parametrize("name", ["ltx", "kandinsky", "hunyuan"])
def test_the_others_really_gain_nothing(name):
    transformer = Toy(name).pipe.transformer
    assert type(transformer).__name__ in NOT_FUSED
    try:
        transformer.fuse_qkv_projections()
    except AttributeError as error:
        assert name == "kandinsky" and "to_q" in str(error)
        return
    layers = [path for path, _ in transformer.named_modules() if path.split(".")[-1] in FUSED_LAYERS]
    assert bool(layers) == (name == "ltx")
    if layers:  # copies that the forward does not call
        called: list[str] = []
        for path in layers:
            transformer.get_submodule(path).register_forward_hook(lambda *_: called.append("fused"))
        toy = Toy(name)
        toy.pipe.transformer = transformer
        toy.frames(Settings())
        assert not called


def test_every_class_of_the_catalogue_is_known():
    classes = {part.class_name for name in models.names() for part in models.get(name).components}
    having = {name for name in classes if hasattr(getattr(diffusers, name, None), "fuse_qkv_projections")}
    assert having == {*FUSES, *NOT_FUSED} & classes
    assert {*FUSES, *NOT_FUSED} <= classes


def test_the_second_copy_is_what_was_measured():
    # 21.979 - 19.764 GiB: diffusers-torchao's README, CogVideoX-5b in bf16 with and without fused projections
    plain, fused = (wb.estimate(COGVIDEOX, settings, "a100-80gb") for settings in ({}, {"fused_qkv": {}}))
    grown = fused.price.peak_allocated_bytes - plain.price.peak_allocated_bytes
    assert grown / 2**30 == pytest.approx(21.979 - 19.764, rel=2e-3)


def test_it_is_refused_where_it_would_do_nothing():
    with pytest.raises(SettingsError, match="would keep fused copies of its projections"):
        wb.estimate("ltx-video", {"fused_qkv": {}})
    with pytest.raises(SettingsError, match="has no fuse_qkv_projections that is known to work"):
        wb.estimate("tiny", {"fused_qkv": {"components": ["vae"]}})
    with pytest.raises(UnknownNameError, match="unet"):
        wb.estimate("tiny", {"fused_qkv": {"components": ["unet"]}})
    with pytest.raises(SettingsError, match="components of fused_qkv must be a list of names, got 'vae'"):
        Settings.parse({"fused_qkv": {"components": "vae"}})


def test_what_is_quantised_already_cannot_be_joined():
    toy = Toy("skyreels")
    quantized = Quantization(components={"transformer": "int8wo"}).apply(toy.pipe)
    with pytest.raises(SettingsError, match="are quantised already: fuse first"):
        FusedQkv().apply(toy.pipe)
    quantized.remove()
    with pytest.raises(UnknownNameError, match="component of"):
        FusedQkv(components=("vae",)).apply(SimpleNamespace(components={}))


def test_what_was_fused_before_stays_so():
    toy = Toy("skyreels")
    toy.pipe.transformer.fuse_qkv_projections()
    handle = FusedQkv().apply(toy.pipe)
    assert handle.report == ["transformer: its projections were fused before, and stay so"]
    handle.remove()
    assert hasattr(toy.pipe.transformer.blocks[0].attn1, "to_qkv")
