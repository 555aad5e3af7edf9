"""The tiny Wan: made from its row, saved and loaded like any pipeline, generating in seconds."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from workbench._errors import InputError
from workbench.miniature import build_tiny, load_tiny, save_tiny
from workbench.miniature._tokenizer import tiny_tokenizer, vocabulary
from workbench.miniature.tiny import cache_folder
from workbench.models import get
from workbench.models._build import TORCH_DTYPES, build_meta_pipeline
from workbench.models._quiet import no_progress_bars

COMPONENTS = get("tiny").component_names()


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBENCH_CACHE_DIR", str(tmp_path))
    return tmp_path


def generate(pipe, prompt="a red fox runs through the snow"):
    pipe.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(0)
    kwargs = {"num_frames": 9, "height": 64, "width": 64, "num_inference_steps": 4, "output_type": "pt"}
    return pipe(prompt, generator=generator, **kwargs).frames


def same_weights(one, other):
    return all(
        torch.equal(tensor, getattr(other, name).state_dict()[key])
        for name in COMPONENTS
        for key, tensor in getattr(one, name).state_dict().items()
    )


def test_tiny_is_small_and_in_the_dtype_of_its_row():
    pipe = build_tiny()
    numbers = {name: sum(p.numel() for p in getattr(pipe, name).parameters()) for name in COMPONENTS}
    assert numbers["transformer"] < 1e6
    assert sum(numbers.values()) < 5e6
    for part in get("tiny").components:
        assert getattr(pipe, part.name).dtype == TORCH_DTYPES[part.dtype]
    assert (pipe.vae_scale_factor_temporal, pipe.vae_scale_factor_spatial) == (4, 8)


def test_the_same_seed_gives_the_same_weights_and_leaves_torchs_seed_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    one = build_tiny(seed=1)
    assert torch.equal(torch.rand(3), expected)
    assert same_weights(one, build_tiny(seed=1))
    assert not same_weights(one, build_tiny(seed=2))


def test_loading_makes_the_pipeline_once_and_gives_what_was_built(own_cache):
    first = load_tiny()
    [folder] = own_cache.iterdir()
    made = (folder / "model_index.json").stat().st_mtime_ns
    again = load_tiny()
    assert [path.name for path in own_cache.iterdir()] == [folder.name]
    assert (folder / "model_index.json").stat().st_mtime_ns == made
    built = load_tiny(cache=False)
    assert same_weights(first, built) and same_weights(again, built)
    assert not any(module.training for name in COMPONENTS for module in getattr(first, name).modules())
    assert [p.requires_grad for p in first.transformer.parameters()] == [
        p.requires_grad for p in built.transformer.parameters()
    ]


def test_it_generates_the_same_video_loaded_or_built(own_cache):
    video = generate(load_tiny())
    assert tuple(video.shape) == (1, 9, 3, 64, 64)
    assert video.min() >= 0 and video.max() <= 1
    assert video.std() > 0.02  # something is to be seen, even if it means nothing
    torch.testing.assert_close(generate(build_tiny()), video, atol=1e-4, rtol=0)
    assert not torch.equal(generate(build_tiny(), prompt="a dog in a garden"), video)


def test_weightless_tiny_has_the_tensors_of_the_loaded_one(tmp_path):
    dtypes = {"text_encoder": "fp16", "transformer": "bf16", "vae": "fp32"}
    from diffusers import WanPipeline

    with no_progress_bars():
        loaded = WanPipeline.from_pretrained(
            save_tiny(tmp_path / "tiny"), dtype={name: TORCH_DTYPES[dtype] for name, dtype in dtypes.items()}
        )
    weightless = build_meta_pipeline(get("tiny").with_dtypes(dtypes))
    for name in COMPONENTS:
        real, meta = getattr(loaded, name), getattr(weightless, name)
        for kind in ("named_parameters", "named_buffers"):
            expected = {key: (tensor.dtype, tensor.shape) for key, tensor in getattr(real, kind)()}
            assert {key: (tensor.dtype, tensor.shape) for key, tensor in getattr(meta, kind)()} == expected


def test_saving_refuses_a_folder_that_holds_something(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError) as caught:
        save_tiny(tmp_path)
    assert str(caught.value) == f"folder for the tiny pipeline must be new or empty, got {str(tmp_path)!r}"
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_failed_save_leaves_nothing_behind(tmp_path, monkeypatch):
    from diffusers import WanPipeline

    def fail(self, folder):
        (folder / "half.safetensors").write_text("half")
        raise OSError("no space left on device")

    monkeypatch.setattr(WanPipeline, "save_pretrained", fail)
    with pytest.raises(OSError, match=r"^no space left on device$"):
        save_tiny(tmp_path / "tiny")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_another_process_made_in_the_meantime_is_used(own_cache, monkeypatch):
    from workbench.miniature import tiny

    def made_by_another(folder, seed=0):
        save_tiny(folder, seed)
        raise OSError("directory not empty")

    monkeypatch.setattr(tiny, "save_tiny", made_by_another)
    assert same_weights(load_tiny(), build_tiny())


def test_cache_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("WORKBENCH_CACHE_DIR", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("WORKBENCH_CACHE_DIR")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "diffusion-workbench"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_folder() == tmp_path / "home" / ".cache" / "diffusion-workbench"


def test_vocabulary_fits_into_the_text_encoder():
    words = vocabulary()
    assert list(words.values()) == list(range(len(words)))
    assert len(words) <= get("tiny").component("text_encoder").config["vocab_size"]
    assert [words[token] for token in ("<pad>", "</s>", "<unk>")] == [0, 1, 2]


def test_tokenizer_pads_ends_and_spells_unknown_words():
    tokenizer = tiny_tokenizer(512)
    assert tokenizer.tokenize("A red Zebra, café!") == [
        *("a", "red", "z", "##e", "##b", "##r", "##a", ",", "c", "##a", "##f", "##e", "!")
    ]
    out = tokenizer(
        ["a red fox", "dog"], padding="max_length", max_length=6, truncation=True, return_tensors="pt"
    )
    assert out.attention_mask.tolist() == [[1, 1, 1, 1, 0, 0], [1, 1, 0, 0, 0, 0]]
    assert out.input_ids[0, 3] == 1 and out.input_ids[0, 4] == 0
    cut = tokenizer("a red fox runs fast", max_length=3, truncation=True).input_ids
    assert len(cut) == 3 and cut[-1] == 1


def test_loading_prints_nothing(own_cache):
    code = "from workbench.miniature import load_tiny; load_tiny(); load_tiny()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")
