"""Quantised weights: what they hold, what is left alone, what cannot act here, and what the tracer makes of each kind."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from workbench._errors import SettingsError, UnknownNameError
from workbench.cost._memo import Memo
from workbench.cost.rehearsal import Target, record, rehearse
from workbench.cost.weigh import stored_parts, weigh
from workbench.devices import get as get_device
from workbench.models import get as get_model
from workbench.models._build import build_component
from workbench.techniques import Quantization, Settings, apply_all
from workbench.techniques._kinds import KINDS, is_installed
from workbench.testing import contract

needs_bitsandbytes = pytest.mark.skipif(
    not is_installed("bitsandbytes"), reason="bitsandbytes is an optional extra: quantization"
)
PACKAGES = {"bitsandbytes": needs_bitsandbytes}
STORED = {
    # torchao keeps a scale in fp32 and a zero point in int8 for each row
    "int8wo": lambda rows, columns: rows * columns + 5 * rows,
    "int8dq": lambda rows, columns: rows * columns + 5 * rows,
    "fp8wo": lambda rows, columns: rows * columns + 4 * rows,
    "fp8dq": lambda rows, columns: rows * columns + 4 * rows,
    # torchao pads each row to 1024 weights; a scale and a zero point in bf16 for each group of 128
    "int4wo": lambda rows, columns: rows * 1024 // 2 + rows * 1024 // 128 * 4,
    "bnb8": lambda rows, columns: rows * columns + 4 * rows,
    "nf4": lambda rows, columns: rows * columns // 2 + rows * columns // 64 * 4,
    "fp4": lambda rows, columns: rows * columns // 2 + rows * columns // 64 * 4,
    # scales in 8 bits, a scale in fp32 for each 256 of them, and their mean
    "nf4_double": lambda rows, columns: (
        rows * columns // 2 + rows * columns // 64 + -(-rows * columns // (64 * 256)) * 4 + 4
    ),
    "fp8_storage": lambda rows, columns: rows * columns,
    # ggml's blocks: ggml-common.h
    "gguf_q8_0": lambda rows, columns: rows * columns // 32 * 34,
    "gguf_q6_k": lambda rows, columns: rows * columns // 256 * 210,
    "gguf_q5_k": lambda rows, columns: rows * columns // 256 * 176,
    "gguf_q5_0": lambda rows, columns: rows * columns // 32 * 22,
    "gguf_q4_k": lambda rows, columns: rows * columns // 256 * 144,
    "gguf_q4_0": lambda rows, columns: rows * columns // 32 * 18,
    "gguf_q3_k": lambda rows, columns: rows * columns // 256 * 110,
    "gguf_q2_k": lambda rows, columns: rows * columns // 256 * 84,
    # SVDQW4A4Linear: codes, scales of groups, smoothing, two matrices of rank 32; NVFP4 has scales of channels and of the tensor too
    "svdq_int4": lambda rows, columns: (
        rows * columns // 2 + 2 * (rows * columns // 64 + columns + 32 * (rows + columns))
    ),
    "svdq_fp4": lambda rows, columns: (
        rows * columns // 2 + rows * columns // 16 + 2 * (columns + 32 * (rows + columns) + rows + 1)
    ),
}
"""Bytes that hold a bf16 weight [rows, columns], by the formats' own documents."""
TRACED = [
    pytest.param(kind, marks=[PACKAGES[row.package]] if row.package else []) for kind, row in KINDS.items()
]


def quantised(kind: str, component: str = "transformer"):
    return Settings.parse({"quantization": {component: kind}})


def weightless(dtype: str):
    from workbench.models._build import assemble
    from workbench.models._standins import StandInTokenizer

    spec = get_model("tiny").with_dtypes({"transformer": dtype, "text_encoder": dtype})
    return assemble(
        spec, {name: build_component(spec, name) for name in spec.component_names()}, StandInTokenizer()
    )


def test_every_kind_has_a_size_to_check():
    assert set(STORED) == set(KINDS)


@pytest.mark.parametrize("kind", TRACED)
def test_every_kind_is_laid_out_and_traced_without_weights(kind):
    pipe = weightless("bf16")
    handle = apply_all(pipe, quantised(kind))
    layer = pipe.transformer.blocks[0].ffn.net[2]
    parts = stored_parts(layer.weight)
    stored = sum(part.numel() * part.element_size() for part in parts)
    assert stored == STORED[kind](layer.out_features, layer.in_features)
    assert all(part.is_meta for part in parts)
    # of the miniature's layers, three have rows of whole blocks of 256
    assert f"{3 if 'blocks of 256' in KINDS[kind].title else 30} layers hold" in handle.report[0]
    kwargs = {**contract.WORKLOAD, "output_type": "pt"}
    trace, _ = rehearse(pipe, kwargs, Target("cuda"))
    assert trace.flops > 0
    handle.remove()
    assert type(layer.weight) is nn.Parameter and layer.weight.dtype == torch.bfloat16


@pytest.mark.parametrize("kind", ["int8wo", "nf4", "fp8_storage"])
def test_weightless_and_real_hold_the_same_bytes(miniature, kind):
    settings = Settings.parse({"quantization": {"transformer": kind, "text_encoder": kind}})
    pipe = miniature.weightless()
    apply_all(pipe, settings)
    handle = apply_all(miniature.pipe, settings)
    try:
        for name in ("transformer", "text_encoder"):
            real, predicted = weigh(getattr(miniature.pipe, name)), weigh(getattr(pipe, name))
            assert real == predicted
    finally:
        handle.remove()


@pytest.mark.parametrize("kind", ["int4wo", "fp8dq"])
def test_a_kind_for_gpus_says_so_on_a_machine_without(miniature, kind, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    before = contract.snapshot(miniature.pipe)
    handle = apply_all(miniature.pipe, quantised(kind))
    assert handle.report == [
        f"transformer was not quantised: {kind} has kernels for CUDA devices only, and this machine has none"
    ]
    assert contract.snapshot(miniature.pipe) == before


@pytest.mark.parametrize(("kind", "package"), [("bnb8", "bitsandbytes")])
def test_a_missing_package_stops_with_its_command(miniature, kind, package, monkeypatch):
    monkeypatch.setattr("workbench.techniques._kinds.is_installed", lambda name: name != package)
    with pytest.raises(SettingsError) as caught:
        apply_all(miniature.pipe, quantised(kind))
    assert str(caught.value) == (
        f"quantization of transformer: {kind} needs the package {package}: "
        'pip install "diffusion-workbench[quantization]"'
    )


def test_a_component_that_the_pipeline_lacks_is_named(miniature):
    with pytest.raises(
        UnknownNameError, match=r"^unknown component of WanPipeline 'unet': allowed are vae, text_encoder, "
    ):
        apply_all(miniature.pipe, quantised("int8wo", "unet"))


def test_what_is_small_or_sensitive_is_left_alone_and_said(miniature):
    handle = apply_all(miniature.pipe, quantised("int8wo"))
    plain = {
        name
        for name, layer in miniature.pipe.transformer.named_modules()
        if isinstance(layer, nn.Linear) and type(layer.weight) is nn.Parameter
    }
    handle.remove()
    assert {name.split(".")[0] for name in plain} == {"condition_embedder", "proj_out"}
    assert handle.report == [
        "transformer: 30 layers hold int8 weights, one scale per output channel; left as they are: condition_embedder, proj_out"
    ]


def test_a_component_without_linear_layers_is_said_to_stay_as_it_is(miniature):
    handle = apply_all(miniature.pipe, quantised("int8wo", "vae"))
    assert handle.report == ["vae: int8wo changed nothing, there is no layer that it can pack"]
    handle.remove()


def test_float8_storage_leaves_what_t5_asks_for_its_dtype(miniature):
    """`wo` tells T5 what to cast its input to: stored in float8, the input would be cast to float8."""
    handle = apply_all(miniature.pipe, quantised("fp8_storage", "text_encoder"))
    dtypes = {
        name: p.dtype
        for name, p in miniature.pipe.text_encoder.named_parameters()
        if name.endswith("wo.weight")
    }
    dtype = miniature.pipe.text_encoder.dtype
    handle.remove()
    assert set(dtypes.values()) == {torch.float32} and dtype == torch.float32


def test_float8_storage_is_layerwise_casting_to_diffusers(miniature):
    from diffusers.hooks.layerwise_casting import _is_layerwise_casting_active

    handle = apply_all(miniature.pipe, quantised("fp8_storage"))
    active, dtype = _is_layerwise_casting_active(miniature.pipe.transformer), miniature.pipe.transformer.dtype
    stored = miniature.pipe.transformer.blocks[0].ffn.net[2].weight.dtype
    handle.remove()
    assert (active, dtype, stored) == (True, torch.float32, torch.float8_e4m3fn)
    assert not _is_layerwise_casting_active(miniature.pipe.transformer)


def test_float8_storage_computes_what_diffusers_does():
    from diffusers.hooks import apply_layerwise_casting

    from workbench.techniques._layerwise import store_small

    torch.manual_seed(0)
    ours, theirs = nn.Sequential(nn.Linear(64, 64)), nn.Sequential(nn.Linear(64, 64))
    theirs.load_state_dict(ours.state_dict())
    store_small(ours[0], torch.float8_e4m3fn)
    apply_layerwise_casting(theirs, torch.float8_e4m3fn, torch.float32, skip_modules_pattern=())
    x = torch.randn(3, 64)
    for _ in range(2):
        assert torch.equal(ours(x), theirs(x))


def test_kinds_with_the_same_bytes_are_not_taken_for_one_another(miniature):
    """int8wo and int8dq store the same tensors and compute differently: one memo must keep them apart."""
    memo = Memo()
    walks = {}
    for kind in ("int8wo", "int8dq"):
        pipe = miniature.weightless()
        apply_all(pipe, quantised(kind))
        settings = quantised(kind)
        trace, _ = rehearse(pipe, miniature.call_kwargs(settings, output_type="pt"), Target("cpu"), memo)
        handle = apply_all(miniature.pipe, settings)
        real = record(miniature.pipe, miniature.call_kwargs(settings, output_type="pt"))
        handle.remove()
        contract.assert_same_walk(trace.walk(), real.walk())
        walks[kind] = trace.num_ops
    assert walks["int8wo"] != walks["int8dq"]


def test_int8_products_are_traced_as_the_targets_kernel():
    pipe = weightless("bf16")
    apply_all(pipe, quantised("int8dq"))
    for target in ("cpu", "cuda"):
        trace, _ = rehearse(pipe, {**contract.WORKLOAD, "output_type": "pt"}, Target(target))
        products = [op for op in trace.op_counts() if op.name == "aten._int_mm.default"]
        dtypes = (
            ("int8",) if target == "cuda" else ("int8", "uint8")
        )  # a CPU with VNNI wants unsigned activations
        assert products and all(op.dtype in dtypes and op.kind == "matmul" for op in products)


def test_a_prediction_says_what_it_leaves_out():
    model, device = get_model("wan2.1-t2v-1.3b"), get_device("rtx-4090")
    [note] = quantised("int8dq").notes(model, device)
    assert note.startswith("int8dq outside torch.compile makes torchao 0.18 print")
    assert quantised("int8wo").notes(model, device) == ()


def test_the_worst_known_loss_counts():
    both = Quantization(components={"transformer": "int8wo", "text_encoder": "int8dq"})
    assert both.effect().loss_percent == 1.1


def test_a_failure_half_way_leaves_everything_as_it_was(miniature, monkeypatch):
    from workbench.techniques import _quantizers

    packed, left = _quantizers._packed, iter(range(3))

    def fails_at_the_fourth(weight, kind):
        if next(left, None) is None:
            raise MemoryError("no room for another weight")
        return packed(weight, kind)

    monkeypatch.setattr(_quantizers, "_packed", fails_at_the_fourth)
    before = contract.snapshot(miniature.pipe)
    with pytest.raises(MemoryError, match=r"^no room for another weight$"):
        apply_all(miniature.pipe, quantised("int8wo"))
    assert contract.snapshot(miniature.pipe) == before


LAYERS = {
    "insensitive": {"condition_embedder", "proj_out"},
    "configured": {"condition_embedder"},
    "all": set(),
}
"""Which parts of Wan's transformer keep all or some of their linear layers in 16 bits; its class keeps `time_embedder` in fp32."""


@pytest.mark.parametrize("layers", LAYERS)
@pytest.mark.parametrize("kind", ["int8wo", "nf4"])
def test_layers_can_be_chosen(miniature, layers, kind):
    settings = Settings.parse({"quantization": {"transformer": {"kind": kind, "layers": layers}}})
    weightless = miniature.weightless()
    apply_all(weightless, settings)
    handle = apply_all(miniature.pipe, settings)
    try:
        plain = {
            name
            for name, layer in miniature.pipe.transformer.named_modules()
            if isinstance(layer, nn.Linear) and type(layer.weight) is nn.Parameter
        }
        assert weigh(miniature.pipe.transformer) == weigh(weightless.transformer)
    finally:
        handle.remove()
    assert {name.split(".")[0] for name in plain} == LAYERS[layers]
    if layers == "configured":
        assert {name.split(".")[1] for name in plain} == {"time_embedder"}


def test_every_layer_is_what_torchaos_quantize_takes(miniature):
    """Compared with torchao itself on a second copy of the same network."""
    import copy

    from torchao.quantization import Int8WeightOnlyConfig, quantize_

    theirs = copy.deepcopy(miniature.pipe.transformer)
    quantize_(theirs, Int8WeightOnlyConfig(version=2))
    handle = apply_all(
        miniature.pipe, Settings.parse({"quantization": {"transformer": {"kind": "int8wo", "layers": "all"}}})
    )
    try:
        assert weigh(miniature.pipe.transformer) == weigh(theirs)
    finally:
        handle.remove()


def test_a_config_leaves_what_t5_keeps_in_fp32(miniature):
    """As transformers' `get_modules_to_not_convert` with `_keep_in_fp32_modules`."""
    handle = apply_all(
        miniature.pipe,
        Settings.parse({"quantization": {"text_encoder": {"kind": "int8wo", "layers": "configured"}}}),
    )
    plain = {
        name.rpartition(".")[2]
        for name, layer in miniature.pipe.text_encoder.named_modules()
        if isinstance(layer, nn.Linear) and type(layer.weight) is nn.Parameter
    }
    handle.remove()
    assert plain == {"wo"}


def test_more_layers_can_be_left_alone(miniature):
    skip = {"kind": "int8wo", "layers": "all", "skip": ["attn2", r"ffn\.net\.2"]}
    handle = apply_all(miniature.pipe, Settings.parse({"quantization": {"transformer": skip}}))
    plain = {
        name
        for name, layer in miniature.pipe.transformer.named_modules()
        if isinstance(layer, nn.Linear) and type(layer.weight) is nn.Parameter
    }
    handle.remove()
    assert plain and all("attn2" in name or "ffn.net.2" in name for name in plain)


def test_the_choice_of_layers_is_canonical():
    plain = Quantization(components={"transformer": {"kind": "nf4", "layers": "insensitive", "skip": []}})
    assert plain == quantised("nf4").get("quantization") and plain.to_json() == {"transformer": "nf4"}
    full = {"transformer": {"kind": "nf4", "layers": "all", "skip": ["b", "a", "a"]}}
    assert Quantization.parse(full).to_json() == {
        "transformer": {"kind": "nf4", "layers": "all", "skip": ["a", "b"]}
    }


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"layers": "all"}, r"^quantization of transformer needs the key 'kind'$"),
        (
            {"kind": "nf4", "layer": "all"},
            r"^unknown key of quantization of transformer 'layer': did you mean layers\?",
        ),
        ({"kind": "nf4", "layers": "most"}, r"^unknown layers for transformer of quantization 'most'"),
        (
            {"kind": "nf4", "skip": "ffn"},
            r"^skip for transformer of quantization must be a list of regular expressions, got 'ffn'$",
        ),
        ({"kind": "nf4", "skip": ["("]}, r"got '\(': missing \)"),
        (3, r"^unknown kind for transformer of quantization '3'"),
    ],
)
def test_a_wrong_choice_is_refused_with_what_is_allowed(value, message):
    with pytest.raises((SettingsError, UnknownNameError), match=message):
        Quantization.parse({"transformer": value})
