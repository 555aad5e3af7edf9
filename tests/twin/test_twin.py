"""The tiny twin: the same classes, small, quick, the same every time, and found without knowing the model."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
import torch

from workbench._errors import RehearsalError
from workbench._store import Store
from workbench.cost.rehearsal import components_of
from workbench.models import get
from workbench.twin import twin_of
from workbench.twin._check import silent, why_not
from workbench.twin._leaves import changed, leaves_of
from workbench.twin._search import TOO_SMALL, candidates
from workbench.twin._twin import tensors_of

MODELS = (
    "hunyuanvideo-i2v",  # a language model with a vision tower inside
    "cogvideox-5b-i2v",  # learned positions of one size
    "latte-1",  # lengths from a list
    "animatediff-motion-adapter-v1-5-3",  # a UNet that the pipeline puts together
)
MOST_PARAMETERS = 25e6
SLOWEST_S = 15


def parameters(pipe):
    return sum(tensor.numel() for part in components_of(pipe).values() for tensor in part.parameters())


@pytest.mark.parametrize("name", MODELS)
def test_a_twin_has_the_classes_and_runs_in_a_moment(bench, name):
    spec = get(name)
    twin, pipe = bench(name).twin, bench(name).twin.pipeline()
    assert type(pipe).__name__ == spec.pipeline_class
    assert [(part.name, part.class_name, part.dtype) for part in twin.spec.components] == [
        (part.name, part.class_name, part.dtype) for part in spec.components
    ]
    assert parameters(pipe) < MOST_PARAMETERS
    started = time.process_time()
    with silent():
        (video, *_) = tensors_of(pipe(**twin.call_kwargs(pipe)))
    assert time.process_time() - started < SLOWEST_S
    assert torch.isfinite(video).all()
    assert video.std() > 0.01  # something was computed, and not one colour
    assert video.shape[1] == twin.workload.frames


def test_a_twin_is_the_same_every_time():
    spec = get("ltx-video")
    first, second = (next(candidates(spec, why_not)) for _ in range(2))
    assert first == second
    twin = twin_of(spec)
    one, other = twin.pipeline(), twin.pipeline()
    for (name, a), (_, b) in zip(one.vae.named_parameters(), other.vae.named_parameters(), strict=True):
        assert torch.equal(a, b), name
    with silent():
        videos = [tensors_of(pipe(**twin.call_kwargs(pipe)))[0] for pipe in (one, other)]
    assert torch.equal(*videos)


def test_a_twin_is_looked_for_once(tmp_path, monkeypatch):
    spec, store = get("latte-1"), Store(tmp_path)
    found = twin_of(spec, store)
    monkeypatch.setattr("workbench.twin._twin.candidates", lambda *_: pytest.fail("searched again"))
    assert twin_of(spec, Store(tmp_path)) == found


def test_a_model_outside_the_catalogue_has_a_twin():
    # numbers that no row has, with relations of every kind: equal widths, a width made of heads, an interface of latents
    spec = get("wan2.1-i2v-14b-480p")
    changes = {
        ("text_encoder", ("d_model",)): 1920,
        ("transformer", ("text_dim",)): 1920,
        ("transformer", ("num_attention_heads",)): 11,
        ("transformer", ("attention_head_dim",)): 48,
        ("transformer", ("added_kv_proj_dim",)): 528,
        ("image_encoder", ("hidden_size",)): 1440,
        ("transformer", ("image_dim",)): 1440,
    }
    twin = twin_of(replace(changed(spec, changes), name="mine"))
    assert twin.kept == ()
    assert parameters(twin.pipeline()) < MOST_PARAMETERS


def test_nested_configurations_are_changed_where_the_class_reads_them():
    encoder = get("hunyuanvideo-i2v").component("text_encoder")
    spec = replace(get("hunyuanvideo-i2v"), components=(encoder,))
    [depth] = [leaf for leaf in leaves_of(spec) if leaf.path == ("text_config", "num_hidden_layers")]
    small = changed(spec, {depth.place: 2})
    [again] = [leaf for leaf in leaves_of(small) if leaf.path == depth.path]
    assert (depth.number > 2, again.number) == (True, 2)


def refusing(*keys):
    """A check that refuses every model in which one of these keys of the transformer has changed, and how often it was asked."""
    before = dict(get("ltx-video").component("transformer").config)
    asked = []

    def check(spec, workload):
        asked.append(spec)
        config = spec.component("transformer").config
        return next((f"{key} is wrong" for key in keys if config.get(key) != before.get(key)), None)

    return check, asked


def test_what_the_pipeline_refuses_is_left_as_it_is():
    check, asked = refusing("num_layers")
    found = next(candidates(get("ltx-video"), check))
    assert found.kept == ("layers of transformer: num_layers is wrong",)
    assert ("transformer", ("num_layers",)) not in found.changes
    assert ("transformer", ("num_attention_heads",)) in found.changes
    assert ("vae", ("layers_per_block",)) in found.changes
    assert found.checks == len(asked) < 30


def test_a_pipeline_that_refuses_everything_has_no_twin():
    with pytest.raises(RehearsalError, match=r"^ltx-video has no tiny twin: never$"):
        next(candidates(get("ltx-video"), lambda spec, workload: "never"))


def test_a_larger_clip_is_tried_where_this_one_is_too_small():
    found = next(
        candidates(
            get("ltx-video"),
            lambda spec, workload: None if workload.height > 64 else f"not like this: {TOO_SMALL}",
        )
    )
    assert found.workload.height == 128
