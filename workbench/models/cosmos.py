"""NVIDIA Cosmos: Predict1 7B (text to world), Predict2 2B (image and text to world), Predict2.5 2B (text to world).

The pipelines refuse to run without their safety checker, networks of another package (cosmos_guardrail) that look at the prompt and at
the finished frames. They are not counted here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from workbench.models._spec import ComponentSpec, Defaults, ModelSpec, SchedulerSpec

_CONVERSION = "diffusers 58eb52c scripts/convert_cosmos_to_diffusers.py"
_EXAMPLES = "examples of the diffusers 58eb52c pipeline classes (everything in bf16)"
_CALL = "frames, size, steps, guidance and fps: defaults of the call of the diffusers pipeline class"

_PATCH = 16
"""Pixels per transformer token: 8 of either VAE times 2 of the transformer. The pipelines refuse other sizes."""

_GUARDRAIL = "the networks of the safety checker (cosmos_guardrail), without which the pipeline refuses to run, are not counted"
_TORCHVISION = "running the pipeline needs torchvision, which resizes the padding mask"
_REMARKS = (_GUARDRAIL, _TORCHVISION)
_SCORES = (
    "its VAE gives attention operands that PyTorch's fused kernels refuse (channels are not adjacent), so that the scores of every frame "
    "lie in memory during the decode, in fp32"
)

_T5_11B = ComponentSpec(
    name="text_encoder",
    library="transformers",
    class_name="T5EncoderModel",
    config={
        "vocab_size": 32128,
        "d_model": 1024,
        "d_kv": 128,
        "d_ff": 65536,
        "num_layers": 24,
        "num_heads": 128,
        "relative_attention_num_buckets": 32,
        "relative_attention_max_distance": 128,
        "feed_forward_proj": "relu",
        "layer_norm_epsilon": 1e-6,
    },
    dtype="bf16",
    source=f"google-t5/t5-11b, named by {_CONVERSION}; sizes: google/t5-11b-ssm-nqo config.json, the same model trained on; "
    f"dtype: {_EXAMPLES}",
)

_QWEN_25_VL_7B = ComponentSpec(
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
            "max_position_embeddings": 128000,
            "rms_norm_eps": 1e-6,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 1000000.0,
                "mrope_section": [16, 24, 24],
            },
        },
        "vision_config": {
            "depth": 32,
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
    source=f"nvidia/Cosmos-Reason1-7B, named by {_CONVERSION}: Qwen/Qwen2.5-VL-7B-Instruct config.json, trained on. Its 28 layers of 3584 "
    f"are the transformer's 100352 crossattn_proj_in_channels; dtype: {_EXAMPLES}",
)

_WAN_VAE = ComponentSpec(
    name="vae",
    library="diffusers",
    class_name="AutoencoderKLWan",
    config={},
    dtype="bf16",
    source=f"Wan-AI/Wan2.1-T2V-1.3B-Diffusers, named by {_CONVERSION}: the defaults of the class; dtype: {_EXAMPLES}",
)


def _transformer(kind: str, **config: Any) -> ComponentSpec:
    return ComponentSpec(
        name="transformer",
        library="diffusers",
        class_name="CosmosTransformer3DModel",
        config={
            "out_channels": 16,
            "attention_head_dim": 128,
            "num_layers": 28,
            "mlp_ratio": 4.0,
            "text_embed_dim": 1024,
            "adaln_lora_dim": 256,
            "max_size": (128, 240, 240),
            "patch_size": (1, 2, 2),
            "concat_padding_mask": True,
            **config,
        },
        dtype="bf16",
        source=f"{_CONVERSION} TRANSFORMER_CONFIGS[{kind!r}]; dtype: {_EXAMPLES}",
    )


def _row(
    *,
    name: str,
    title: str,
    task: Literal["t2v", "i2v"],
    pipeline_class: str,
    components: tuple[ComponentSpec, ...],
    scheduler: SchedulerSpec,
    defaults: Defaults,
    temporal_factor: int,
    max_frames: int,
    max_size: int,
    parameters: Mapping[str, float],
    sources: tuple[str, ...],
    inputs: tuple[str, ...] = (),
    remarks: tuple[str, ...] = (),
) -> ModelSpec:
    return ModelSpec(
        name=name,
        title=title,
        family="cosmos",
        task=task,
        pipeline_class=pipeline_class,
        pipeline_config={},
        components=components,
        scheduler=scheduler,
        defaults=defaults,
        temporal_factor=temporal_factor,
        size_multiple=_PATCH,
        max_frames=max_frames,
        max_size=max_size,
        call={"max_sequence_length": 512},
        inputs=inputs,
        remarks=(*_REMARKS, *remarks),
        parameters=parameters,
        sources=(_CALL, *sources),
    )


PREDICT1_7B = _row(
    name="cosmos-1.0-diffusion-7b-text2world",
    title="Cosmos-1.0-Diffusion-7B-Text2World (Cosmos-Predict1)",
    task="t2v",
    pipeline_class="CosmosTextToWorldPipeline",
    components=(
        _T5_11B,
        _transformer(
            "Cosmos-1.0-Diffusion-7B-Text2World",
            in_channels=16,
            num_attention_heads=32,
            rope_scale=(2.0, 1.0, 1.0),
            extra_pos_embed_type="learnable",
        ),
        ComponentSpec(
            name="vae",
            library="diffusers",
            class_name="AutoencoderKLCosmos",
            config={
                "latent_channels": 16,
                "encoder_block_out_channels": (128, 256, 512, 512),
                "decode_block_out_channels": (256, 512, 512, 512),
                "attention_resolutions": (32,),
                "resolution": 1024,
                "num_layers": 2,
                "patch_size": 4,
                "patch_type": "haar",
                "scaling_factor": 1.0,
                "spatial_compression_ratio": 8,
                "temporal_compression_ratio": 8,
            },
            dtype="bf16",
            source=f"{_CONVERSION} VAE_CONFIGS['CV8x8x8-1.0'] (latent statistics: the class's); dtype: {_EXAMPLES}",
        ),
    ),
    scheduler=SchedulerSpec(
        class_name="EDMEulerScheduler",
        config={
            "sigma_min": 0.002,
            "sigma_max": 80,
            "sigma_data": 0.5,
            "sigma_schedule": "karras",
            "num_train_timesteps": 1000,
            "prediction_type": "epsilon",
            "rho": 7.0,
            "final_sigmas_type": "sigma_min",
        },
        source=f"{_CONVERSION} save_pipeline_cosmos_1_0",
    ),
    defaults=Defaults(frames=121, height=704, width=1280, steps=36, guidance=7.0, fps=30),
    temporal_factor=8,
    max_frames=8 * (128 - 1) + 1,  # the learned positions of the transformer: max_size latents
    max_size=8 * 240,
    parameters={"transformer": 7.24e9},
    sources=(
        "transformer: hub repository calcuis/cosmos, Cosmos-1_0-Diffusion-7B-Text2World_fp8_e4m3fn.safetensors, 7.24 GB at one byte each",
    ),
    remarks=(_SCORES,),
)

_SCHEDULER_2 = SchedulerSpec(
    class_name="FlowMatchEulerDiscreteScheduler",
    config={"use_karras_sigmas": True},
    source=f"{_CONVERSION} save_pipeline_cosmos_2_0",
)

_ROPE_POSITIONS = 128
"""Positions on the longest axis: `CosmosRotaryPosEmbed` counts up to the largest of `max_size` in patches, (128, 120, 120)."""

PREDICT2_2B = _row(
    name="cosmos-predict2-2b-video2world",
    title="Cosmos-Predict2-2B-Video2World",
    task="i2v",
    pipeline_class="Cosmos2VideoToWorldPipeline",
    components=(
        _T5_11B,
        _transformer(
            "Cosmos-2.0-Diffusion-2B-Video2World",
            in_channels=16 + 1,
            num_attention_heads=16,
            rope_scale=(1.0, 3.0, 3.0),
            extra_pos_embed_type=None,
        ),
        _WAN_VAE,
    ),
    scheduler=_SCHEDULER_2,
    defaults=Defaults(frames=93, height=704, width=1280, steps=35, guidance=7.0, fps=16),
    temporal_factor=4,
    max_frames=4 * (_ROPE_POSITIONS - 1) + 1,
    max_size=_PATCH * _ROPE_POSITIONS,
    inputs=("image",),
    parameters={"transformer": 1.956e9},
    sources=(
        "transformer: hub repository Comfy-Org/Cosmos_Predict2_repackaged, 3.91 GB in bf16 (of the 2B text to image model, which has one "
        "input channel less)",
    ),
)

PREDICT25_2B = _row(
    name="cosmos-predict2.5-2b",
    title="Cosmos-Predict2.5-2B",
    task="t2v",
    pipeline_class="Cosmos2_5_PredictBasePipeline",
    components=(
        _QWEN_25_VL_7B,
        _transformer(
            "Cosmos-2.5-Predict-Base-2B",
            in_channels=16 + 1,
            num_attention_heads=16,
            rope_scale=(1.0, 3.0, 3.0),
            extra_pos_embed_type=None,
            use_crossattn_projection=True,
            crossattn_proj_in_channels=100352,
            encoder_hidden_states_channels=1024,
        ),
        _WAN_VAE,
    ),
    scheduler=SchedulerSpec(
        class_name="UniPCMultistepScheduler",
        config={
            "use_karras_sigmas": True,
            "use_flow_sigmas": True,
            "prediction_type": "flow_prediction",
            "sigma_max": 200.0,
            "sigma_min": 0.01,
        },
        source=f"{_CONVERSION} save_pipeline_cosmos2_5_predict",
    ),
    defaults=Defaults(frames=93, height=704, width=1280, steps=36, guidance=7.0, fps=16),
    temporal_factor=4,
    max_frames=4 * (_ROPE_POSITIONS - 1) + 1,
    max_size=_PATCH * _ROPE_POSITIONS,
    parameters={"text_encoder": 8.292e9},
    sources=("text_encoder: the hub's count for Qwen/Qwen2.5-VL-7B-Instruct, 8292166656",),
)

ROWS: tuple[ModelSpec, ...] = (PREDICT1_7B, PREDICT2_2B, PREDICT25_2B)
