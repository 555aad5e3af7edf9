"""FramePack on HunyuanVideo: long videos in sections, each with a context of fixed length.

A video is made of `ceil(frames / 33)` sections of nine latent frames, each denoised by all the steps, and decoded once it is done, so a
longer video takes more time and no more memory in the transformer. The pipeline makes whole sections: four of them are 145 frames.
"""

from __future__ import annotations

from workbench.models import hunyuan
from workbench.models._spec import ComponentSpec, Defaults, ModelSpec

_DOCS = "diffusers 58eb52c docs/source/en/api/pipelines/framepack.md"
_REPOSITORY = "github.com/lllyasviel/FramePack 97fe5db"
_MUSUBI = "github.com/kohya-ss/musubi-tuner 30c658c src/musubi_tuner/frame_pack"

IMAGE_ENCODER = ComponentSpec(
    name="image_encoder",
    library="transformers",
    class_name="SiglipVisionModel",
    config={
        "hidden_size": 1152,
        "intermediate_size": 4304,
        "num_hidden_layers": 27,
        "num_attention_heads": 16,
        "image_size": 384,
        "patch_size": 14,
        "hidden_act": "gelu_pytorch_tanh",
        "layer_norm_eps": 1e-6,
    },
    dtype="fp16",
    source=(
        f"lllyasviel/flux_redux_bfl, named by {_DOCS}, a copy of the image encoder of FLUX.1-Redux-dev; "
        f"configuration: {_MUSUBI}/framepack_utils.py; dtype: {_DOCS}"
    ),
)

SIGLIP_SIZE = (
    "parameter count of SigLIP: 0.86 GB fp16 (Comfy-Org/sigclip_vision_384 sigclip_vision_patch14_384)"
)

I2V = ModelSpec(
    name="framepacki2v_hy",
    title="FramePack I2V (HunyuanVideo)",
    family="hunyuan",
    task="i2v",
    pipeline_class="HunyuanVideoFramepackPipeline",
    pipeline_config={},
    components=(
        hunyuan.TEXT_ENCODER,
        hunyuan.TEXT_ENCODER_2,
        IMAGE_ENCODER,
        ComponentSpec(
            name="transformer",
            library="diffusers",
            class_name="HunyuanVideoFramepackTransformer3DModel",
            config={
                **hunyuan.TRANSFORMER,
                "has_image_proj": True,
                "image_proj_dim": 1152,
                "has_clean_x_embedder": True,
            },
            dtype="bf16",
            source=f"{_MUSUBI}/hunyuan_video_packed.py load_packed_model, for the same weights; dtype: {_DOCS}",
        ),
        hunyuan.VAE,
    ),
    scheduler=hunyuan.SCHEDULER,
    # five seconds are four sections there, and 129 frames are four sections here
    defaults=Defaults(frames=129, height=480, width=832, steps=25, guidance=10.0, fps=30),
    temporal_factor=1,  # any number: the pipeline rounds up to whole sections
    frame_remainder=0,
    size_multiple=16,
    max_batch=1,  # tensors of one video are joined with those of the batch (diffusers 0.42)
    call={"max_sequence_length": 256, "sampling_type": "inverted_anti_drifting"},
    inputs=("image",),
    parameters={
        **{name: count for name, count in hunyuan.PARAMETERS.items() if name != "transformer"},
        "image_encoder": 0.43e9,
        "transformer": 13e9,
    },
    sources=(
        f"steps 25, guidance 10.0 as an input, 5 seconds at 30 fps: {_REPOSITORY} demo_gradio.py; size: diffusers_helper/bucket_tools.py",
        f"sampling type: {_DOCS}",
        f"13B: {_REPOSITORY} README.md; {SIGLIP_SIZE}",
        hunyuan.FILE_SIZES,
    ),
)

ROWS: tuple[ModelSpec, ...] = (I2V,)
