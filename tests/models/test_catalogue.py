"""The catalogue's rows: what each says of itself, and that reading them needs no torch."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from workbench._errors import SettingsError, UnknownNameError
from workbench.models import DEFAULT_MODEL, get, names

# What issue 3 asks for at least, by pipeline class.
ASKED = (
    "WanPipeline", "WanImageToVideoPipeline", "WanVACEPipeline", "CogVideoXPipeline", "CogVideoXImageToVideoPipeline",
    "HunyuanVideoPipeline", "HunyuanVideoImageToVideoPipeline", "HunyuanVideo15Pipeline", "HunyuanVideoFramepackPipeline",
    "LTXPipeline", "LTXConditionPipeline", "LTX2Pipeline", "MochiPipeline", "StableVideoDiffusionPipeline", "AnimateDiffPipeline",
    "AllegroPipeline", "LattePipeline", "SkyReelsV2Pipeline", "SanaVideoPipeline", "CosmosTextToWorldPipeline",
    "Kandinsky5T2VPipeline", "EasyAnimatePipeline",
)  # fmt: skip


def test_names_are_lower_case_hub_names_once_each_with_the_default_first():
    assert names()[0] == DEFAULT_MODEL and names()[-1] == "tiny"
    assert len(set(names())) == len(names())
    assert all(
        name == name.lower() and "/" not in name and not name.endswith("-diffusers") for name in names()
    )


def test_the_catalogue_has_every_pipeline_that_was_asked_for():
    assert set(ASKED) <= {get(name).pipeline_class for name in names()}


@pytest.mark.parametrize("name", names())
def test_every_row_says_where_it_is_from_and_is_plain_data(name):
    spec = get(name)
    assert spec.sources and all(spec.sources)
    assert spec.scheduler.source
    assert all(part.source for part in spec.components)
    json.dumps([part.config | {"dtype": part.dtype} for part in spec.components])
    assert hash(spec) == hash(get(name.upper()))
    assert set(spec.parameters) <= set(spec.component_names())


def test_documented_dtypes():
    assert {part.name: part.dtype for part in get("wan2.1-i2v-14b-480p").components} == {
        "text_encoder": "bf16",
        "image_encoder": "fp32",
        "transformer": "bf16",
        "vae": "fp32",
    }


def test_experts_are_counted():
    assert {name for name in names() if get(name).num_experts > 1} == {"wan2.2-t2v-a14b", "wan2.2-i2v-a14b"}
    assert all(get(name).num_experts >= 1 for name in names())


def test_with_dtypes_changes_only_what_is_named():
    spec = get("tiny").with_dtypes({"vae": "bf16"})
    assert [part.dtype for part in spec.components] == ["fp32", "fp32", "bf16"]
    assert [part.dtype for part in get("tiny").components] == ["fp32", "fp32", "fp32"]


def test_with_dtypes_refuses_what_it_does_not_know():
    with pytest.raises(SettingsError) as caught:
        get("tiny").with_dtypes({"vae": "int8"})
    assert str(caught.value) == "dtype of vae must be one of fp32, fp16, bf16, got 'int8'"
    with pytest.raises(UnknownNameError) as unknown:
        get("tiny").with_dtypes({"unet": "bf16"})
    assert (
        str(unknown.value) == "unknown component of tiny 'unet': allowed are text_encoder, transformer, vae"
    )


def test_the_catalogue_is_read_without_torch():
    code = (
        "import sys, workbench.models, workbench.miniature;"
        "print([m for m in ('torch', 'diffusers', 'transformers', 'PIL', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("spelled", ["CogVideoX 5B", "cogvideox_5b", " CogVideoX-5B "])
def test_a_model_is_known_in_any_case_and_with_spaces(spelled: str) -> None:
    assert get(spelled).name == "cogvideox-5b"
