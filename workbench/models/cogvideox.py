"""The CogVideoX family: CogVideoX (2B, 5B, 5B image to video) and CogVideoX1.5 (5B, 5B image to video).

Configurations are those of the diffusers repositories `zai-org/CogVideoX...` (formerly `THUDM/`), read from the script that made
them and from the model's own training configurations. The hub was read as far as file listings are stored publicly: their sizes,
divided by two bytes per weight, are the parameter counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from workbench.models._spec import ComponentSpec, Defaults, ModelSpec, SchedulerSpec
from workbench.models._t5 import T5_XXL_PARAMETERS, t5_xxl

_CONVERSION = "diffusers 58eb52c scripts/convert_cogvideox_to_diffusers.py"
_DOCS = "diffusers 58eb52c docs/source/en/api/pipelines/cogvideox.md"
_OWN = "github.com/zai-org/CogVideo 7a1af71"
_LISTINGS = "parameter counts: sizes in the hub's file listings of THUDM/{}, two bytes per weight"

_PATCH_PIXELS = 16
"""Pixels per transformer token on each axis: 8 of the VAE times a patch of 2."""

_PROMPT_TOKENS = 226
"""Default of the pipeline call and of `max_text_seq_length`. CogVideoX1.5 was trained with 224; diffusers runs it with 226 too."""

Dtype = Literal["fp16", "bf16"]


def _text_encoder(dtype: Dtype) -> ComponentSpec:
    return t5_xxl(dtype, f"named by {_CONVERSION}; dtype of the whole pipeline: {_DOCS}")


def _vae(dtype: Dtype, *, scaling_factor: float, invert_scale_latents: bool = False) -> ComponentSpec:
    return ComponentSpec(
        name="vae",
        library="diffusers",
        class_name="AutoencoderKLCogVideoX",
        config={"scaling_factor": scaling_factor, "invert_scale_latents": invert_scale_latents},
        dtype=dtype,
        source=f"{_CONVERSION} convert_vae: the defaults of the class beside these; dtype of the whole pipeline: {_DOCS}",
    )


_COMMON = {
    "attention_head_dim": 64,
    "out_channels": 16,
    "time_embed_dim": 512,
    "text_embed_dim": 4096,
    "max_text_seq_length": _PROMPT_TOKENS,
    "temporal_compression_ratio": 4,
    "patch_size": 2,
}
_V1_0: Mapping[str, Any] = {
    **_COMMON,
    "patch_size_t": None,
    "patch_bias": True,
    "sample_height": 60,
    "sample_width": 90,
    "sample_frames": 49,
}
_V1_5: Mapping[str, Any] = {
    **_COMMON,
    "patch_size_t": 2,
    "patch_bias": False,
    "sample_height": 300,
    "sample_width": 300,
    "sample_frames": 81,
}
_2B = {"num_layers": 30, "num_attention_heads": 30}
_5B = {"num_layers": 42, "num_attention_heads": 48, "use_rotary_positional_embeddings": True}


def _transformer(dtype: Dtype, own_config: str, config: Mapping[str, Any]) -> ComponentSpec:
    return ComponentSpec(
        name="transformer",
        library="diffusers",
        class_name="CogVideoXTransformer3DModel",
        config=config,
        dtype=dtype,
        source=(
            f"{_CONVERSION} get_transformer_init_kwargs and the comments of get_args; {_OWN} sat/configs/{own_config}; "
            f"dtype: {_DOCS} and {_OWN} README.md"
        ),
    )


def _scheduler(snr_shift_scale: float) -> SchedulerSpec:
    return SchedulerSpec(
        class_name="CogVideoXDDIMScheduler",
        config={
            "snr_shift_scale": snr_shift_scale,
            "beta_end": 0.012,
            "beta_schedule": "scaled_linear",
            "beta_start": 0.00085,
            "clip_sample": False,
            "num_train_timesteps": 1000,
            "prediction_type": "v_prediction",
            "rescale_betas_zero_snr": True,
            "set_alpha_to_one": True,
            "timestep_spacing": "trailing",
        },
        source=f"{_CONVERSION}; {_OWN} inference/cli_demo.py prefers CogVideoXDPMScheduler for the 5B models",
    )


_NATIVE_1_0 = Defaults(frames=49, height=480, width=720, steps=50, guidance=6.0, fps=8)
_NATIVE_1_5 = Defaults(frames=81, height=768, width=1360, steps=50, guidance=6.0, fps=16)


def _row(
    *,
    name: str,
    title: str,
    components: tuple[ComponentSpec, ...],
    defaults: Defaults,
    transformer_parameters: float,
    snr_shift_scale: float = 1.0,
    task: Literal["t2v", "i2v"] = "t2v",
    max_frames: int | None = None,
    max_size: int | None = None,
    only_size: tuple[int, int] | None = None,
) -> ModelSpec:
    return ModelSpec(
        name=name,
        title=title,
        family="cogvideox",
        task=task,
        pipeline_class="CogVideoXPipeline" if task == "t2v" else "CogVideoXImageToVideoPipeline",
        pipeline_config={},
        components=components,
        scheduler=_scheduler(snr_shift_scale),
        defaults=defaults,
        temporal_factor=4,
        size_multiple=_PATCH_PIXELS,
        max_frames=max_frames,
        max_size=max_size,
        only_size=only_size,
        # the pipeline does not repeat the one image's latents for several prompts (diffusers 0.42)
        max_batch=None if task == "t2v" else 1,
        call={"max_sequence_length": _PROMPT_TOKENS},
        inputs=() if task == "t2v" else ("image",),
        parameters={
            "text_encoder": T5_XXL_PARAMETERS,
            "transformer": transformer_parameters,
            "vae": 0.2155e9,
        },
        sources=(
            f"frames, size and frames per second: {_OWN} README.md, model table",
            f"50 steps and guidance 6: {_OWN} README.md and inference/cli_demo.py; examples of the diffusers pipeline classes",
            _LISTINGS.format(title),
        ),
    )


COGVIDEOX_2B = _row(
    name="cogvideox-2b",
    title="CogVideoX-2b",
    components=(
        _text_encoder("fp16"),
        _transformer("fp16", "cogvideox_2b.yaml", {**_V1_0, **_2B}),
        _vae("fp16", scaling_factor=1.15258426),
    ),
    defaults=_NATIVE_1_0,
    transformer_parameters=1.695e9,  # 3.39 GB
    snr_shift_scale=3.0,
)

COGVIDEOX_5B = _row(
    name="cogvideox-5b",
    title="CogVideoX-5b",
    components=(
        _text_encoder("bf16"),
        _transformer("bf16", "cogvideox_5b.yaml", {**_V1_0, **_5B}),
        _vae("bf16", scaling_factor=0.7),
    ),
    defaults=_NATIVE_1_0,
    transformer_parameters=5.575e9,  # 9.93 + 1.22 GB
)

COGVIDEOX_5B_I2V = _row(
    name="cogvideox-5b-i2v",
    title="CogVideoX-5b-I2V",
    task="i2v",
    components=(
        _text_encoder("bf16"),
        _transformer(
            "bf16",
            "cogvideox_5b_i2v.yaml",
            {**_V1_0, **_5B, "in_channels": 32, "use_learned_positional_embeddings": True},
        ),
        _vae("bf16", scaling_factor=0.7),
    ),
    defaults=_NATIVE_1_0,
    # 4.99 + 4.99 + 1.27 GB, less 0.11 GB of learned position embeddings: the class holds them as a buffer, not as a parameter
    transformer_parameters=5.57e9,
    # The learned embeddings are those of 49 frames of 480x720: CogVideoXPatchEmbed refuses another size.
    max_frames=49,
    only_size=(480, 720),
)

# CogVideoX1.5 cuts its rotary table out of one for `sample_height` x `sample_width` latent pixels.
_MAX_SIZE_1_5 = 300 * 8

COGVIDEOX_1_5_5B = _row(
    name="cogvideox1.5-5b",
    title="CogVideoX1.5-5B",
    components=(
        _text_encoder("bf16"),
        _transformer("bf16", "cogvideox1.5_5b.yaml", {**_V1_5, **_5B}),
        _vae("bf16", scaling_factor=0.7, invert_scale_latents=True),
    ),
    defaults=_NATIVE_1_5,
    transformer_parameters=5.575e9,  # 4.98 + 4.95 + 1.22 GB
    max_size=_MAX_SIZE_1_5,
)

COGVIDEOX_1_5_5B_I2V = _row(
    name="cogvideox1.5-5b-i2v",
    title="CogVideoX1.5-5B-I2V",
    task="i2v",
    components=(
        _text_encoder("bf16"),
        _transformer(
            "bf16", "cogvideox1.5_5b_i2v.yaml", {**_V1_5, **_5B, "in_channels": 32, "ofs_embed_dim": 512}
        ),
        _vae("bf16", scaling_factor=0.7, invert_scale_latents=True),
    ),
    defaults=_NATIVE_1_5,
    transformer_parameters=5.575e9,  # 4.98 + 4.95 + 1.22 GB
    max_size=_MAX_SIZE_1_5,
)

ROWS: tuple[ModelSpec, ...] = (
    COGVIDEOX_2B,
    COGVIDEOX_5B,
    COGVIDEOX_5B_I2V,
    COGVIDEOX_1_5_5B,
    COGVIDEOX_1_5_5B_I2V,
)
