"""Which pipeline runs: the tiny one, or a folder that the catalogue knows by its configuration."""

from __future__ import annotations

import json
import shutil

import pytest

from workbench._errors import InputError
from workbench.measurement._pipelines import default_model, default_prompt, open_pipeline, spec_of
from workbench.miniature import save_tiny
from workbench.models import get


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


def test_a_folder_of_no_catalogue_model_is_a_model_of_its_own(folder, tmp_path):
    other = shutil.copytree(folder, tmp_path / "other")
    config = json.loads((other / "transformer" / "config.json").read_text())
    (other / "transformer" / "config.json").write_text(json.dumps({**config, "num_layers": 7}))
    spec = spec_of(other)
    assert spec.name == str(other.resolve()) and spec.pipeline_class == "WanPipeline"
    assert spec.component("transformer").config["num_layers"] == 7


def test_names_that_are_no_pipeline_here(tmp_path):
    assert message("wan2.1-t2v-1.3b") == (
        "the weights of 'wan2.1-t2v-1.3b' are not in this package: pass the folder of a pipeline saved with save_pretrained, "
        "or 'miniature' or 'tiny'"
    )
    assert message("tinny").startswith("unknown model 'tinny': did you mean tiny")
    assert message(tmp_path) == (
        f"model must be 'miniature' or 'tiny' or a folder saved with save_pretrained, got {str(tmp_path)!r}, which has no model_index.json"
    )
    (tmp_path / "model_index.json").write_text("{")
    assert message(tmp_path).startswith(f"{str(tmp_path / 'model_index.json')!r} cannot be read as JSON: ")
    (tmp_path / "model_index.json").write_text("[]")
    assert message(tmp_path) == f"{str(tmp_path / 'model_index.json')!r} must hold a JSON object, got list"


def test_a_model_that_needs_a_video(folder, tmp_path):
    other = shutil.copytree(folder, tmp_path / "other")
    index = json.loads((other / "model_index.json").read_text())
    members = {name: index[name] for name in ("scheduler", "text_encoder", "tokenizer", "transformer", "vae")}
    (other / "model_index.json").write_text(json.dumps({"_class_name": "WanVideoToVideoPipeline", **members}))
    assert message(other) == (
        f"generate makes videos from text; {other.resolve()} also needs video, which generate does not take"
    )


def test_the_miniature_without_weights_says_how_to_make_them(monkeypatch, tmp_path):
    monkeypatch.setattr("workbench.miniature._trained.WEIGHTS", tmp_path)
    assert message("miniature") == (
        "the miniature's trained weights are not in this package: train them with `python studies/miniature/train.py --install`, "
        "or use 'tiny', which has random weights"
    )
    assert default_model() == "tiny"


def test_what_runs_and_is_asked_for_where_nothing_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr("workbench.miniature._trained.WEIGHTS", tmp_path)
    for name in ("model_index.json", "classifier.safetensors"):
        (tmp_path / name).touch()
    assert [default_model(planned) for planned in (None, "tiny", "miniature", "wan2.1-t2v-14b")] == [
        *("miniature", "tiny", "miniature", "miniature")
    ]
    assert spec_of("miniature") is get("miniature")
    assert default_prompt("tiny") == default_prompt("my-model") == "a red fox runs through the snow"
    assert "star" in default_prompt("miniature")
