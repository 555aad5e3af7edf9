"""Dtypes: as loading gives them, for both libraries, and the originals come back."""

from __future__ import annotations

import pytest
import torch

from workbench._errors import UnknownNameError
from workbench.miniature import save_tiny
from workbench.models import get
from workbench.models._build import TORCH_DTYPES, build_meta_pipeline
from workbench.models._quiet import no_progress_bars
from workbench.techniques import Dtype, Settings, apply_all


def layout(module):
    return {key: tensor.dtype for key, tensor in (*module.named_parameters(), *module.named_buffers())}


@pytest.mark.parametrize(
    "dtypes", [{"transformer": "bf16", "text_encoder": "fp16", "vae": "bf16"}, {"text_encoder": "bf16"}]
)
def test_it_casts_as_loading_does(tmp_path, miniature, dtypes):
    from diffusers import WanPipeline

    with no_progress_bars():
        loaded = WanPipeline.from_pretrained(
            save_tiny(tmp_path / "tiny"),
            dtype={
                **dict.fromkeys(get("tiny").component_names(), torch.float32),
                **{n: TORCH_DTYPES[d] for n, d in dtypes.items()},
            },
        )
    handle = apply_all(miniature.pipe, Settings.of([Dtype(components=dtypes)]))
    real = {name: layout(getattr(miniature.pipe, name)) for name in get("tiny").component_names()}
    handle.remove()
    weightless = miniature.weightless()
    apply_all(weightless, Settings.of([Dtype(components=dtypes)]))
    for name in get("tiny").component_names():
        assert real[name] == layout(getattr(loaded, name)) == layout(getattr(weightless, name))


def test_from_half_precision_it_leads_to_what_loading_in_fp32_gives():
    spec = get("tiny").with_dtypes({"text_encoder": "fp16", "transformer": "bf16"})
    pipe = build_meta_pipeline(spec)
    apply_all(pipe, Settings.of([Dtype(components={"text_encoder": "fp32", "transformer": "fp32"})]))
    expected = build_meta_pipeline(get("tiny"))
    for name in ("text_encoder", "transformer"):
        assert layout(getattr(pipe, name)) == layout(getattr(expected, name))


def test_the_report_says_what_was_done(miniature):
    handle = apply_all(
        miniature.pipe, Settings.of([Dtype(components={"vae": "bf16", "transformer": "fp32"})])
    )
    count = sum(1 for tensor in miniature.pipe.vae.state_dict().values() if tensor.is_floating_point())
    handle.remove()
    assert handle.report == [
        f"vae is in bf16 ({count} tensors cast)",
        "transformer is in fp32 (it was already)",
    ]


def test_a_component_that_the_pipeline_lacks_is_named_and_nothing_is_left_half_done(miniature):
    before = layout(miniature.pipe.vae)
    with pytest.raises(UnknownNameError, match=r"^unknown component of WanPipeline 'unet': allowed are "):
        apply_all(miniature.pipe, Settings.of([Dtype(components={"vae": "bf16", "unet": "bf16"})]))
    assert layout(miniature.pipe.vae) == before
