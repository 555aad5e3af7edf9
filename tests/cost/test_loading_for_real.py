"""Loading for real: a component is saved, loaded in another process and quantised, and that process's own memory is held against
`workbench.cost.loading`. Memory of the process is `RssAnon`; pages of mapped files are page cache and `RssFile`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from workbench.cost._weigh_loaded import loaded, tensors_of
from workbench.cost.loading import load_peaks
from workbench.techniques._quantization_choice import Choice
from workbench.techniques._quantizers import quantize
from workbench.techniques._technique import Handle

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/status").is_file(),
    reason="tells memory of a process from page cache by Linux's /proc",
)
MIB = 2**20
NOISE_BYTES = 16 * MIB
"""What importing, compiling and loading cost beside tensors: 6 to 8 MiB were seen (torch 2.13, diffusers 0.42), doubled."""
SCRIPT = """
import gc, json, sys
import torch, diffusers, transformers, torchao.quantization
from workbench.techniques._quantization_choice import Choice
from workbench.techniques._quantizers import quantize
from workbench.techniques._technique import Handle

def held():
    gc.collect()
    return int(next(line for line in open("/proc/self/status") if line.startswith("RssAnon")).split()[1]) * 1024

def run(way, folder, name):
    more = {"dtype": torch.bfloat16}
    if way == "on_load":
        config = diffusers.TorchAoConfig(torchao.quantization.Int8WeightOnlyConfig(version=2))
        more |= {"quantization_config": config, "device_map": "cpu"}
    found = getattr(diffusers if hasattr(diffusers, name) else transformers, name)
    before = held()
    module = found.from_pretrained(folder, **more)
    after_loading = held() - before
    handle = Handle()
    if way == "cpu":
        quantize(module, Choice(kind="int8wo", layers="all"), handle)
    return after_loading, held() - before

# libraries set themselves up at first use
warm = torch.nn.Linear(64, 64).bfloat16()
quantize(torch.nn.ModuleDict({"warm": warm}), Choice(kind="int8wo", layers="all"), Handle())
print(json.dumps({key: run(*arguments) for key, arguments in json.loads(sys.argv[1]).items()}))
"""


@pytest.fixture(scope="module")
def denoiser():
    from diffusers import WanTransformer3DModel

    torch.manual_seed(0)
    return WanTransformer3DModel(
        num_layers=3, num_attention_heads=8, attention_head_dim=128, ffn_dim=4096, text_dim=1024
    ).to(torch.bfloat16)


@pytest.fixture(scope="module")
def encoder():
    from transformers import UMT5Config, UMT5EncoderModel

    torch.manual_seed(0)
    config = UMT5Config(vocab_size=20000, d_model=1024, d_ff=2816, num_layers=4, num_heads=16)
    return UMT5EncoderModel(config).to(torch.bfloat16)


@pytest.fixture(scope="module")
def measured(denoiser, encoder, tmp_path_factory):
    """Bytes of a process's own memory after loading, and after quantising, by case. One process: it imports for longer than it loads."""
    folders = tmp_path_factory.mktemp("saved")
    cases = {}
    for key, module in {"denoiser": denoiser, "encoder": encoder}.items():
        for dtype in (torch.bfloat16, torch.float32):
            folder = folders / f"{key} {dtype}"
            module.to(dtype).save_pretrained(folder)
            cases[f"{key} {'cast' if dtype == torch.float32 else 'mapped'}"] = [
                "cpu",
                str(folder),
                type(module).__name__,
            ]
        module.to(torch.bfloat16)
    cases["on load"] = ["on_load", *cases["denoiser mapped"][1:]]
    # without this the C library keeps large freed blocks for itself once it has seen one
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps(cases)],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def predicted(module, layers: str):
    """What is known without loading: the module's weights, and what quantising makes of them."""
    plain, handle = tensors_of(module), Handle()
    quantize(module, Choice(kind="int8wo", layers=layers), handle)
    found = loaded(plain, tensors_of(module))
    handle.remove()
    assert found.packed_bytes > 2 * NOISE_BYTES  # else nothing could be told
    return found


def close(found: int, predicted: int) -> bool:
    """Within the noise and 2 %: tensors take whole pages each."""
    return abs(found - predicted) <= NOISE_BYTES + 0.02 * predicted


@pytest.mark.parametrize("which", ["denoiser", "encoder"])
@pytest.mark.parametrize("how", ["mapped", "cast"])
def test_quantised_on_the_cpu(which, how, request, measured):
    found = predicted(request.getfixturevalue(which), "all")
    on_cpu = load_peaks([found])[0]
    after_loading, after_packing = measured[f"{which} {how}"]
    assert close(after_loading, found.plain_bytes if how == "cast" else 0)
    assert close(after_packing, on_cpu.host_bytes if how == "cast" else on_cpu.host_mapped_bytes)


def test_quantised_on_load_keeps_nothing(denoiser, measured):
    """On the CPU in place of a GPU: what stays is what is packed, and the rest is mapped."""
    found = predicted(denoiser, "configured")
    [after, _] = measured["on load"]
    assert close(after, found.packed_bytes)
