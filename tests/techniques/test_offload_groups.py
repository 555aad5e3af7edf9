"""Groups of layers, blocks that stay, and groups in files: diffusers' hooks on a real pipeline, the CPU in the GPU's place."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from diffusers.models import autoencoders

from workbench._errors import InputError, SettingsError, UnknownNameError
from workbench.cost.weigh import weigh
from workbench.devices import get as get_device
from workbench.models import get
from workbench.techniques import Offload, Settings, _placing, apply_all
from workbench.techniques._grouping import GROUPED_VAES
from workbench.techniques._tensors import modules_of
from workbench.testing import contract


@pytest.fixture(autouse=True)
def cpu_as_gpu(monkeypatch):
    """The CPU takes the GPU's part: nothing moves, but every hook is installed and runs."""
    monkeypatch.setattr(_placing, "onload_device", lambda: torch.device("cpu"))


def groups_of(pipe, name):
    """Number of groups of a component, by diffusers' own hooks."""
    parts = [part for part in getattr(pipe, name).modules() if "_diffusers_hook" in vars(part)]
    hooks = [part._diffusers_hook.get_hook("group_offloading") for part in parts]
    return len({id(hook.group) for hook in hooks if hook is not None})


def hooked(pipe):
    return [name for name in modules_of(pipe) if groups_of(pipe, name)]


GROUPED = (
    ({"offload_type": "leaf_level"}, {}, {"text_encoder": "layers", "transformer": "layers"}),
    ({"offload_type": "leaf_level", "components": ("vae",)}, {}, {"vae": "layers"}),
    ({"resident_blocks": 1}, {}, {"transformer": 2, "text_encoder": 3}),
    (
        {"resident_blocks": 2},
        {"quantization": {"transformer": "int8wo", "text_encoder": "nf4"}},
        {"transformer": 1},
    ),
    ({"resident_blocks": 9}, {}, {"transformer": 0}),
)


@pytest.mark.parametrize("in_files", [False, True])
@pytest.mark.parametrize(("parameters", "others", "groups"), GROUPED, ids=lambda value: str(value)[:60])
def test_it_changes_no_pixel_and_can_be_taken_off(miniature, tmp_path, in_files, parameters, others, groups):
    if in_files and others:
        pytest.skip("what is quantised does not go into files")
    without = Settings.parse(others)
    assert miniature.baseline is not None
    before = contract.snapshot(miniature.pipe)
    handle = apply_all(miniature.pipe, without)
    expected = miniature.frames(without)
    handle.remove()
    offload = Offload(mode="group", disk=str(tmp_path) if in_files else None, **parameters)
    handle = apply_all(miniature.pipe, Settings.of([*without.techniques, offload]))
    for _ in range(2):
        # weights from a file are aligned otherwise, so the CPU's kernels may round otherwise
        assert np.allclose(miniature.frames(without), expected, rtol=0, atol=1e-5 if in_files else 0)
    for name, number in groups.items():
        layers = weigh(getattr(miniature.pipe, name)).num_layers
        assert groups_of(miniature.pipe, name) == (layers if number == "layers" else number)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert bool(files) == in_files
    handle.remove()
    assert hooked(miniature.pipe) == []
    assert not list(tmp_path.iterdir())
    assert without_memory(contract.snapshot(miniature.pipe)) == without_memory(before)
    assert np.array_equal(miniature.frames(Settings()), miniature.baseline)


def without_memory(state):
    """A snapshot but for where tensors are: moving a component copies it."""
    return {
        key: (value[0], *value[2:]) if isinstance(value, tuple) and len(value) == 5 else value
        for key, value in state.items()
    }


def test_each_component_has_a_folder_of_its_own(miniature, tmp_path):
    # diffusers gives the blocks of every model the same file names, and reads a file that is there instead of writing one
    handle = apply_all(miniature.pipe, Settings.of([Offload(mode="group", disk=str(tmp_path))]))
    folders = {
        path.name.partition("-")[0]: {file.name for file in path.iterdir()} for path in tmp_path.iterdir()
    }
    handle.remove()
    assert set(folders) == {"transformer", "text_encoder"}
    assert all(folders.values())


def test_a_folder_that_does_not_exist_is_named(miniature, tmp_path):
    folder = str(tmp_path / "none")
    with pytest.raises(InputError, match=r"^disk of offload must be a folder that exists, got "):
        apply_all(miniature.pipe, Settings.of([Offload(mode="group", disk=folder)]))
    assert hooked(miniature.pipe) == []


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"low_cpu_mem_usage": True}, "low_cpu_mem_usage of offload belongs to stream: without one nothing is pinned"),
        ({"low_cpu_mem_usage": True, "stream": True, "disk": "x"},
         "low_cpu_mem_usage of offload does not go with disk: what waits in files is pinned late anyway"),
        ({"disk": ""}, "disk of offload must be the name of a folder, got ''"),
        ({"offload_type": "leaf_level", "resident_blocks": 1},
         "resident_blocks of offload belongs to offload_type 'block_level', got 'leaf_level'"),
        ({"blocks_per_group": 2, "resident_blocks": 1},
         "resident_blocks of offload counts single blocks: blocks_per_group must be 1 with it, got 2"),
        ({"resident_blocks": -1}, "resident_blocks of offload must be a whole number of at least 0, got -1"),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_refused(parameters, message):
    with pytest.raises(SettingsError) as caught:
        Offload(mode="group", **parameters)
    assert str(caught.value) == message


def test_an_unknown_kind_of_group_is_named():
    with pytest.raises(
        UnknownNameError,
        match=r"^unknown offload_type of offload 'layer': allowed are block_level, leaf_level$",
    ):
        Offload(mode="group", offload_type="layer")


def test_parameters_of_groups_belong_to_groups():
    with pytest.raises(
        SettingsError, match=r"^resident_blocks of offload belongs to mode 'group', got mode 'model'$"
    ):
        Offload(mode="model", resident_blocks=2)


def test_what_is_quantised_does_not_go_into_files():
    settings = {"offload": {"mode": "group", "disk": "x"}, "quantization": {"transformer": "int8wo"}}
    with pytest.raises(
        SettingsError, match=r"^offload with disk does not go with quantization int8wo of transformer: "
    ):
        Settings.parse(settings)
    Settings.parse({**settings, "quantization": {"transformer": "fp8_storage", "vae": "int8wo"}})


def test_the_autoencoders_that_can_be_grouped_are_those_whose_class_says_how():
    classes = [kind for name in dir(autoencoders) if isinstance(kind := getattr(autoencoders, name), type)]
    grouped = {kind.__name__ for kind in classes if getattr(kind, "_group_offload_block_modules", None)}
    assert set(GROUPED_VAES) <= grouped and AutoencoderKL.__name__ in grouped


def test_an_autoencoder_whose_decode_no_hook_sees_is_refused():
    spec = get("hunyuanvideo")
    refusal = Offload(mode="group", components=("vae",)).applies_to(spec, None)
    assert refusal == (
        "mode group cannot move the blocks of AutoencoderKLHunyuanVideo, whose decode runs past diffusers' hook; "
        "leave vae out of the components, or use offload_type 'leaf_level'"
    )
    assert (
        Offload(mode="group", components=("vae",), offload_type="leaf_level").applies_to(spec, None) is None
    )


def test_what_is_not_known_of_a_disk_is_said():
    spec, card = get("wan2.1-t2v-1.3b"), get_device("rtx-3090")
    offload = Offload(mode="group", disk="x")
    assert offload.notes(spec, card)[0] == (
        "weights in files are read at 3.5 GB/s, a fast NVMe drive's figure: this disk's is not known"
    )
    known = dataclasses.replace(card, disk_bytes_per_s=7e9)
    assert offload.notes(spec, known)[0] == "weights in files are read at 7 GB/s"
    assert Offload(mode="group").notes(spec, card) == ()


@pytest.mark.parametrize(
    ("offload", "how"),
    [
        (Offload(mode="sequential"), "mode sequential"),
        (Offload(mode="group", offload_type="leaf_level"), "offload_type leaf_level"),
    ],
)
def test_where_a_layer_is_used_past_its_forward_layers_are_not_moved_one_by_one(offload, how):
    refusal = offload.applies_to(get("framepacki2v_hy"), None)
    assert refusal is not None and refusal.startswith(
        f"{how} fails: a layer of HunyuanVideoFramepackPipeline "
    )
    assert Offload(mode="group").applies_to(get("framepacki2v_hy"), None) is None
