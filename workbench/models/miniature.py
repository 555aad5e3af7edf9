"""The miniature: a small Wan that is trained on moving shapes and ships with the package, for `--model miniature`.

Real Wan classes and Wan's 4x8x8 compression. The VAE sees patches of 2x2 pixels and joins its levels by shortcuts, as Wan2.2's does: a CPU
is slow at convolutions over full pixels. The statistics of its latents are found in training and stand in the weights' own configuration;
no cost depends on them.
"""

from __future__ import annotations

from workbench.models._spec import ComponentSpec, Defaults, ModelSpec, SchedulerSpec

_SOURCE = "chosen here, trained by studies/miniature/train.py: WanPipeline at small widths, standard 4x8x8 compression"

_TEXT_WIDTH = 128

PROMPT_TOKENS = 32
"""Tokens of a prompt: the longest caption of the world fits, and attention over 512 would cost more than all the rest."""

MINIATURE = ModelSpec(
    name="miniature",
    title="Miniature Wan (moving shapes)",
    family="wan",
    task="t2v",
    pipeline_class="WanPipeline",
    pipeline_config={},
    components=(
        ComponentSpec(
            name="text_encoder",
            library="transformers",
            class_name="UMT5EncoderModel",
            config={
                "vocab_size": 512,
                "d_model": _TEXT_WIDTH,
                "d_kv": 32,
                "d_ff": 256,
                "num_layers": 2,
                "num_heads": 4,
                "feed_forward_proj": "gated-gelu",
                "dropout_rate": 0.0,
            },
            dtype="fp32",
            source=_SOURCE,
        ),
        ComponentSpec(
            name="transformer",
            library="diffusers",
            class_name="WanTransformer3DModel",
            config={
                "patch_size": (1, 2, 2),
                "num_attention_heads": 8,
                "attention_head_dim": 32,
                "in_channels": 16,
                "out_channels": 16,
                "text_dim": _TEXT_WIDTH,
                "freq_dim": 128,
                "ffn_dim": 512,
                "num_layers": 5,
                "rope_max_seq_len": 1024,
            },
            dtype="fp32",
            source=_SOURCE,
        ),
        ComponentSpec(
            name="vae",
            library="diffusers",
            class_name="AutoencoderKLWan",
            config={
                "base_dim": 16,
                "decoder_base_dim": 16,
                "z_dim": 16,
                "dim_mult": [1, 2, 2],
                "num_res_blocks": 1,
                "temperal_downsample": [True, True],
                "is_residual": True,
                "patch_size": 2,
                "in_channels": 12,
                "out_channels": 12,
            },
            dtype="fp32",
            source=_SOURCE,
        ),
    ),
    scheduler=SchedulerSpec(
        class_name="UniPCMultistepScheduler",
        config={
            "prediction_type": "flow_prediction",
            "use_flow_sigmas": True,
            "num_train_timesteps": 1000,
            "flow_shift": 3.0,
        },
        source=_SOURCE,
    ),
    defaults=Defaults(frames=17, height=64, width=64, steps=25, guidance=4.0, fps=8),
    temporal_factor=4,
    size_multiple=16,
    max_frames=4 * 1023 + 1,
    max_size=16 * 1024,
    # what a prompt should not be is left empty: the words that big models are told mean nothing in a world of shapes
    call={"max_sequence_length": PROMPT_TOKENS, "negative_prompt": ""},
    parameters={},
    sources=(_SOURCE,),
)

ROWS: tuple[ModelSpec, ...] = (MINIATURE,)
