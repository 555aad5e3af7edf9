"""Packed weights beside the libraries' own: bytes, layout, values, and what restoring them takes."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

from workbench._errors import SettingsError
from workbench.cost._recorder import Recorder
from workbench.cost.weigh import stored_parts
from workbench.techniques import Settings, apply_all
from workbench.techniques._kinds import KINDS, is_installed
from workbench.techniques._quantizers import _packed, packing_bytes
from workbench.techniques._torchao_four_bits import CODES, FourBitTensor, scale_code
from workbench.techniques._torchao_gguf import GgufTensor, block_of
from workbench.testing import contract

needs_bitsandbytes = pytest.mark.skipif(
    not is_installed("bitsandbytes"), reason="bitsandbytes is an optional extra: quantization"
)
PACKED_HERE = ("Q8_0", "Q5_0", "Q4_0")


def weight(rows: int = 48, columns: int = 512, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(0)).to(dtype)


def stored(tensor) -> int:
    return sum(part.numel() * part.element_size() for part in stored_parts(tensor))


@pytest.mark.parametrize("code", CODES)
def test_four_bits_restore_each_weight_to_within_half_a_level(code):
    packed = FourBitTensor.of(weight(), code)
    back = packed.restored(torch.float32)
    levels = sorted(set(CODES[code]))
    widest = max(b - a for a, b in itertools.pairwise(levels))
    assert ((back - weight()).abs().view(-1, 64) <= packed.absmax[:, None] * widest / 2 + 1e-6).all()
    assert torch.equal(FourBitTensor.of(back, code).packed, packed.packed)
    zeros = FourBitTensor.of(torch.zeros(4, 64), code)
    assert torch.equal(zeros.restored(torch.float32), torch.zeros(4, 64))


def test_scales_in_eight_bits_are_within_a_level_of_the_plain_ones():
    plain, double = FourBitTensor.of(weight(), "nf4"), FourBitTensor.of(weight(), "nf4", double=True)
    levels = scale_code()
    widest = max(b - a for a, b in itertools.pairwise(levels))
    from workbench.techniques._torchao_four_bits import dequantize_scales

    back = dequantize_scales(double.absmax, double.scale_of_scales) + double.offset
    assert torch.equal(double.packed, plain.packed)
    assert (back - plain.absmax).abs().max() <= double.scale_of_scales.max() * widest / 2 + 1e-6


def test_the_code_of_scales_is_ascending_and_within_one():
    code = scale_code()
    assert len(code) == len(set(code)) == 256 and list(code) == sorted(code)
    assert code[-1] == 1.0 and code[0] > -1.0 and 0.0 in code


@needs_bitsandbytes
@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("double", [False, True])
def test_four_bits_are_those_of_bitsandbytes(code, double):
    from bitsandbytes.functional import dequantize_4bit, quantize_4bit

    given = weight(64, 1024)
    theirs, state = quantize_4bit(given, blocksize=64, quant_type=code, compress_statistics=double)
    ours = FourBitTensor.of(given, code, double=double)
    # a value midway between two levels may round either way; FP4 has two zeros
    same = (ours.packed == theirs.flatten()) if code == "nf4" else torch.ones(1)
    assert same.float().mean() > 0.999
    assert torch.allclose(
        ours.restored(torch.float32), dequantize_4bit(theirs, state), atol=0.05 if double else 1e-6
    )
    tables = [state.code] + ([state.state2.code] if double else [])  # which each of its layers has for itself
    parts = [theirs, state.absmax, *tables] + ([state.offset, state.state2.absmax] if double else [])
    held = sum(part.numel() * part.element_size() for part in parts)
    assert stored(ours) == held - sum(table.numel() * 4 for table in tables)
    if double:
        assert torch.allclose(torch.tensor(scale_code()), state.state2.code.cpu(), atol=1e-6)
        assert (ours.absmax == state.absmax).float().mean() > 0.99


@needs_bitsandbytes
def test_the_bytes_of_a_layer_of_bitsandbytes_are_all_counted():
    """`Linear4bit` keeps packed weights and, beside them, scales that no parameter holds."""
    import bitsandbytes

    layer = bitsandbytes.nn.Linear4bit(1024, 64, bias=False, quant_type="nf4", compress_statistics=True)
    layer.weight = bitsandbytes.nn.Params4bit(
        weight(64, 1024), requires_grad=False, quant_type="nf4", compress_statistics=True
    ).to("cpu")
    ours = FourBitTensor.of(weight(64, 1024), "nf4", double=True)
    assert stored(layer.weight) == stored(ours) + (16 + 256) * 4


@pytest.mark.parametrize("name", PACKED_HERE)
def test_gguf_weights_are_those_of_the_package_and_restored_as_diffusers_does(name):
    import gguf
    from diffusers.quantizers.gguf.utils import GGUFLinear, GGUFParameter

    kind = gguf.GGMLQuantizationType[name]
    packed = gguf.quants.quantize(weight().numpy(), kind)
    ours = GgufTensor.of(weight(), name)
    assert stored(ours) == packed.nbytes
    theirs = GGUFLinear(512, 48, bias=True, compute_dtype=torch.bfloat16)
    theirs.weight = GGUFParameter(torch.from_numpy(packed), quant_type=kind)
    theirs.bias = nn.Parameter(torch.ones(48), requires_grad=False)
    layer = nn.Linear(512, 48, dtype=torch.bfloat16)
    layer.weight, layer.bias = nn.Parameter(ours, requires_grad=False), theirs.bias
    x = weight(3, 512, torch.bfloat16)
    with torch.no_grad():
        assert torch.equal(layer(x), theirs(x))
    step = weight().abs().view(-1, block_of(name)[0]).amax(dim=1) / {"Q8_0": 127, "Q5_0": 16, "Q4_0": 8}[name]
    wrong = (ours.restored(torch.float32) - weight()).abs().view(-1, block_of(name)[0])
    assert (wrong <= step[:, None] * 1.01 + 1e-3).all()  # its scales are in fp16


@pytest.mark.parametrize("name", ["Q6_K", "Q5_K", "Q4_K", "Q3_K", "Q2_K"])
def test_the_largest_gguf_blocks_are_laid_out_and_restored(name):
    """Random bytes are a weight too; the package reads them as diffusers does."""
    import gguf

    blocks = torch.randint(0, 60, (6, 2 * block_of(name)[1]), dtype=torch.uint8)
    ours = GgufTensor(blocks, 512, name, torch.bfloat16)
    meta = GgufTensor.of(weight(6, 512, torch.bfloat16).to("meta"), name)
    assert stored(meta) == stored(ours) == blocks.numel()
    theirs = gguf.quants.dequantize(blocks.numpy(), gguf.GGMLQuantizationType[name])
    assert torch.allclose(ours.restored(torch.float32), torch.from_numpy(theirs), rtol=0.02, atol=1e-2)


@pytest.mark.parametrize("kind", ["int8wo", "int8dq", "fp8wo"])
def test_what_packing_takes_is_what_torchao_allocates(kind):
    """The same instrument on real tensors; torchao quantises in fp32, a few times the weight."""
    given, recorder = weight(256, 512, torch.bfloat16), Recorder(hollow=False)
    with torch.no_grad(), recorder:
        packed = _packed(given, kind)
    found = packing_bytes(given.shape, given.dtype, kind)
    assert found == recorder.trace(kind).peak() > 2 * given.nbytes > stored(packed)


@pytest.mark.parametrize("kind", ["nf4", "fp4", "nf4_double"])
def test_packing_in_four_bits_is_a_kernel_that_takes_little(kind):
    """bitsandbytes' kernel writes codes and scales, and nothing else."""
    given = weight(256, 512, torch.bfloat16)
    packed = _packed(given, kind)
    assert stored(packed) <= packing_bytes(given.shape, given.dtype, kind) < 0.4 * given.nbytes


@pytest.mark.parametrize("kind", [kind for kind, row in KINDS.items() if row.planned_only])
def test_what_is_only_planned_is_refused_on_a_real_pipeline(miniature, kind, monkeypatch):
    monkeypatch.setattr("workbench.techniques._kinds.is_installed", lambda name: True)
    before = contract.snapshot(miniature.pipe)
    settings = Settings.parse({"quantization": {"transformer": kind}})
    with pytest.raises(SettingsError) as caught:
        apply_all(miniature.pipe, settings)
    assert str(caught.value) == f"quantization of transformer: {KINDS[kind].planned_only}"
    assert contract.snapshot(miniature.pipe) == before
    [technique] = settings.techniques
    said = f"{kind} can be planned and not applied: {KINDS[kind].planned_only}"
    assert said in technique.notes(None, None)
