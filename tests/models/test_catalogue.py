"""The catalogue's rows: what each says of itself, and that reading them needs no torch."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from workbench._errors import SettingsError, UnknownNameError
from workbench.models import get, names


def test_names_are_the_hub_names_with_the_default_first():
    assert names() == (
        "wan2.1-t2v-1.3b",
        "wan2.1-t2v-14b",
        "wan2.1-i2v-14b-480p",
        "wan2.2-ti2v-5b",
        "wan2.2-t2v-a14b",
        "tiny",
    )


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
    assert [get(name).num_experts for name in names()] == [1, 1, 1, 1, 2, 1]


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
