"""The HunyuanVideo family of Tencent, 13 billion parameters: text to video, image to video.

Configurations are those of the diffusers repositories `hunyuanvideo-community/<name>`, read from the script that made them; where the
script loads a third party's model, from a public copy of its configuration. HunyuanVideo-1.5 and FramePack are in files of their own.

The transformer of HunyuanVideo is guidance-distilled: the scale is an input, and a step is one call. True guidance with a negative
prompt is another argument of the call (`true_cfg_scale`), off by default and off here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from workbench.models._spec import ComponentSpec, Defaults, ModelSpec, SchedulerSpec

_CONVERSION = "diffusers 58eb52c scripts/convert_hunyuan_video_to_diffusers.py"
_DOCS = (
    "dtype: diffusers 58eb52c docs/source/en/api/pipelines/hunyuan_video.md (transformer bf16, the rest fp16)"
)
_COPY = "hub copy magespace/hyvideo-diffusers-dev 0218e01 text_encoder/config.json"
_MUSUBI = "github.com/kohya-ss/musubi-tuner 30c658c src/musubi_tuner"
_T2V = "github.com/Tencent-Hunyuan/HunyuanVideo fa14b00"
_I2V = "github.com/Tencent-Hunyuan/HunyuanVideo-I2V 1481c1d"
FILE_SIZES = (
    "parameter counts: sizes of the hub's files over bytes per value (transformer 25.6 GB bf16: magespace/hyvideo-diffusers-dev; Llama "
    "15.02 GB and CLIP 246 MB fp16, VAE 986 MB fp32: jobs-git/HunyuanVideoCommunity, a duplicate of hunyuanvideo-community/HunyuanVideo)"
)

_LLAMA: Mapping[str, Any] = {
    "vocab_size": 128320,
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "max_position_embeddings": 8192,
    "rms_norm_eps": 1e-5,
    "rope_theta": 500000.0,
    "bos_token_id": 128000,
    "eos_token_id": 128001,
}

TEXT_ENCODER = ComponentSpec(
    name="text_encoder",
    library="transformers",
    class_name="LlamaModel",
    config=_LLAMA,
    dtype="fp16",
    source=f"{_CONVERSION} (AutoModel of a Llama); configuration: {_COPY}; {_DOCS}",
)

TEXT_ENCODER_2 = ComponentSpec(
    name="text_encoder_2",
    library="transformers",
    class_name="CLIPTextModel",
    config={
        "vocab_size": 49408,
        "hidden_size": 768,
        "intermediate_size": 3072,
        "projection_dim": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "max_position_embeddings": 77,
        "hidden_act": "quick_gelu",
        "bos_token_id": 0,
        "eos_token_id": 2,
    },
    dtype="fp16",
    source=f"openai/clip-vit-large-patch14, named by the pipeline class; configuration: {_MUSUBI}/frame_pack/framepack_utils.py; {_DOCS}",
)

VAE = ComponentSpec(
    name="vae",
    library="diffusers",
    class_name="AutoencoderKLHunyuanVideo",
    config={},
    dtype="fp16",
    source=f"{_CONVERSION} convert_vae: the defaults of the class; {_DOCS}",
)

TRANSFORMER: Mapping[str, Any] = {
    "in_channels": 16,
    "out_channels": 16,
    "num_attention_heads": 24,
    "attention_head_dim": 128,
    "num_layers": 20,
    "num_single_layers": 40,
    "num_refiner_layers": 2,
    "mlp_ratio": 4.0,
    "patch_size": 2,
    "patch_size_t": 1,
    "qk_norm": "rms_norm",
    "guidance_embeds": True,
    "text_embed_dim": 4096,
    "pooled_projection_dim": 768,
    "rope_theta": 256.0,
    "rope_axes_dim": (16, 56, 56),
}
"""What all 13B transformers of the family share: `HYVideo-T/2-cfgdistill` of the conversion script."""

SCHEDULER = SchedulerSpec(
    class_name="FlowMatchEulerDiscreteScheduler",
    config={"shift": 7.0},
    source=f"{_CONVERSION} flow_shift 7.0",
)

PARAMETERS: Mapping[str, float] = {
    "text_encoder": 7.51e9,
    "text_encoder_2": 123e6,
    "transformer": 12.8e9,
    "vae": 246.5e6,
}

_LLAVA = ComponentSpec(
    name="text_encoder",
    library="transformers",
    class_name="LlavaForConditionalGeneration",
    config={
        "text_config": {"model_type": "llama", **_LLAMA},
        "vision_config": {
            "model_type": "clip_vision_model",
            "hidden_size": 1024,
            "intermediate_size": 4096,
            "projection_dim": 768,
            "num_hidden_layers": 24,
            "num_attention_heads": 16,
            "image_size": 336,
            "patch_size": 14,
        },
        "image_token_index": 128257,
        "pad_token_id": 128258,
        "projector_hidden_act": "gelu",
        "vision_feature_layer": -2,
        "vision_feature_select_strategy": "default",
    },
    dtype="fp16",
    source=(
        f"{_CONVERSION} (LlavaForConditionalGeneration, xtuner/llava-llama-3-8b-v1_1-transformers); "
        f"configuration: {_MUSUBI}/hunyuan_model/text_encoder.py; {_DOCS}"
    ),
)


def _row(
    *,
    name: str,
    title: str,
    task: Literal["t2v", "i2v"],
    pipeline_class: str,
    text_encoder: ComponentSpec,
    transformer: ComponentSpec,
    parameters: Mapping[str, float],
    sources: tuple[str, ...],
) -> ModelSpec:
    return ModelSpec(
        name=name,
        title=title,
        family="hunyuan",
        task=task,
        pipeline_class=pipeline_class,
        pipeline_config={},
        components=(text_encoder, TEXT_ENCODER_2, transformer, VAE),
        scheduler=SCHEDULER,
        defaults=Defaults(frames=129, height=720, width=1280, steps=50, guidance=6.0, fps=24),
        temporal_factor=4,  # `temporal_compression_ratio` of the VAE
        size_multiple=16,  # `spatial_compression_ratio` 8 of the VAE, times the patch
        call={"max_sequence_length": 256},  # default of the pipeline call
        max_batch=None
        if task == "t2v"
        else 1,  # one picture is not repeated for several prompts (diffusers 0.42)
        inputs=() if task == "t2v" else ("image",),
        parameters=parameters,
        sources=(*sources, FILE_SIZES),
    )


T2V = _row(
    name="hunyuanvideo",
    title="HunyuanVideo",
    task="t2v",
    pipeline_class="HunyuanVideoPipeline",
    text_encoder=TEXT_ENCODER,
    transformer=ComponentSpec(
        name="transformer",
        library="diffusers",
        class_name="HunyuanVideoTransformer3DModel",
        config=TRANSFORMER,
        dtype="bf16",
        source=f"{_CONVERSION} HYVideo-T/2-cfgdistill; {_DOCS}",
    ),
    parameters=PARAMETERS,
    sources=(
        f"size, frames, steps, guidance 6.0 as an input: {_T2V} README.md (720p recommended); 24 fps: {_T2V} sample_video.py",
    ),
)

I2V = _row(
    name="hunyuanvideo-i2v",
    title="HunyuanVideo-I2V",
    task="i2v",
    pipeline_class="HunyuanVideoImageToVideoPipeline",
    text_encoder=_LLAVA,
    transformer=ComponentSpec(
        name="transformer",
        library="diffusers",
        class_name="HunyuanVideoTransformer3DModel",
        config={**TRANSFORMER, "image_condition_type": "token_replace"},
        dtype="bf16",
        source=f"{_CONVERSION} HYVideo-T/2-I2V-16ch; {_DOCS}",
    ),
    # no published count of the Llava was found, nor of this transformer apart from its sibling's
    parameters={name: count for name, count in PARAMETERS.items() if name != "text_encoder"},
    sources=(
        f"frames, steps, guidance 6.0 as an input, shift 7.0 for the stable mode: {_I2V} README.md; 24 fps: {_I2V} sample_image2video.py",
        "token_replace: the default condition type in that repository's hyvideo/config.py; the first release (-33ch) was latent_concat",
    ),
)

ROWS: tuple[ModelSpec, ...] = (T2V, I2V)
