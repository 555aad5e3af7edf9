"""Models that the catalogue does not know: from configurations in a folder, from a pipeline in memory, by a hub id."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys

import pytest
import torch

import workbench as wb
from workbench._errors import InputError, RehearsalError, UnknownNameError
from workbench.miniature import build_tiny, save_tiny
from workbench.models import Workload, get, resolve_model
from workbench.models._build import assemble, build_component, build_meta_pipeline, call_kwargs

TEXT = {
    "model_type": "t5",
    "d_model": 64,
    "d_kv": 16,
    "d_ff": 128,
    "num_layers": 2,
    "num_heads": 4,
    "vocab_size": 64,
}
LEVELS = {"block_out_channels": [32, 64], "norm_num_groups": 32, "layers_per_block": 1}
FLOW = {"_class_name": "FlowMatchEulerDiscreteScheduler"}
VAE_WAN = {"_class_name": "AutoencoderKLWan", "base_dim": 16, "num_res_blocks": 1}

# Classes that no row of the catalogue has, each unlike the others: a 3-D UNet; a source video; a guider that decides about guidance.
OUTSIDE = {
    "TextToVideoSDPipeline": {
        "scheduler": ("DDIMScheduler", {"beta_schedule": "scaled_linear"}),
        "text_encoder": (
            "CLIPTextModel",
            {"model_type": "clip_text_model", "hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4,
             "num_hidden_layers": 2, "torch_dtype": "float16"},
        ),
        "unet": (
            "UNet3DConditionModel",
            {**LEVELS, "down_block_types": ["CrossAttnDownBlock3D", "DownBlock3D"], "up_block_types": ["UpBlock3D", "CrossAttnUpBlock3D"],
             "cross_attention_dim": 64, "attention_head_dim": 16, "sample_size": 16},
        ),
        "vae": (
            "AutoencoderKL",
            {**LEVELS, "down_block_types": ["DownEncoderBlock2D"] * 2, "up_block_types": ["UpDecoderBlock2D"] * 2},
        ),
    },
    "WanVideoToVideoPipeline": {
        "scheduler": ("UniPCMultistepScheduler", {"use_flow_sigmas": True, "prediction_type": "flow_prediction"}),
        "text_encoder": ("UMT5EncoderModel", {**TEXT, "model_type": "umt5", "dtype": "float32"}),
        "transformer": (
            "WanTransformer3DModel",
            {"num_layers": 2, "num_attention_heads": 2, "attention_head_dim": 32, "ffn_dim": 64, "text_dim": 64, "freq_dim": 32},
        ),
        "vae": ("AutoencoderKLWan", VAE_WAN),
    },
    "MotifVideoPipeline": {
        "scheduler": ("FlowMatchEulerDiscreteScheduler", FLOW),
        "guider": ("ClassifierFreeGuidance", {"guidance_scale": 8.0}),
        "text_encoder": ("T5EncoderModel", {**TEXT, "dtype": "bfloat16"}),
        "transformer": (
            "MotifVideoTransformer3DModel",
            {"in_channels": 33, "num_attention_heads": 2, "attention_head_dim": 128, "num_layers": 1, "num_single_layers": 1,
             "num_decoder_layers": 1, "text_embed_dim": 64},
        ),
        "vae": ("AutoencoderKLWan", VAE_WAN),
    },
}  # fmt: skip
IN_TRANSFORMERS = ("CLIPTextModel", "UMT5EncoderModel", "T5EncoderModel")
FILES = {"scheduler": "scheduler_config.json", "guider": "guider_config.json"}


def write(folder, name, without=()):
    """A folder of configurations as `save_pretrained` writes them, without weights and without a tokenizer's files."""
    index = {
        "_class_name": name,
        "_diffusers_version": "0.42.1",
        "tokenizer": ["transformers", "T5Tokenizer"],
    }
    for member, (class_name, config) in OUTSIDE[name].items():
        index[member] = ["transformers" if class_name in IN_TRANSFORMERS else "diffusers", class_name]
        (folder / member).mkdir(parents=True)
        if member not in without:
            (folder / member / FILES.get(member, "config.json")).write_text(json.dumps(config))
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_folder_of_configurations_is_planned(tmp_path, name):
    folder = write(tmp_path / name, name)
    spec = resolve_model(folder)
    workload = Workload.for_model(
        folder, height=64, width=64, steps=3, frames=spec.temporal_factor * 2 + spec.frame_remainder
    )
    cost = wb.estimate(workload, device="rtx-4090")
    stages = {stage.name for stage in cost.price.stages}
    assert {"text_encode", "denoise", "decode"} <= stages
    assert ("image_encode" in stages) == (name == "WanVideoToVideoPipeline")
    assert cost.price.peak_allocated_bytes > 0 and cost.total_s > 0
    assert cost.workload.model == str(folder.resolve())


def test_what_the_folder_leaves_open_is_said(tmp_path):
    clip = wb.estimate(
        Workload.for_model(
            write(tmp_path / "v2v", "WanVideoToVideoPipeline"), frames=9, height=64, width=64, steps=2
        ),
        device="rtx-4090",
    )
    assert (
        "the pipeline was rehearsed with a black video of the clip's length in place of yours" in clip.notes
    )
    assert "dtypes that the folder does not say, as planned: transformer fp32, vae fp32" in clip.notes
    assert clip.dtypes == {"text_encoder": "fp32", "transformer": "fp32", "vae": "fp32"}


def test_a_plan_for_a_folder_exports_a_profile_that_another_process_reads(tmp_path):
    folder = write(tmp_path / "motif", "MotifVideoPipeline")
    found = wb.plan(12, model=folder, frames=9, height=64, width=64, steps=2, trials=0)
    assert found.best is not None
    path = found.best.profile().save(tmp_path / "profile.json")
    code = (
        "import sys, workbench as wb\n"
        f"profile = wb.Profile.load({str(path)!r})\n"
        "cost = wb.estimate(profile.workload, profile.settings, profile.device)\n"
        "print(profile.pipeline_class, cost.total_s, 'torch' in sys.modules, 'diffusers' in sys.modules)\n"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True
    )
    assert shown.stdout.split() == ["MotifVideoPipeline", str(found.best.cost.total_s), "False", "False"]


def test_a_saved_catalogue_model_is_the_catalogues_row(tmp_path):
    assert resolve_model(save_tiny(tmp_path / "tiny")) is get("tiny")
    assert resolve_model("Wan-AI/Wan2.1-T2V-1.3B-Diffusers") is get("wan2.1-t2v-1.3b")


def test_a_pipeline_in_memory_is_planned_in_the_dtypes_that_it_is_in():
    pipe = build_tiny()
    assert resolve_model(pipe) is get("tiny")
    pipe.vae.to(torch.bfloat16)
    spec = resolve_model(pipe)
    assert spec.name == "tiny[vae=bf16]" and spec.component("vae").dtype == "bf16"
    assert resolve_model("tiny[vae=bf16]") == spec
    assert resolve_model(spec) == get(spec.name)
    cost = wb.estimate(pipe, device="rtx-4090")
    assert cost.dtypes["vae"] == "bf16" and cost.workload.model == spec.name


def test_an_unknown_pipeline_in_memory_costs_what_its_folder_costs(tmp_path):
    folder = write(tmp_path / "t2v", "TextToVideoSDPipeline")
    spec = resolve_model(folder)
    modules = {name: build_component(spec, name) for name in spec.component_names()}
    live = resolve_model(assemble(spec, modules))
    assert live.name.startswith("live-TextToVideoSDPipeline-")
    sizes = {"frames": 4, "height": 64, "width": 64, "steps": 2}
    one, two = (wb.estimate(Workload.for_model(model, **sizes), device="rtx-4090") for model in (spec, live))
    assert one.price.peak_reserved_bytes == two.price.peak_reserved_bytes
    assert one.total_s == two.total_s


def test_a_pipeline_in_memory_may_have_classes_of_its_own_package():
    from diffusers import LTX2ConditionPipeline

    parts = build_meta_pipeline(get("ltx-2")).components
    spec = resolve_model(LTX2ConditionPipeline(**{k: v for k, v in parts.items() if k != "processor"}))
    assert spec.component("connectors").library == "ltx2"
    assert spec.component("transformer").library == "diffusers"


def test_a_controlnet_gets_frames(tmp_path):
    from diffusers import AnimateDiffControlNetPipeline, ControlNetModel

    parts = build_meta_pipeline(get("animatediff-motion-adapter-v1-5-3")).components
    with torch.device("meta"):
        small = ControlNetModel(block_out_channels=(32, 64, 64, 64), cross_attention_dim=768).half()
    given = inspect.signature(AnimateDiffControlNetPipeline.__init__).parameters
    pipe = AnimateDiffControlNetPipeline(
        **{name: part for name, part in parts.items() if name in given}, controlnet=small
    )
    assert resolve_model(pipe).inputs == ("conditioning_frames",)
    kwargs = call_kwargs(
        resolve_model(pipe), Workload.for_model(pipe, frames=4, height=64, width=64, steps=1), pipe
    )
    assert len(kwargs["conditioning_frames"]) == 4


def test_dtypes_are_read_from_the_headers_of_weights(tmp_path):
    from safetensors.torch import save_file

    folder = write(tmp_path / "t2v", "TextToVideoSDPipeline")
    save_file({"a": torch.zeros(64, dtype=torch.float32), "b": torch.zeros(2, dtype=torch.float16)},
              folder / "vae" / "diffusion_pytorch_model.safetensors")  # fmt: skip
    spec = resolve_model(folder)
    assert {part.name: part.dtype for part in spec.components} == {
        "text_encoder": "fp16",
        "unet": "fp16",
        "vae": "fp32",
    }


def test_a_folder_that_cannot_be_planned_says_what_is_missing(tmp_path):
    with pytest.raises(InputError, match=r"lacks the configuration of vae \(AutoencoderKL\)"):
        resolve_model(write(tmp_path / "a", "TextToVideoSDPipeline", without=("vae",)))
    with pytest.raises(InputError, match=r"has no model_index\.json"):
        resolve_model(tmp_path)
    with pytest.raises(InputError, match="is no folder on this machine"):
        resolve_model(tmp_path / "nowhere.bin")


def test_a_pipeline_of_images_is_no_video_pipeline(tmp_path):
    folder = write(tmp_path / "image", "TextToVideoSDPipeline")
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps({**index, "_class_name": "StableDiffusionPipeline"}))
    (folder / "scheduler" / "scheduler_config.json").write_text(
        json.dumps({"steps_offset": 1, "clip_sample": False})
    )
    with pytest.raises(InputError, match="StableDiffusionPipeline is no video pipeline that can be planned"):
        resolve_model(folder)


def test_what_a_pipeline_refuses_is_told_in_its_own_words(tmp_path):
    folder = write(tmp_path / "v2v", "WanVideoToVideoPipeline")
    path = folder / "transformer" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "in_channels": 20}))
    with pytest.raises(RehearsalError, match="WanVideoToVideoPipeline could not be run without weights"):
        wb.estimate(Workload.for_model(folder, frames=9, height=64, width=64, steps=2), device="rtx-4090")


def test_a_hub_id_that_cannot_be_reached_says_what_to_download(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(
        InputError, match=r"hf download someone/some-video-model --include model_index\.json"
    ) as caught:
        resolve_model("someone/some-video-model")
    assert "no weights" in str(caught.value)
    with pytest.raises(UnknownNameError, match="did you mean"):
        resolve_model("wan2.1-t2v-1.4b")
