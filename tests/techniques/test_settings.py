"""Settings: read from anywhere, ordered, canonical; every way of getting them wrong has a sentence."""

from __future__ import annotations

import json

import pytest

from workbench._errors import SettingsError, UnknownNameError
from workbench.cost import Placement
from workbench.devices import get as get_device
from workbench.models import get as get_model
from workbench.techniques import ALL, ORDER, AbstractTechnique, Offload, Settings, Steps, get
from workbench.techniques._kinds import KINDS

EXAMPLE = {
    "offload": {"mode": "model"},
    "vae_tiling": {},
    "quantization": {"transformer": "int8wo", "text_encoder": "nf4"},
}
WAN = get_model("wan2.1-t2v-1.3b")
TWO_EXPERTS = get_model("wan2.2-t2v-a14b")


def test_settings_are_read_from_mapping_text_file_and_nothing(tmp_path):
    path = tmp_path / "settings.json"
    path.write_text(json.dumps(EXAMPLE))
    expected = Settings.parse(EXAMPLE)
    assert (
        Settings.parse(json.dumps(EXAMPLE)) == Settings.parse(path) == Settings.parse(str(path)) == expected
    )
    assert Settings.parse(expected) is expected
    assert Settings.parse(None) == Settings.parse({}) == Settings() and Settings().to_json() == {}


def test_techniques_are_in_order_whatever_the_order_they_came_in():
    settings = Settings.parse(EXAMPLE)
    assert [technique.id for technique in settings.techniques] == ["quantization", "vae_tiling", "offload"]
    assert settings.to_json() == EXAMPLE
    backwards = dict(reversed(EXAMPLE.items()))
    assert settings.canonical() == Settings.parse(backwards).canonical()
    assert hash(settings) == hash(Settings.parse(backwards))


def test_with_sets_and_takes_out_one_technique():
    settings = Settings.parse(EXAMPLE).with_("steps", {"count": 20}).with_("offload", None)
    assert settings.get("steps") == Steps(count=20)
    assert settings.get("offload") is None
    assert settings.with_("steps", {"count": 30}).get("steps") == Steps(count=30)


def test_ids_are_a_contract():
    assert ORDER == (
        "allocator",
        "dtype",
        "fused_qkv",
        "quantization",
        "lora",
        "attention",
        "vae_tiling",
        "vae_slicing",
        "vae_attention_slicing",
        "decode_chunks",
        "steps",
        "cache",
        "cfg",
        "temporal_chunks",
        "offload",
        "compile",
    )
    assert [get(name) for name in ORDER] == list(ALL)


def test_the_readme_names_every_technique(root):
    text = (root / "workbench" / "techniques" / "README.md").read_text()
    missing = [name for name in ORDER if f"| `{name}` |" not in text]
    assert not missing, f"no line in workbench/techniques/README.md for {missing}"


WRONG = [
    ("{", "settings is not JSON: Expecting property name enclosed in double quotes at line 1 column 2"),
    ("[1]", "settings must be a JSON object of technique ids, got list"),
    ("nowhere.json", "settings file 'nowhere.json' cannot be read: No such file or directory"),
    ({"offload": 3}, "parameters of offload must be a JSON object, got 3"),
    ({"dtype": {}}, "dtype needs at least one component, got none"),
    ({"quantization": {}}, "quantization needs at least one component, got none"),
    ({"vae_slicing": {"size": 1}}, "vae_slicing takes no parameters, got 'size'"),
    ({"steps": {}}, "steps needs the parameter 'count'"),
    ({"steps": {"count": 0}}, "count of steps must be a whole number of at least 1, got 0"),
    ({"steps": {"count": True}}, "count of steps must be a whole number of at least 1, got True"),
    ({"steps": {"count": "9"}}, "count of steps must be a whole number of at least 1, got '9'"),
    (
        {"temporal_chunks": {"frames": 8.0}},
        "frames of temporal_chunks must be a whole number of at least 1, got 8.0",
    ),
    (
        {"temporal_chunks": {"frames": 8, "overlap": 8}},
        "overlap of temporal_chunks must be below its frames, got overlap 8 for 8 frames",
    ),
    (
        {"temporal_chunks": {"frames": 8, "overlap": -1}},
        "overlap of temporal_chunks must be a whole number of at least 0, got -1",
    ),
    (
        {"vae_tiling": {"tile_width": 0}},
        "tile_width of vae_tiling must be a whole number of at least 1, got 0",
    ),
    (
        {"vae_tiling": {"tile_width": 128, "stride_width": 192}},
        "stride_width of vae_tiling must be at most tile_width, got a stride of 192 for a tile of 128",
    ),
    (
        {"offload": {"mode": "group", "blocks_per_group": 2, "stream": True}},
        "stream of offload moves one block at a time: blocks_per_group must be 1 with it, got 2",
    ),
    (
        {"offload": {"mode": "model", "stream": True}},
        "stream of offload belongs to mode 'group', got mode 'model'",
    ),
    (
        {"offload": {"mode": "none", "components": ["vae"]}},
        "components of offload belongs to mode 'group', got mode 'none'",
    ),
    ({"offload": {"mode": "group", "stream": 1}}, "stream of offload must be true or false, got 1"),
    (
        {"offload": {"mode": "group", "components": [1]}},
        "components of offload must be a list of names, got (1,)",
    ),
    (
        {"dtype": {"transformer": "fp16"}, "quantization": {"transformer": "int4wo"}},
        "quantization int4wo of transformer takes bf16 weights only, and dtype sets transformer to fp16",
    ),
    (
        {"offload": {"mode": "group", "stream": True, "components": ["vae"]}, "vae_tiling": {}},
        "offload with stream of the vae does not go with vae_tiling: leave vae out of the components of offload",
    ),
]


@pytest.mark.parametrize(("value", "message"), WRONG, ids=lambda value: str(value)[:40])
def test_wrong_settings_get_a_sentence(value, message):
    with pytest.raises(SettingsError) as caught:
        Settings.parse(value)
    assert str(caught.value) == message


UNKNOWN_NAMES = [
    (
        {"ofload": {"mode": "model"}},
        f"unknown technique 'ofload': did you mean offload, lora, allocator? (all: {', '.join(ORDER)})",
    ),
    (
        {"offload": {"mode": "model", "blocks": 2}},
        "unknown parameter of offload 'blocks': did you mean blocks_per_group, resident_blocks? "
        "(all: mode, blocks_per_group, stream, components, offload_type, low_cpu_mem_usage, disk, resident_blocks)",
    ),
    (
        {"offload": {"mode": "fast"}},
        "unknown mode of offload 'fast': allowed are none, model, sequential, group",
    ),
    ({"offload": {"mode": 3}}, "unknown mode of offload '3': allowed are none, model, sequential, group"),
    ({"dtype": {"vae": "half"}}, "unknown value for vae of dtype 'half': allowed are fp32, fp16, bf16"),
    (
        {"quantization": {"vae": "int8"}},
        f"unknown kind for vae of quantization 'int8': did you mean int8wo, int8dq, int4wo? (all: {', '.join(KINDS)})",
    ),
    (
        {"cache": {"kind": "first_blok"}},
        "unknown kind of cache 'first_blok': did you mean first_block? "
        "(all: first_block, taylorseer, magcache, pab, fastercache)",
    ),
    (
        {"cfg": {"mode": "both"}},
        "unknown mode of cfg 'both': did you mean batched? (all: batched, sequential)",
    ),
    (
        {"attention": {"backend": "flashy"}},
        "unknown backend of attention 'flashy': did you mean flash, math? "
        "(all: native, flash, cudnn, efficient, math, sage, xformers)",
    ),
]


@pytest.mark.parametrize(("value", "message"), UNKNOWN_NAMES, ids=lambda value: str(value)[:40])
def test_unknown_names_come_with_the_nearest_ones(value, message):
    with pytest.raises(UnknownNameError) as caught:
        Settings.parse(value)
    assert str(caught.value) == message


def test_a_file_that_is_no_text_gets_a_sentence(tmp_path):
    path = tmp_path / "settings.json"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SettingsError) as caught:
        Settings.parse(path)
    assert str(caught.value) == f"settings file {str(path)!r} is not text in UTF-8"


def test_two_of_one_kind_are_refused():
    with pytest.raises(SettingsError, match=r"^steps is given twice: each technique is used at most once$"):
        Settings.of([Steps(count=1), Steps(count=2)])


NOT_HERE = [
    (
        "wan2.1-t2v-1.3b",
        {"quantization": {"transformer": "fp8dq"}},
        "rtx-3090",
        "fp8dq needs compute capability 8.9",
    ),
    (
        "wan2.1-t2v-1.3b",
        {"quantization": {"transformer": "int4wo"}},
        "t4",
        "int4wo needs compute capability 8.0",
    ),
    (
        "wan2.1-t2v-1.3b",
        {"quantization": {"vae": "int4wo"}},
        "rtx-4090",
        "int4wo takes bf16 weights only, and vae is fp32",
    ),
    ("wan2.1-t2v-1.3b", {"dtype": {"vae": "bf16"}}, "t4", "has no bf16 units, so vae cannot be bf16"),
    (
        "wan2.1-t2v-1.3b",
        {"attention": {"backend": "flash"}},
        "t4",
        "the backend flash in bf16 needs compute capability 8.0",
    ),
    (
        "wan2.1-t2v-1.3b",
        {"attention": {"backend": "efficient"}},
        "t4",
        "the backend efficient in bf16 needs compute capability 8.0",
    ),
    (
        "tiny",
        {"attention": {"backend": "flash"}},
        "rtx-4090",
        "the backend flash needs half precision, and transformer is fp32",
    ),
]


@pytest.mark.parametrize(("model", "value", "device", "part"), NOT_HERE)
def test_what_cannot_act_on_a_device_is_refused_with_a_reason(model, value, device, part):
    settings = Settings.parse(value)
    with pytest.raises(SettingsError) as caught:
        settings.check(get_model(model), get_device(device))
    [name] = value
    assert str(caught.value).startswith(f"{name} does not apply to {model}: ")
    assert part in str(caught.value)


def test_a_dtype_that_is_set_counts_for_what_needs_it():
    device = get_device("rtx-4090")
    settings = Settings.parse({"dtype": {"transformer": "bf16"}, "attention": {"backend": "flash"}})
    settings.check(get_model("tiny"), device)
    with pytest.raises(SettingsError):
        settings.with_("dtype", None).check(get_model("tiny"), device)


@pytest.mark.parametrize(
    "value",
    [
        {"dtype": {"unet": "bf16"}},
        {"quantization": {"unet": "nf4"}},
        {"offload": {"mode": "group", "components": ["unet"]}},
    ],
)
def test_a_component_that_the_model_lacks_is_named(value):
    with pytest.raises(UnknownNameError) as caught:
        Settings.parse(value).check(WAN)
    assert str(caught.value) == (
        "unknown component of wan2.1-t2v-1.3b 'unet': allowed are text_encoder, transformer, vae"
    )


def test_a_missing_package_is_named_with_its_command(monkeypatch):
    monkeypatch.setattr("workbench.techniques._kinds.is_installed", lambda package: False)
    settings = Settings.parse({"quantization": {"transformer": "bnb8"}})
    with pytest.raises(SettingsError) as caught:
        settings.check(WAN)
    assert str(caught.value) == (
        "quantization does not apply to wan2.1-t2v-1.3b: bnb8 needs the package bitsandbytes: "
        'pip install "diffusion-workbench[quantization]"'
    )
    predicted = Settings.parse({"quantization": {"transformer": "nf4"}})
    predicted.check(WAN)
    assert predicted.notes(WAN, get_device("rtx-4090")) == (
        'nf4 on a CUDA device needs the package bitsandbytes: pip install "diffusion-workbench[quantization]"',
    )


# --- what pricing asks ------------------------------------------------------------------------------------------------


def test_what_has_to_be_traced_again_is_narrowed_to_the_component():
    settings = Settings.parse(
        {**EXAMPLE, "steps": {"count": 9}, "dtype": {"vae": "bf16"}, "temporal_chunks": {"frames": 9}}
    )
    assert settings.rewriting(WAN, "text_encoder").to_json() == {"quantization": {"text_encoder": "nf4"}}
    assert settings.rewriting(WAN, "vae").to_json() == {"dtype": {"vae": "bf16"}, "vae_tiling": {}}
    assert set(settings.rewriting(WAN, "transformer").to_json()) == {"quantization", "temporal_chunks"}
    assert set(settings.changing_calls().to_json()) == {"dtype", "steps"}
    assert (
        Settings.parse({"temporal_chunks": {"frames": 9}}).rewriting(TWO_EXPERTS, "transformer_2").techniques
    )


def test_offload_places_weights():
    def placements(**parameters):
        residency = Settings.of([Offload(**parameters)]).residency(WAN)
        return {name: residency.of(name) for name in WAN.component_names()}

    resident = Placement()
    assert set(placements(mode="none").values()) == {resident}
    assert set(placements(mode="model").values()) == {Placement(mode="whole")}
    assert set(placements(mode="sequential").values()) == {Placement(mode="leaves")}
    group = Placement(mode="blocks", blocks_per_group=4)
    assert placements(mode="group", blocks_per_group=4) == {
        "text_encoder": group,
        "transformer": group,
        "vae": resident,
    }
    stream = Placement(mode="blocks", stream=True)
    assert placements(mode="group", stream=True, components=("transformer",)) == {
        "text_encoder": resident,
        "transformer": stream,
        "vae": resident,
    }


def test_steps_take_the_workloads_own_number_out_of_the_call():
    kwargs = {"num_inference_steps": 50, "height": 480}
    assert Settings.parse({"steps": {"count": 20}}).call_kwargs(kwargs) == {"height": 480}
    assert Settings().call_kwargs(kwargs) == kwargs


def test_dtypes_are_the_documented_ones_or_what_is_set():
    assert Settings().dtypes(WAN) == {"text_encoder": "bf16", "transformer": "bf16", "vae": "fp32"}
    assert Settings.parse({"dtype": {"vae": "bf16"}}).dtypes(WAN)["vae"] == "bf16"


@pytest.mark.parametrize(
    ("value", "provenance", "loss"),
    [
        ({"offload": {"mode": "model"}}, "exact", 0.0),
        ({"vae_slicing": {}}, "exact", 0.0),
        ({"attention": {"backend": "flash"}}, "exact", 0.0),
        ({"attention": {"backend": "sage"}}, "unknown", None),
        ({"steps": {"count": 25}}, "published", 5.0),
        ({"steps": {"count": 20}}, "unknown", None),
        ({"quantization": {"transformer": "int8wo"}}, "published", 1.1),
        ({"quantization": {"transformer": "int8wo", "text_encoder": "nf4"}}, "unknown", None),
        ({"temporal_chunks": {"frames": 9}}, "unknown", None),
        ({"vae_tiling": {}}, "unknown", None),
        ({"dtype": {"vae": "bf16"}}, "unknown", None),
    ],
)
def test_what_is_known_of_the_loss(value, provenance, loss):
    [technique] = Settings.parse(value).techniques
    assert isinstance(technique, AbstractTechnique)
    effect = technique.effect()
    assert (effect.provenance, effect.loss_percent) == (provenance, loss)
    assert bool(effect.source) == (provenance == "published")
