"""HunyuanVideo-1.5 of Tencent, 8.3 billion parameters: text to video and image to video, at 480p and 720p.

Guidance is a member of the pipeline (a guider), not an argument of the call. With a scale of 1, as the distilled models have, a step is
one call of the transformer, otherwise two. Image to video takes the size from the image, and cuts it to the nearest of a list of sizes.

The transformer gives every attention a mask of queries by keys, which no flash kernel of PyTorch takes; the mask alone is gigabytes. The
repository advises other attention backends for speed, and needs less memory with its own code than these numbers say.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from workbench.models._spec import ComponentSpec, Defaults, ModelSpec, SchedulerSpec
from workbench.models.framepack import IMAGE_ENCODER, SIGLIP_SIZE

_CONVERSION = "diffusers 58eb52c scripts/convert_hunyuan_video1_5_to_diffusers.py"
_DOCS = "dtype: diffusers 58eb52c docs/source/en/api/pipelines/hunyuan_video15.md (all in bf16)"
_REPOSITORY = "github.com/Tencent-Hunyuan/HunyuanVideo-1.5 60783e7"
_MUSUBI = "github.com/kohya-ss/musubi-tuner 30c658c src/musubi_tuner/hunyuan_video_1_5/hunyuan_video_1_5_text_encoder.py"

_TEXT_ENCODER = ComponentSpec(
    name="text_encoder",
    library="transformers",
    class_name="Qwen2_5_VLTextModel",
    config={
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
        "bos_token_id": 151643,
        "eos_token_id": 151645,
    },
    dtype="bf16",
    source=f"{_CONVERSION} load_mllm: the language model of Qwen/Qwen2.5-VL-7B-Instruct; configuration: {_MUSUBI}; {_DOCS}",
)

_TEXT_ENCODER_2 = ComponentSpec(
    name="text_encoder_2",
    library="transformers",
    class_name="T5EncoderModel",
    config={
        "vocab_size": 1510,  # ByT5's 384, and a token per colour (138) and font (988) that Glyph-SDXL-v2 knows
        "d_model": 1472,
        "d_kv": 64,
        "d_ff": 3584,
        "num_layers": 12,
        "num_decoder_layers": 4,
        "num_heads": 6,
        "feed_forward_proj": "gated-gelu",
        "relative_attention_num_buckets": 32,
        "layer_norm_epsilon": 1e-6,
    },
    dtype="bf16",
    source=f"{_CONVERSION} load_byt5: google/byt5-small with the tokens of Glyph-SDXL-v2; configuration and tokens: {_MUSUBI}; {_DOCS}",
)

_IMAGE_ENCODER = ComponentSpec(
    name="image_encoder",
    library=IMAGE_ENCODER.library,
    class_name=IMAGE_ENCODER.class_name,
    config=IMAGE_ENCODER.config,
    dtype="bf16",
    source=f"{_CONVERSION} load_siglip: the image encoder of FLUX.1-Redux-dev; configuration: {IMAGE_ENCODER.source}; {_DOCS}",
)

_VAE = ComponentSpec(
    name="vae",
    library="diffusers",
    class_name="AutoencoderKLHunyuanVideo15",
    config={},
    dtype="bf16",
    source=f"{_CONVERSION} convert_vae: the defaults of the class; {_DOCS}",
)

_SIZES = {"480p": (480, 848, 640), "720p": (720, 1280, 960)}
"""Height, width and `target_size` by resolution: what the pipeline takes for 16:9, and the base of its list of sizes."""


def _row(
    variant: str, *, shift: float, guidance: float = 6.0, steps: int = 50, **transformer: Any
) -> ModelSpec:
    """The row of `HunyuanVideo-1.5-Diffusers-<variant>`."""
    resolution, task, *_ = variant.split("_")
    height, width, target_size = _SIZES[resolution]
    from_image = task == "i2v"
    denoiser = ComponentSpec(
        name="transformer",
        library="diffusers",
        class_name="HunyuanVideo15Transformer3DModel",
        # `task_type` is left out: the script has "i2v" for 480p_t2v, and neither model nor pipeline reads it
        config={"target_size": target_size, **transformer},
        dtype="bf16",
        source=f"{_CONVERSION} TRANSFORMER_CONFIGS, else the defaults of the class; {_DOCS}",
    )
    parameters: Mapping[str, float] = {
        "text_encoder": 7.07e9,
        "text_encoder_2": 219e6,
        "transformer": 8.3e9,
        "vae": 1.26e9,
    }
    return ModelSpec(
        name=f"hunyuanvideo-1.5-diffusers-{variant}",
        title=f"HunyuanVideo-1.5 {variant}",
        family="hunyuan",
        task="i2v" if from_image else "t2v",
        pipeline_class="HunyuanVideo15ImageToVideoPipeline" if from_image else "HunyuanVideo15Pipeline",
        pipeline_config={},
        components=(
            *((_IMAGE_ENCODER,) if from_image else ()),
            _TEXT_ENCODER,
            _TEXT_ENCODER_2,
            denoiser,
            _VAE,
        ),
        scheduler=SchedulerSpec(
            class_name="FlowMatchEulerDiscreteScheduler",
            config={"shift": shift},
            source=f"{_CONVERSION} SCHEDULER_CONFIGS",
        ),
        extras={
            "guider": SchedulerSpec(
                class_name="ClassifierFreeGuidance",
                config={"guidance_scale": guidance},
                source=f"{_CONVERSION} GUIDANCE_CONFIGS",
            )
        },
        defaults=Defaults(frames=121, height=height, width=width, steps=steps, guidance=guidance, fps=24),
        temporal_factor=4,  # `temporal_compression_ratio` of the VAE
        size_multiple=16,  # `spatial_compression_ratio` of the VAE; the patch is one latent pixel
        max_batch=1,  # the mask of a batch does not broadcast to it (diffusers 0.42)
        inputs=("image",) if from_image else (),
        remarks=(
            "its attention masks every token against every token, which takes memory by the square of the length; the attention backends "
            "that its repository advises (flash_hub, sage_hub) do not, and are not planned here",
        ),
        parameters={**parameters, **({"image_encoder": 0.43e9} if from_image else {})},
        sources=(
            f"frames, steps, guidance, shift: {_REPOSITORY} README.md; 24 fps: generate.py; 16:9 and sizes: the pipeline's defaults",
            f"8.3B: {_REPOSITORY} README.md; VAE 2.52 GB and ByT5 0.44 GB fp16: Comfy-Org/HunyuanVideo_1.5_repackaged; {SIGLIP_SIZE}",
            "Qwen2.5-7B: 7.61B parameters (its model card) less the output head of 152064 x 3584, which this class has not",
        ),
    )


ROWS: tuple[ModelSpec, ...] = (
    _row("480p_t2v", shift=5.0),
    _row("720p_t2v", shift=9.0),
    _row("480p_i2v", shift=5.0),
    _row("720p_i2v", shift=7.0),
    _row("480p_t2v_distilled", shift=5.0, guidance=1.0),
    _row("480p_i2v_step_distilled", shift=7.0, guidance=1.0, steps=12, use_meanflow=True),
)
