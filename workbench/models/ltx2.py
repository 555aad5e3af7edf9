"""The LTX-2 family: video and sound in one diffusion (LTX-2, 19B, and LTX-2.3, 22B), from text and from an image.

Configurations are those that the diffusers conversion script writes. The hub itself was not read.
One step calls the transformer three times: once for a batch of the negative and the positive prompt, once for the pass without
self-attention in some blocks (spatio-temporal guidance, STG), once for the pass without attention between video and sound (modality
guidance). Image to video gives every video token a timestep of its own, and with it modulation tables of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from workbench.models._spec import ComponentSpec, Defaults, ModelSpec, SchedulerSpec

_CONVERSION = "diffusers 58eb52c scripts/convert_ltx2_to_diffusers.py"
_DOCS = "diffusers 58eb52c docs/source/en/api/pipelines/ltx2.md (everything in bf16)"
_AUTHORS = "github.com/Lightricks/LTX-2 400fd31"
_AUTHORS_PARAMS = f"{_AUTHORS} packages/ltx-pipelines/src/ltx_pipelines/utils/constants.py"

_GEMMA = "transformers 0d7e95d src/transformers/models/gemma3/convert_gemma3_weights.py"

_TEXT_ENCODER = ComponentSpec(
    name="text_encoder",
    library="transformers",
    class_name="Gemma3ForConditionalGeneration",
    config={
        "text_config": {
            "vocab_size": 262208,
            "hidden_size": 3840,
            "intermediate_size": 15360,
            "num_hidden_layers": 48,
            "num_attention_heads": 16,
            "num_key_value_heads": 8,
            "head_dim": 256,
            "query_pre_attn_scalar": 256,
            "sliding_window": 1024,
            "rope_parameters": {
                "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
                "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
            },
        },
        "vision_config": {
            "hidden_size": 1152,
            "intermediate_size": 4304,
            "num_hidden_layers": 27,
            "num_attention_heads": 16,
            "image_size": 896,
            "patch_size": 14,
            "vision_use_head": False,
        },
    },
    dtype="bf16",
    source=(
        f"google/gemma-3-12b-it-qat-q4_0-unquantized, named by {_CONVERSION}; sizes: {_GEMMA} gemma3_12b, whose vocabulary of "
        f"262144 it extends by 64 rows; dtype: {_DOCS}"
    ),
)


def _connectors(version: str, **config: Any) -> ComponentSpec:
    shared = {
        "caption_channels": 3840,
        "text_proj_in_factor": 49,
        "video_connector_attention_head_dim": 128,
        "video_connector_num_learnable_registers": 128,
        "audio_connector_num_learnable_registers": 128,
        "connector_rope_base_seq_len": 4096,
        "rope_theta": 10000.0,
        "rope_double_precision": True,
        "causal_temporal_positioning": False,
        "rope_type": "split",
    }
    return ComponentSpec(
        name="connectors",
        library="ltx2",
        class_name="LTX2TextConnectors",
        config={**shared, **config},
        dtype="bf16",
        source=f"{_CONVERSION} get_ltx2_connectors_config({version!r}); dtype: {_DOCS}",
    )


def _transformer(version: str, **config: Any) -> ComponentSpec:
    shared = {
        "in_channels": 128,
        "out_channels": 128,
        "patch_size": 1,
        "patch_size_t": 1,
        "num_attention_heads": 32,
        "attention_head_dim": 128,
        "cross_attention_dim": 4096,
        "audio_in_channels": 128,
        "audio_out_channels": 128,
        "audio_num_attention_heads": 32,
        "audio_attention_head_dim": 64,
        "audio_cross_attention_dim": 2048,
        "audio_scale_factor": 4,
        "audio_sampling_rate": 16000,
        "audio_hop_length": 160,
        "num_layers": 48,
        "caption_channels": 3840,
        "rope_double_precision": True,
        "timestep_scale_multiplier": 1000,
        "cross_attn_timestep_scale_multiplier": 1000,
        "rope_type": "split",
    }
    return ComponentSpec(
        name="transformer",
        library="diffusers",
        class_name="LTX2VideoTransformer3DModel",
        config={**shared, **config},
        dtype="bf16",
        source=(
            f"{_CONVERSION} get_ltx2_transformer_config({version!r}), what is not here being the default of the class there too; "
            f"dtype: {_DOCS}"
        ),
    )


def _vae(version: str, **config: Any) -> ComponentSpec:
    shared = {
        "in_channels": 3,
        "out_channels": 3,
        "latent_channels": 128,
        "down_block_types": ("LTX2VideoDownBlock3D",) * 4,
        "spatio_temporal_scaling": (True,) * 4,
        "downsample_type": ("spatial", "temporal", "spatiotemporal", "spatiotemporal"),
        "timestep_conditioning": False,
        "patch_size": 4,
        "patch_size_t": 1,
        "resnet_norm_eps": 1e-6,
        "encoder_causal": True,
        "decoder_causal": False,
        "encoder_spatial_padding_mode": "zeros",
        "spatial_compression_ratio": 32,
        "temporal_compression_ratio": 8,
    }
    return ComponentSpec(
        name="vae",
        library="diffusers",
        class_name="AutoencoderKLLTX2Video",
        config={**shared, **config},
        dtype="bf16",
        source=f"{_CONVERSION} get_ltx2_video_vae_config({version!r}), without --timestep_conditioning; dtype: {_DOCS}",
    )


_AUDIO_VAE = ComponentSpec(
    name="audio_vae",
    library="diffusers",
    class_name="AutoencoderKLLTX2Audio",
    config={
        "base_channels": 128,
        "output_channels": 2,
        "ch_mult": (1, 2, 4),
        "num_res_blocks": 2,
        "in_channels": 2,
        "resolution": 256,
        "latent_channels": 8,
        "norm_type": "pixel",
        "causality_axis": "height",
        "mid_block_add_attention": False,
        "sample_rate": 16000,
        "mel_hop_length": 160,
        "is_causal": True,
        "mel_bins": 64,
        "double_z": True,
    },
    dtype="bf16",
    source=f"{_CONVERSION} get_ltx2_audio_vae_config, the same for both versions; dtype: {_DOCS}",
)


def _vocoder(version: str, class_name: str, **config: Any) -> ComponentSpec:
    return ComponentSpec(
        name="vocoder",
        library="ltx2",
        class_name=class_name,
        config=config,
        dtype="bf16",
        source=f"{_CONVERSION} get_ltx2_vocoder_config({version!r}), the defaults of the class; dtype: {_DOCS}",
    )


_SCHEDULER = SchedulerSpec(
    class_name="FlowMatchEulerDiscreteScheduler",
    config={
        "use_dynamic_shifting": True,
        "base_shift": 0.95,
        "max_shift": 2.05,
        "base_image_seq_len": 1024,
        "max_image_seq_len": 4096,
        "shift_terminal": 0.1,
    },
    source=f"{_CONVERSION}, checkpoints that are not distilled",
)


def _row(
    *,
    name: str,
    title: str,
    connectors: ComponentSpec,
    transformer: ComponentSpec,
    vae: ComponentSpec,
    vocoder: ComponentSpec,
    steps: int,
    call: Mapping[str, Any],
    parameters: Mapping[str, float],
    sources: tuple[str, ...],
    remarks: tuple[str, ...] = (),
) -> ModelSpec:
    return ModelSpec(
        name=name,
        title=title,
        family="ltx2",
        task="t2v",
        pipeline_class="LTX2Pipeline",
        pipeline_config={},
        components=(_TEXT_ENCODER, connectors, transformer, vae, _AUDIO_VAE, vocoder),
        scheduler=_SCHEDULER,
        defaults=Defaults(frames=121, height=512, width=768, steps=steps, guidance=3.0, fps=24),
        temporal_factor=8,
        size_multiple=32,  # the VAE's spatial compression; a token is one latent pixel
        call={
            "stg_scale": 1.0,
            "modality_scale": 3.0,
            "guidance_rescale": 0.7,
            "audio_guidance_scale": 7.0,
            "audio_stg_scale": 1.0,
            "audio_modality_scale": 3.0,
            "audio_guidance_rescale": 0.7,
            **call,
        },
        parameters={"text_encoder": 12_187_325_040, **parameters},
        remarks=(
            "the sound has a guidance scale of its own (audio_guidance_scale, 7.0): guidance 1 alone does not save the negative prompt",
            *remarks,
        ),
        sources=(
            f"native workload and guidance: {_AUTHORS_PARAMS}",
            "text encoder: total of the hub's safetensors metadata, as quoted by public catalogues; "
            "417M + 1,012M + 10,759M in table 1 of arxiv.org/abs/2503.19786",
            *sources,
        ),
    )


def _from_image(row: ModelSpec) -> ModelSpec:
    """The row's image-to-video twin: the image is the first frame."""
    return replace(
        row,
        name=f"{row.name}-i2v",
        title=f"{row.title} I2V",
        task="i2v",
        pipeline_class="LTX2ImageToVideoPipeline",
        inputs=("image",),
    )


LTX_2 = _row(
    name="ltx-2",
    title="LTX-2",
    connectors=_connectors(
        "2.0",
        video_connector_num_attention_heads=30,
        video_connector_num_layers=2,
        video_gated_attn=False,
        audio_connector_num_attention_heads=30,
        audio_connector_attention_head_dim=128,
        audio_connector_num_layers=2,
        audio_gated_attn=False,
        per_modality_projections=False,
        proj_bias=False,
    ),
    transformer=_transformer(
        "2.0",
        gated_attn=False,
        cross_attn_mod=False,
        audio_gated_attn=False,
        audio_cross_attn_mod=False,
        use_prompt_embeddings=True,
        perturbed_attn=False,
    ),
    vae=_vae(
        "2.0",
        block_out_channels=(256, 512, 1024, 2048),
        layers_per_block=(4, 6, 6, 2, 2),
        decoder_block_out_channels=(256, 512, 1024),
        decoder_layers_per_block=(5, 5, 5, 5),
        decoder_spatio_temporal_scaling=(True, True, True),
        decoder_inject_noise=(False,) * 4,
        upsample_type=("spatiotemporal",) * 3,
        upsample_residual=(True, True, True),
        upsample_factor=(2, 2, 2),
        decoder_spatial_padding_mode="reflect",
    ),
    vocoder=_vocoder("2.0", "LTX2Vocoder"),
    steps=40,
    call={"spatio_temporal_guidance_blocks": [29], "use_cross_timestep": False},
    parameters={"transformer": 19e9},
    sources=(
        f"transformer: 14B for video and 5B for sound, {_AUTHORS} packages/ltx-core/README.md",
        "use_cross_timestep: docstring of diffusers 58eb52c pipelines/ltx2/pipeline_ltx2.py",
    ),
    remarks=(
        "this transformer is configured without perturbed attention, so that the STG pass computes what the positive prompt's pass "
        "has computed: stg_scale=0 and audio_stg_scale=0 spare a quarter of the denoising",
    ),
)
LTX_2_I2V = _from_image(LTX_2)

LTX_2_3 = _row(
    name="ltx-2.3",
    title="LTX-2.3",
    connectors=_connectors(
        "2.3",
        video_connector_num_attention_heads=32,
        video_connector_num_layers=8,
        video_gated_attn=True,
        audio_connector_num_attention_heads=32,
        audio_connector_attention_head_dim=64,
        audio_connector_num_layers=8,
        audio_gated_attn=True,
        per_modality_projections=True,
        video_hidden_dim=4096,
        audio_hidden_dim=2048,
        proj_bias=True,
    ),
    transformer=_transformer(
        "2.3",
        gated_attn=True,
        cross_attn_mod=True,
        audio_gated_attn=True,
        audio_cross_attn_mod=True,
        use_prompt_embeddings=False,
        perturbed_attn=True,
    ),
    vae=_vae(
        "2.3",
        block_out_channels=(256, 512, 1024, 1024),
        layers_per_block=(4, 6, 4, 2, 2),
        decoder_block_out_channels=(256, 512, 512, 1024),
        decoder_layers_per_block=(4, 6, 4, 2, 2),
        decoder_spatio_temporal_scaling=(True,) * 4,
        decoder_inject_noise=(False,) * 5,
        upsample_type=("spatiotemporal", "spatiotemporal", "temporal", "spatial"),
        upsample_residual=(False,) * 4,
        upsample_factor=(2, 2, 1, 2),
        decoder_spatial_padding_mode="zeros",
    ),
    vocoder=_vocoder("2.3", "LTX2VocoderWithBWE"),
    steps=30,
    call={"spatio_temporal_guidance_blocks": [28], "use_cross_timestep": True},
    parameters={},
    sources=(f"the 22B of its name are transformer and connectors together; {_DOCS}",),
)
LTX_2_3_I2V = _from_image(LTX_2_3)

ROWS: tuple[ModelSpec, ...] = (LTX_2, LTX_2_I2V, LTX_2_3, LTX_2_3_I2V)
