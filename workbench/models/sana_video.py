"""SANA-Video: text to video and image to video with linear attention, one checkpoint for both.

Configurations are those of the diffusers repository `Efficient-Large-Model/SANA-Video_2B_480p_diffusers`, read from the script that
made it and from the authors' own configuration. The VAE is Wan2.1's, the text encoder is the decoder stack of Gemma 2 2B.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from workbench.models._spec import ComponentSpec, Defaults, ModelSpec, SchedulerSpec
from workbench.models.wan import DIFFUSERS, PATCH, ROPE_POSITIONS, SPATIAL_COMPRESSION, VAE

_CONVERSION = f"{DIFFUSERS} scripts/convert_sana_video_to_diffusers.py"
_DOCS = f"{DIFFUSERS} docs/source/en/api/pipelines/sana_video.md"
_SANA = "github.com/NVlabs/Sana"

_TEXT_ENCODER = ComponentSpec(
    name="text_encoder",
    library="transformers",
    class_name="Gemma2Model",
    config={
        "vocab_size": 256000,
        "hidden_size": 2304,
        "intermediate_size": 9216,
        "num_hidden_layers": 26,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 256,
        "hidden_activation": "gelu_pytorch_tanh",
        "max_position_embeddings": 8192,
        "query_pre_attn_scalar": 256,
        "sliding_window": 4096,
        "attn_logit_softcapping": 50.0,
        "final_logit_softcapping": 30.0,
    },
    dtype="bf16",
    source=(
        f"Efficient-Large-Model/gemma-2-2b-it without its language head (get_decoder): {_CONVERSION}; sizes: Gemma 2 report, "
        f"arxiv.org/abs/2408.00118 table 1, and the defaults of transformers' Gemma2Config, which are the 2B model's; dtype: {_DOCS}"
    ),
)

_TRANSFORMER = ComponentSpec(
    name="transformer",
    library="diffusers",
    class_name="SanaVideoTransformer3DModel",
    config={
        "in_channels": 16,
        "out_channels": 16,
        "num_attention_heads": 20,
        "attention_head_dim": 112,
        "num_layers": 20,
        "num_cross_attention_heads": 20,
        "cross_attention_head_dim": 112,
        "cross_attention_dim": 2240,
        "caption_channels": 2304,
        "mlp_ratio": 3.0,
        "attention_bias": False,
        "sample_size": 30,
        "patch_size": (1, PATCH, PATCH),
        "norm_elementwise_affine": False,
        "norm_eps": 1e-6,
        "qk_norm": "rms_norm_across_heads",
        "rope_max_seq_len": ROPE_POSITIONS,
    },
    dtype="bf16",
    source=f"{_CONVERSION} transformer_kwargs for 480p and the Wan VAE; dtype: {_DOCS}",
)

_VAE = replace(
    VAE,
    source=f"{_CONVERSION}: Wan-AI/Wan2.1-T2V-1.3B-Diffusers, the defaults of the class; dtype: {_DOCS} (pipe.vae.to(torch.float32))",
)


def _row(*, name: str, title: str, pipeline_class: str, scheduler: SchedulerSpec, **more: Any) -> ModelSpec:
    return ModelSpec(
        name=name,
        title=title,
        family="sana_video",
        task="i2v" if "image" in more.get("inputs", ()) else "t2v",
        pipeline_class=pipeline_class,
        pipeline_config={},
        components=(_TEXT_ENCODER, _TRANSFORMER, _VAE),
        scheduler=scheduler,
        defaults=Defaults(frames=81, height=480, width=832, steps=50, guidance=6.0, fps=16),
        temporal_factor=4,
        size_multiple=32,  # what `check_inputs` of both pipelines asks for; VAE and patches would do with 16
        max_frames=4 * (ROPE_POSITIONS - 1) + 1,
        max_size=SPATIAL_COMPRESSION * PATCH * ROPE_POSITIONS,
        # Binning would make another size than the one asked for, and shrink or crop the video to it at the end.
        call={"max_sequence_length": 300, "use_resolution_binning": False},
        parameters={"text_encoder": 2.614e9, "transformer": 2.06e9},
        sources=(
            f"native workload: example of {_DOCS} and {_SANA} 18347c3 asset/docs/sana_video.md",
            f"sizes, VAE and 300 tokens agree with {_SANA} 98c4a1d configs/sana_video_config/Sana_2000M_480px_AdamW_fsdp.yaml",
            "parameters of the text encoder: Gemma 2 report, table 2: 2,024,517,888 and embeddings of 256000 x 2304",
            "parameters of the transformer: checkpoint SANA_Video_2B_480p.pth, 8.25 GB in fp32, as users list it; the hub was not read",
        ),
        **more,
    )


T2V_2B_480P = _row(
    name="sana-video_2b_480p",
    title="SANA-Video 2B 480p",
    pipeline_class="SanaVideoPipeline",
    scheduler=SchedulerSpec(
        class_name="DPMSolverMultistepScheduler",
        config={"flow_shift": 8.0, "use_flow_sigmas": True, "prediction_type": "flow_prediction"},
        source=f"{_CONVERSION} --scheduler_type flow-dpm_solver, its default",
    ),
)

I2V_2B_480P = _row(
    name="sana-video_2b_480p-i2v",
    title="SANA-Video 2B 480p, image to video",
    pipeline_class="SanaImageToVideoPipeline",
    scheduler=SchedulerSpec(
        class_name="FlowMatchEulerDiscreteScheduler",
        config={"shift": 8.0},
        source=f"{_CONVERSION} --scheduler_type flow-euler, which --task i2v asks for",
    ),
    inputs=("image",),
)

ROWS: tuple[ModelSpec, ...] = (T2V_2B_480P, I2V_2B_480P)
