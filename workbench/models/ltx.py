"""The LTX-Video family: 2B (0.9.0, 0.9.1, 0.9.5) and 13B (0.9.7, also distilled), text to video and image to video.

Configurations are those that the diffusers conversion script writes. The hub itself was not read.
The 2B transformers are the same; what differs between their versions is the VAE: from 0.9.1 on the decoder takes a timestep and
does the last denoising step. Image to video gives every token a timestep of its own (0 for the tokens of the first frame), and with it
modulation tables of its own, so one row of each kind is here although the weights are the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from workbench.models._spec import ComponentSpec, Defaults, ModelSpec, SchedulerSpec

_CONVERSION = "diffusers 58eb52c scripts/convert_ltx_to_diffusers.py"
_DOCS = "diffusers 58eb52c docs/source/en/api/pipelines/ltx_video.md"
_AUTHORS = "github.com/Lightricks/LTX-Video"

_DECODE = {"decode_timestep": 0.05, "decode_noise_scale": 0.025}
"""For decoders that take a timestep: the same in every configs/ltxv-*.yaml of the authors and in diffusers' documentation."""

_TEXT_ENCODER = ComponentSpec(
    name="text_encoder",
    library="transformers",
    class_name="T5EncoderModel",
    config={
        "vocab_size": 32128,
        "d_model": 4096,
        "d_kv": 64,
        "d_ff": 10240,
        "num_layers": 24,
        "num_heads": 64,
        "relative_attention_num_buckets": 32,
        "feed_forward_proj": "gated-gelu",
        "layer_norm_epsilon": 1e-6,
    },
    dtype="bf16",
    source=(
        f"google/t5-v1_1-xxl, named by {_CONVERSION}; sizes: "
        "google-research/text-to-text-transfer-transformer 796ac28 t5/models/gin/models/t5.1.1.xxl.gin; "
        f"dtype: {_DOCS}"
    ),
)
_TEXT_ENCODER_PARAMETERS = 19_049_242_624 / 4
_TEXT_ENCODER_COUNT = (
    "text encoder: fp32 bytes of the text_encoder index of hub repository genmo/mochi-1-preview, the same encoder, "
    "as quoted by a public report; not re-read"
)


def _transformer(version: str, **sizes: int) -> ComponentSpec:
    config = {
        "in_channels": 128,
        "out_channels": 128,
        "patch_size": 1,
        "patch_size_t": 1,
        "num_attention_heads": 32,
        "activation_fn": "gelu-approximate",
        "qk_norm": "rms_norm_across_heads",
        "norm_elementwise_affine": False,
        "norm_eps": 1e-6,
        "caption_channels": 4096,
        "attention_bias": True,
        "attention_out_bias": True,
        **sizes,
    }
    return ComponentSpec(
        name="transformer",
        library="diffusers",
        class_name="LTXVideoTransformer3DModel",
        config=config,
        dtype="bf16",
        source=f"{_CONVERSION} get_transformer_config({version!r}); dtype: {_DOCS}",
    )


_TRANSFORMER_2B = _transformer("0.9.0", attention_head_dim=64, cross_attention_dim=2048, num_layers=28)
_TRANSFORMER_13B = _transformer("0.9.7", attention_head_dim=128, cross_attention_dim=4096, num_layers=48)

_PARAMETERS_2B = {"text_encoder": _TEXT_ENCODER_PARAMETERS, "transformer": 1_923_385_472}
_PARAMETERS_13B = {"text_encoder": _TEXT_ENCODER_PARAMETERS, "transformer": 13e9}
_COUNT_2B = "transformer: trainable parameters in finetrainers 9bb9aff^ docs/training/ltx_video.md"
_COUNT_13B = f"transformer: {_AUTHORS} 5260738 README.md (13B)"


def _vae(version: str, **config: Any) -> ComponentSpec:
    shared = {
        "in_channels": 3,
        "out_channels": 3,
        "latent_channels": 128,
        "patch_size": 4,
        "patch_size_t": 1,
        "resnet_norm_eps": 1e-6,
        "scaling_factor": 1.0,
        "encoder_causal": True,
        "decoder_causal": False,
    }
    return ComponentSpec(
        name="vae",
        library="diffusers",
        class_name="AutoencoderKLLTXVideo",
        config={**shared, **config},
        dtype="bf16",
        source=f"{_CONVERSION} get_vae_config({version!r}); dtype: {_DOCS}",
    )


_ENCODER_090: Mapping[str, Any] = {
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("LTXVideoDownBlock3D",) * 4,
    "layers_per_block": (4, 3, 3, 3, 4),
    "spatio_temporal_scaling": (True, True, True, False),
    "downsample_type": ("conv",) * 4,
}
_VAE_090 = _vae(
    "0.9.0",
    **_ENCODER_090,
    decoder_block_out_channels=(128, 256, 512, 512),
    decoder_layers_per_block=(4, 3, 3, 3, 4),
    decoder_spatio_temporal_scaling=(True, True, True, False),
    decoder_inject_noise=(False,) * 5,
    upsample_residual=(False,) * 4,
    upsample_factor=(1,) * 4,
    timestep_conditioning=False,
)
_UPSAMPLING: Mapping[str, Any] = {
    "decoder_block_out_channels": (256, 512, 1024),
    "decoder_spatio_temporal_scaling": (True, True, True),
    "upsample_residual": (True, True, True),
    "upsample_factor": (2, 2, 2),
    "timestep_conditioning": True,
}
_VAE_091 = _vae(
    "0.9.1",
    **_ENCODER_090,
    **_UPSAMPLING,
    decoder_layers_per_block=(5, 6, 7, 8),
    decoder_inject_noise=(True, True, True, False),
)
_VAE_095 = _vae(
    "0.9.5",  # the script has the same for 0.9.7
    **_UPSAMPLING,
    block_out_channels=(128, 256, 512, 1024, 2048),
    down_block_types=("LTXVideo095DownBlock3D",) * 4,
    layers_per_block=(4, 6, 6, 2, 2),
    spatio_temporal_scaling=(True,) * 4,
    downsample_type=("spatial", "temporal", "spatiotemporal", "spatiotemporal"),
    decoder_layers_per_block=(5, 5, 5, 5),
    decoder_inject_noise=(False,) * 4,
    spatial_compression_ratio=32,
    temporal_compression_ratio=8,
)

_DYNAMIC_SHIFT = SchedulerSpec(
    class_name="FlowMatchEulerDiscreteScheduler",
    config={
        "use_dynamic_shifting": True,
        "base_shift": 0.95,
        "max_shift": 2.05,
        "base_image_seq_len": 1024,
        "max_image_seq_len": 4096,
        "shift_terminal": 0.1,
    },
    source=f"{_CONVERSION}, versions other than 0.9.5 and 0.9.7",
)
_NO_SHIFT = SchedulerSpec(
    class_name="FlowMatchEulerDiscreteScheduler",
    config={"use_dynamic_shifting": False},
    source=f"{_CONVERSION}, versions 0.9.5 and 0.9.7",
)


def _row(
    *,
    version: str,
    pipeline_class: str,
    transformer: ComponentSpec,
    vae: ComponentSpec,
    scheduler: SchedulerSpec,
    defaults: Defaults,
    parameters: Mapping[str, float],
    sources: tuple[str, ...],
    call: Mapping[str, Any] = _DECODE,
    remarks: tuple[str, ...] = (),
) -> ModelSpec:
    return ModelSpec(
        name=f"ltx-video{version}",
        title=f"LTX-Video{version}",
        family="ltx",
        task="t2v",
        pipeline_class=pipeline_class,
        pipeline_config={},
        components=(_TEXT_ENCODER, transformer, vae),
        scheduler=scheduler,
        defaults=defaults,
        temporal_factor=8,  # of every VAE of the family
        size_multiple=32,  # `vae_spatial_compression_ratio`; a token is one latent pixel
        call=call,
        remarks=remarks,
        parameters=parameters,
        sources=(*sources, _TEXT_ENCODER_COUNT),
    )


def _from_image(row: ModelSpec, **changes: Any) -> ModelSpec:
    """The row's image-to-video twin: the image is the first frame."""
    return replace(
        row, name=f"{row.name}-i2v", title=f"{row.title} I2V", task="i2v", inputs=("image",), **changes
    )


_DEFAULTS_2B = Defaults(frames=121, height=512, width=768, steps=40, guidance=3.0, fps=24)
_SOURCES_2B = (
    f"size and frame rate: {_AUTHORS} e7ec4d0 README.md; 121 frames, 40 steps, guidance 3: its inference.py",
    _COUNT_2B,
)
_NO_STG = "the authors' own code also runs spatio-temporal guidance (STG), a further pass per step that diffusers has not"

BASE = _row(
    version="",
    pipeline_class="LTXPipeline",
    transformer=_TRANSFORMER_2B,
    vae=_VAE_090,
    scheduler=_DYNAMIC_SHIFT,
    defaults=_DEFAULTS_2B,
    parameters=_PARAMETERS_2B,
    sources=_SOURCES_2B,
    call={},
)
BASE_I2V = _from_image(BASE, pipeline_class="LTXImageToVideoPipeline")

V_091 = _row(
    version="-0.9.1",
    pipeline_class="LTXPipeline",
    transformer=_TRANSFORMER_2B,
    vae=_VAE_091,
    scheduler=_DYNAMIC_SHIFT,
    defaults=_DEFAULTS_2B,
    parameters=_PARAMETERS_2B,
    sources=(*_SOURCES_2B, f"{_AUTHORS} 5260738 configs/ltxv-2b-0.9.1.yaml"),
    remarks=(_NO_STG,),
)
V_095 = _row(
    version="-0.9.5",
    pipeline_class="LTXPipeline",
    transformer=_TRANSFORMER_2B,
    vae=_VAE_095,
    scheduler=_NO_SHIFT,
    defaults=_DEFAULTS_2B,
    parameters=_PARAMETERS_2B,
    sources=(*_SOURCES_2B, f"{_AUTHORS} 5260738 configs/ltxv-2b-0.9.5.yaml"),
    remarks=(_NO_STG,),
)

_TWO_PASSES = (
    "the authors make this video in two passes, at two thirds of the size and after an upscaler; "
    "this is one pass at the full size"
)
_SIZE_13B = f"size, frames and frame rate: {_AUTHORS} 98a0ce6 inference.py"

V_097_DEV = _row(
    version="-0.9.7-dev",
    pipeline_class="LTXConditionPipeline",
    transformer=_TRANSFORMER_13B,
    vae=_VAE_095,
    scheduler=_NO_SHIFT,
    defaults=Defaults(frames=121, height=704, width=1216, steps=30, guidance=5.0, fps=30),
    parameters=_PARAMETERS_13B,
    sources=(
        _SIZE_13B,
        f"30 steps, guidance 5.0 with rescaling 0.7: {_DOCS}; 30 steps also {_AUTHORS} 98a0ce6 "
        "configs/ltxv-13b-0.9.7-dev.yaml, which changes the guidance during the run",
        _COUNT_13B,
    ),
    call={**_DECODE, "guidance_rescale": 0.7},
    remarks=(_TWO_PASSES, _NO_STG),
)
V_097_DEV_I2V = _from_image(
    V_097_DEV,
    call={**V_097_DEV.call, "image_cond_noise_scale": 0.025},
    sources=(*V_097_DEV.sources, f"noise on the image: {_DOCS}, notes"),
)

V_097_DISTILLED = replace(
    V_097_DEV,
    name="ltx-video-0.9.7-distilled",
    title="LTX-Video-0.9.7-distilled",
    defaults=Defaults(frames=121, height=704, width=1216, steps=8, guidance=1.0, fps=30),
    call=_DECODE,
    remarks=(
        _TWO_PASSES,
        "for the best results pass timesteps=[1000, 993, 987, 981, 975, 909, 725, 0.03] to the pipeline: as many steps, the same cost",
    ),
    sources=(_SIZE_13B, f"8 steps, guidance 1.0: {_DOCS}", _COUNT_13B, _TEXT_ENCODER_COUNT),
)

ROWS: tuple[ModelSpec, ...] = (BASE, BASE_I2V, V_091, V_095, V_097_DEV, V_097_DEV_I2V, V_097_DISTILLED)
