"""Kandinsky 5.0 Video Lite, five seconds: text to video (SFT) and image to video.

Configurations are those of the repositories `kandinskylab/Kandinsky-5.0-...-Lite-...-5s-Diffusers`, from the model's own configuration
files. The ten-second models are no rows: they attend sparsely (NABLA), to blocks that depend on the attention scores themselves, through
PyTorch's flex attention; what that computes is not known before it runs.
"""

from __future__ import annotations

from typing import Literal

from workbench.models._spec import ComponentSpec, Defaults, ModelSpec, SchedulerSpec

_DOCS = "diffusers 58eb52c docs/source/en/api/pipelines/kandinsky5_video.md (everything in bf16)"
_OWN = "github.com/kandinskylab/kandinsky-5 6e2a805"

_ROPE_POSITIONS = 128
"""Positions per axis of `Kandinsky5RoPE3D`, in latent frames and in patches of 2x2 latent pixels."""

_TEXT_ENCODER = ComponentSpec(
    name="text_encoder",
    library="transformers",
    class_name="Qwen2_5_VLForConditionalGeneration",
    config={
        "text_config": {
            "vocab_size": 152064,
            "hidden_size": 3584,
            "intermediate_size": 18944,
            "num_hidden_layers": 28,
            "num_attention_heads": 28,
            "num_key_value_heads": 4,
            "hidden_act": "silu",
            "max_position_embeddings": 128000,
            "max_window_layers": 28,
            "rms_norm_eps": 1e-6,
            "use_sliding_window": False,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]},
        },
        "vision_config": {
            "depth": 32,
            "hidden_act": "silu",
            "hidden_size": 1280,
            "intermediate_size": 3420,
            "num_heads": 16,
            "out_hidden_size": 3584,
            "patch_size": 14,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            "window_size": 112,
            "fullatt_block_indexes": [7, 15, 23, 31],
            "tokens_per_second": 2,
        },
        "tie_word_embeddings": False,
    },
    dtype="bf16",
    source=(
        "Qwen/Qwen2.5-VL-7B-Instruct, named by diffusers 58eb52c pipelines/kandinsky5/pipeline_kandinsky.py; its config.json as in "
        f"the hub's copies of it; dtype: {_DOCS}"
    ),
)

_TEXT_ENCODER_2 = ComponentSpec(
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
    },
    dtype="bf16",
    source=(
        "openai/clip-vit-large-patch14, named by diffusers 58eb52c pipelines/kandinsky5/pipeline_kandinsky.py; text width 768 and 77 "
        f"tokens: {_OWN} configs/k5_lite_t2v_5s_sft_sd.yaml; dtype: {_DOCS}"
    ),
)

_VAE = ComponentSpec(
    name="vae",
    library="diffusers",
    class_name="AutoencoderKLHunyuanVideo",
    config={},
    dtype="bf16",
    source=(
        "hunyuanvideo-community/HunyuanVideo vae, named by diffusers 58eb52c pipelines/kandinsky5/pipeline_kandinsky.py: the defaults "
        f"of the class in scripts/convert_hunyuan_video_to_diffusers.py; dtype: {_DOCS}"
    ),
)


def _transformer(own_config: str) -> ComponentSpec:
    return ComponentSpec(
        name="transformer",
        library="diffusers",
        class_name="Kandinsky5Transformer3DModel",
        config={
            "in_visual_dim": 16,
            "out_visual_dim": 16,
            "in_text_dim": 3584,
            "in_text_dim2": 768,
            "time_dim": 512,
            "patch_size": (1, 2, 2),
            "model_dim": 1792,
            "ff_dim": 7168,
            "num_text_blocks": 2,
            "num_visual_blocks": 32,
            "axes_dims": (16, 24, 24),
            "visual_cond": True,
            "attention_type": "regular",
        },
        dtype="bf16",
        source=f"{_OWN} configs/{own_config} dit_params; dtype: {_DOCS}",
    )


def _row(name: str, title: str, task: Literal["t2v", "i2v"], own_config: str, shift: float) -> ModelSpec:
    return ModelSpec(
        name=name,
        title=title,
        family="kandinsky",
        task=task,
        pipeline_class="Kandinsky5T2VPipeline" if task == "t2v" else "Kandinsky5I2VPipeline",
        pipeline_config={},
        components=(_TEXT_ENCODER, _TEXT_ENCODER_2, _transformer(own_config), _VAE),
        scheduler=SchedulerSpec(
            class_name="FlowMatchEulerDiscreteScheduler",
            config={"shift": shift},
            source=f"{_OWN} configs/{own_config} and kandinsky/{task}_pipeline.py scheduler_scale",
        ),
        defaults=Defaults(frames=121, height=512, width=768, steps=50, guidance=5.0, fps=24),
        temporal_factor=4,
        size_multiple=16,
        max_frames=4 * (_ROPE_POSITIONS - 1) + 1,
        max_size=16 * _ROPE_POSITIONS,
        inputs=() if task == "t2v" else ("image",),
        parameters={"text_encoder": 8.29e9, "text_encoder_2": 123.1e6, "transformer": 2.0e9},
        sources=(
            f"native workload: {_DOCS}; steps and guidance: {_OWN} configs/{own_config}",
            "longest and largest: max_pos of Kandinsky5RoPE3D, diffusers 58eb52c transformer_kandinsky.py",
            f"transformer parameters: {_OWN} README.md (2B)",
            "text encoder parameters: 8.29B, hub page of Qwen/Qwen2.5-VL-7B-Instruct; 123.1M, text tower of CLIP ViT-L/14",
        ),
    )


T2V_LITE_SFT_5S = _row(
    "kandinsky-5.0-t2v-lite-sft-5s",
    "Kandinsky-5.0-T2V-Lite-sft-5s",
    "t2v",
    "k5_lite_t2v_5s_sft_sd.yaml",
    10.0,
)
I2V_LITE_5S = _row(
    "kandinsky-5.0-i2v-lite-5s",
    "Kandinsky-5.0-I2V-Lite-5s",
    "i2v",
    "k5_lite_i2v_5s_sft_sd.yaml",
    10.0,
)

ROWS: tuple[ModelSpec, ...] = (T2V_LITE_SFT_5S, I2V_LITE_5S)
