"""Wan2.1: text to video (1.3B, 14B), image to video (14B at 480p and 720p), control of both (VACE); and what all Wans share.

Configurations are those of the diffusers repositories `Wan-AI/<name>-Diffusers`, read from the script that made them and
from Wan's own code. The hub itself was not read. Wan2.2 is in `wan22.py`; SkyReels-V2 and SANA-Video use parts of Wan2.1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from workbench.models._spec import ComponentSpec, Defaults, ModelSpec, SchedulerSpec

DIFFUSERS = "diffusers 58eb52c"
CONVERSION = f"{DIFFUSERS} scripts/convert_wan_to_diffusers.py"
DOCS = f"{DIFFUSERS} docs/source/en/api/pipelines/wan.md (VAE loaded in fp32, the rest in bf16)"
WAN21 = "github.com/Wan-Video/Wan2.1 9737cba"
_COUNTS = "parameter counts: model pages of the Wan-AI hub repositories, as quoted in this project's issue 2; not re-read"
_VACE_COUNTS = (
    "parameter counts: fp16 files of the hub repository Comfy-Org/Wan_2.1_ComfyUI_repackaged, 4.31 and 34.68 GB, as users list them, "
    "at two bytes each; text encoder as for the other Wans; the hub was not read"
)

SPATIAL_COMPRESSION = 8
"""Pixels per latent pixel of the Wan2.1 VAE, on each axis (`AutoencoderKLWan`, `scale_factor_spatial`)."""

PATCH = 2
"""Latent pixels per transformer token, on each axis (`patch_size` of every Wan transformer is [1, 2, 2])."""

ROPE_POSITIONS = 1024
"""`rope_max_seq_len` of `WanTransformer3DModel`: no Wan configuration sets another."""

TEXT_ENCODER = ComponentSpec(
    name="text_encoder",
    library="transformers",
    class_name="UMT5EncoderModel",
    config={
        "vocab_size": 256384,
        "d_model": 4096,
        "d_kv": 64,
        "d_ff": 10240,
        "num_layers": 24,
        "num_heads": 64,
        "relative_attention_num_buckets": 32,
        "relative_attention_max_distance": 128,
        "feed_forward_proj": "gated-gelu",
        "layer_norm_epsilon": 1e-6,
    },
    dtype="bf16",
    source=f"google/umt5-xxl, named by {CONVERSION}; sizes from {WAN21} wan/modules/t5.py umt5_xxl; dtype: {DOCS}",
)

VAE = ComponentSpec(
    name="vae",
    library="diffusers",
    class_name="AutoencoderKLWan",
    config={},
    dtype="fp32",
    source=f"{CONVERSION} convert_vae: the defaults of the class; dtype: {DOCS}",
)

IMAGE_ENCODER = ComponentSpec(
    name="image_encoder",
    library="transformers",
    class_name="CLIPVisionModel",
    config={
        "hidden_size": 1280,
        "intermediate_size": 5120,
        "projection_dim": 1024,
        "num_hidden_layers": 32,
        "num_attention_heads": 16,
        "image_size": 224,
        "patch_size": 14,
        "hidden_act": "gelu",
    },
    dtype="fp32",
    source=(
        f"{WAN21} wan/modules/clip.py clip_xlm_roberta_vit_h_14; class and dtype: example of {DIFFUSERS} "
        "pipelines/wan/pipeline_wan_i2v.py (the conversion script names CLIPVisionModelWithProjection, the same tower)"
    ),
)


def transformer(
    name: str,
    model_type: str,
    config: Mapping[str, Any],
    *,
    class_name: str = "WanTransformer3DModel",
    source: str = CONVERSION,
    docs: str = DOCS,
) -> ComponentSpec:
    """A denoiser of Wan's architecture: what all have in common, and `config`, from one entry of a conversion script."""
    common = {
        "patch_size": (1, PATCH, PATCH),
        "attention_head_dim": 128,
        "in_channels": 16,
        "out_channels": 16,
        "text_dim": 4096,
        "freq_dim": 256,
        "cross_attn_norm": True,
        "qk_norm": "rms_norm_across_heads",
        "eps": 1e-6,
        "rope_max_seq_len": ROPE_POSITIONS,
    }
    return ComponentSpec(
        name=name,
        library="diffusers",
        class_name=class_name,
        config={**common, **config},
        dtype="bf16",
        source=f"{source} get_transformer_config({model_type!r}); dtype: {docs}",
    )


def scheduler(flow_shift: float, source: str) -> SchedulerSpec:
    """The solver that the conversion scripts give every model of Wan's architecture."""
    return SchedulerSpec(
        class_name="UniPCMultistepScheduler",
        config={
            "prediction_type": "flow_prediction",
            "use_flow_sigmas": True,
            "num_train_timesteps": 1000,
            "flow_shift": flow_shift,
        },
        source=source,
    )


def row(
    *,
    name: str,
    title: str,
    components: tuple[ComponentSpec, ...],
    scheduler: SchedulerSpec,
    defaults: Defaults,
    parameters: Mapping[str, float],
    sources: tuple[str, ...],
    pipeline_class: str = "WanPipeline",
    spatial_compression: int = SPATIAL_COMPRESSION,
    counts: str = _COUNTS,
    **more: Any,
) -> ModelSpec:
    """A row with the rules for frames, sizes and prompts that all models of Wan's architecture share.

    Args:
        more: further fields of the `ModelSpec`.
    """
    fields: dict[str, Any] = {
        "family": "wan",
        "task": "i2v" if "image" in more.get("inputs", ()) else "t2v",
        "pipeline_config": {},
        # default of the pipeline call, and `text_len` of both wan/configs/shared_config.py
        "call": {"max_sequence_length": 512},
        **more,
    }
    return ModelSpec(
        name=name,
        title=title,
        pipeline_class=pipeline_class,
        components=components,
        scheduler=scheduler,
        defaults=defaults,
        temporal_factor=4,  # `scale_factor_temporal` of both VAEs
        size_multiple=spatial_compression * PATCH,
        max_frames=4 * (ROPE_POSITIONS - 1) + 1,
        max_size=spatial_compression * PATCH * ROPE_POSITIONS,
        parameters={"text_encoder": 5.68e9, **parameters},
        sources=(*sources, counts),
        **fields,
    )


SHIFT_480P = f"{CONVERSION} flow_shift 3.0"
SHIFT_720P = f"{DIFFUSERS} pipelines/wan/pipeline_wan.py example: flow_shift 5.0 for 720P, 3.0 for 480P"
DIFFUSERS_CALL = "guidance 5.0 and 81 frames at 16 fps: example of the diffusers pipeline class"

SIZES_1_3B = {"ffn_dim": 8960, "num_attention_heads": 12, "num_layers": 30}
SIZES_14B = {"ffn_dim": 13824, "num_attention_heads": 40, "num_layers": 40}
IMAGE_INPUTS_14B = {"in_channels": 36, "image_dim": 1280, "added_kv_proj_dim": 5120}
"""Of a denoiser that sees an image: its latents and their mask as channels, and its CLIP embeddings in the cross-attention."""

T2V_1_3B = row(
    name="wan2.1-t2v-1.3b",
    title="Wan2.1-T2V-1.3B",
    components=(TEXT_ENCODER, transformer("transformer", "Wan-T2V-1.3B", SIZES_1_3B), VAE),
    scheduler=scheduler(3.0, SHIFT_480P),
    defaults=Defaults(frames=81, height=480, width=832, steps=50, guidance=5.0, fps=16),
    parameters={"transformer": 1.42e9},
    sources=(
        f"size and steps: {WAN21} README.md (480P recommended), generate.py",
        f"{DIFFUSERS_CALL}; {WAN21} README.md prefers guidance 6 with shift 8 to 12 for this model",
    ),
)

T2V_14B = row(
    name="wan2.1-t2v-14b",
    title="Wan2.1-T2V-14B",
    components=(TEXT_ENCODER, transformer("transformer", "Wan-T2V-14B", SIZES_14B), VAE),
    scheduler=scheduler(5.0, SHIFT_720P),
    defaults=Defaults(frames=81, height=720, width=1280, steps=50, guidance=5.0, fps=16),
    parameters={"transformer": 14.3e9},
    sources=(f"size and steps: {WAN21} README.md, generate.py", DIFFUSERS_CALL),
)


def _image_to_video(
    resolution: str, flow_shift: float, shift_source: str, height: int, width: int
) -> ModelSpec:
    """The two image-to-video models differ in their weights only."""
    denoiser = transformer(
        "transformer", f"Wan-I2V-14B-{resolution.lower()}", {**SIZES_14B, **IMAGE_INPUTS_14B}
    )
    return row(
        name=f"wan2.1-i2v-14b-{resolution.lower()}",
        title=f"Wan2.1-I2V-14B-{resolution}",
        pipeline_class="WanImageToVideoPipeline",
        components=(TEXT_ENCODER, IMAGE_ENCODER, denoiser, VAE),
        scheduler=scheduler(flow_shift, shift_source),
        defaults=Defaults(frames=81, height=height, width=width, steps=40, guidance=5.0, fps=16),
        inputs=("image",),
        parameters={"transformer": 16.4e9},
        sources=(
            f"size and steps: {WAN21} README.md, generate.py (40 steps for image to video)",
            DIFFUSERS_CALL,
        ),
    )


I2V_14B_480P = _image_to_video("480P", 3.0, SHIFT_480P, 480, 832)
I2V_14B_720P = _image_to_video("720P", 5.0, SHIFT_720P, 720, 1280)


def _control(
    size: str, shift: SchedulerSpec, height: int, width: int, parameters: float, config: Mapping[str, Any]
) -> ModelSpec:
    """VACE: a second stack of blocks (`vace_blocks`) reads a control video and its mask beside the latents."""
    denoiser = transformer(
        "transformer",
        f"Wan-VACE-{size}",
        {**config, "vace_in_channels": 96},
        class_name="WanVACETransformer3DModel",
    )
    return row(
        name=f"wan2.1-vace-{size.lower()}",
        title=f"Wan2.1-VACE-{size}",
        pipeline_class="WanVACEPipeline",
        components=(TEXT_ENCODER, denoiser, VAE),
        scheduler=shift,
        defaults=Defaults(frames=81, height=height, width=width, steps=50, guidance=5.0, fps=16),
        inputs=("video", "mask"),
        max_batch=1,  # the pipeline refuses lists of prompts and several videos per prompt
        remarks=("every reference image would add a latent frame to the video; none was given",),
        parameters={"transformer": parameters},
        counts=_VACE_COUNTS,
        sources=(
            f"size, steps, guidance and frames: {WAN21} generate.py (vace-{size}; its flow shift is 16)",
            f"inputs: example of {DIFFUSERS} pipelines/wan/pipeline_wan_vace.py",
        ),
    )


VACE_1_3B = _control(
    "1.3B",
    scheduler(3.0, SHIFT_480P),
    height=480,
    width=832,
    parameters=2.155e9,
    config={**SIZES_1_3B, "vace_layers": tuple(range(0, 30, 2))},
)
VACE_14B = _control(
    "14B",
    scheduler(5.0, SHIFT_720P),
    height=720,
    width=1280,
    parameters=17.34e9,
    config={**SIZES_14B, "vace_layers": tuple(range(0, 40, 5))},
)

ROWS: tuple[ModelSpec, ...] = (T2V_1_3B, T2V_14B, I2V_14B_480P, I2V_14B_720P, VACE_1_3B, VACE_14B)
