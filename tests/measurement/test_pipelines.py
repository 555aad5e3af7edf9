"""Which pipeline runs: the tiny one, or a folder that the catalogue knows by its configuration."""

from __future__ import annotations

import json
import shutil

import pytest

from workbench._errors import InputError
from workbench.measurement._pipelines import open_pipeline, spec_of
from workbench.miniature import save_tiny
from workbench.models import get, names


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_tiny(tmp_path_factory.mktemp("saved") / "my-model")


def message(model):
    with pytest.raises(InputError) as caught:
        spec_of(model)
    return str(caught.value)


def test_tiny_and_a_saved_folder_are_found(folder):
    assert spec_of("tiny") is spec_of(folder) is spec_of(str(folder)) is get("tiny")
    pipe = open_pipeline(folder, get("tiny"))
    assert type(pipe).__name__ == "WanPipeline" and pipe.transformer.config.num_layers == 3


def test_a_folder_of_no_catalogue_model(folder, tmp_path):
    other = shutil.copytree(folder, tmp_path / "other")
    config = json.loads((other / "transformer" / "config.json").read_text())
    (other / "transformer" / "config.json").write_text(json.dumps({**config, "num_layers": 7}))
    wan = ", ".join(name for name in names() if get(name).pipeline_class == "WanPipeline")
    assert message(other) == (
        f"the pipeline in {str(other)!r} is of no model in the catalogue: its class is WanPipeline, "
        f"and its configuration is of none of that class ({wan})"
    )


def test_names_that_are_no_pipeline_here(tmp_path):
    assert message("wan2.1-t2v-1.3b") == (
        "the weights of 'wan2.1-t2v-1.3b' are not in this package: pass the folder of a pipeline saved with save_pretrained, or 'tiny'"
    )
    assert message("tinny").startswith("unknown model 'tinny': did you mean tiny")
    assert message(tmp_path) == (
        f"model must be 'tiny' or a folder saved with save_pretrained, got {str(tmp_path)!r}, which has no model_index.json"
    )
    (tmp_path / "model_index.json").write_text("{")
    assert message(tmp_path).startswith(f"{str(tmp_path / 'model_index.json')!r} cannot be read as JSON: ")
    (tmp_path / "model_index.json").write_text("[]")
    assert message(tmp_path) == f"{str(tmp_path / 'model_index.json')!r} must hold a JSON object"


def test_a_model_that_needs_an_image(folder, tmp_path, monkeypatch):
    from workbench.measurement import _pipelines

    monkeypatch.setattr(_pipelines, "_spec_of_folder", lambda _: get("wan2.1-i2v-14b-480p"))
    assert message("some-folder") == (
        "generate makes videos from text; wan2.1-i2v-14b-480p also needs an image, which generate does not take"
    )
