"""The tiny Wan: the real Wan classes at sizes that a laptop runs in seconds, for tests, notebooks and `--model tiny`.

Its weights are random (`workbench.miniature` makes and saves them), so its videos mean nothing; its shapes, its code path and its
rules for frames and sizes are Wan's. Everything is loaded in fp32: few CPUs compute bf16 natively, and there it is slower.
Widths are multiples of 64, so that every weight quantisation that the workbench offers can act on it.
"""

from __future__ import annotations

from workbench.models._spec import ComponentSpec, Defaults, ModelSpec, SchedulerSpec

_SOURCE = "chosen here: WanPipeline at toy widths, standard 4x8x8 compression"

_WIDTH = 128
"""Channels of the text encoder and of the transformer."""

TINY = ModelSpec(
    name="tiny",
    title="Tiny Wan (random weights)",
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
                "vocab_size": 512,  # the tokenizer of `workbench.miniature` fits into it, a test holds that
                "d_model": _WIDTH,
                "d_kv": 32,
                "d_ff": 256,
                "num_layers": 2,
                "num_heads": 4,
                "feed_forward_proj": "gated-gelu",
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
                "num_attention_heads": 4,
                "attention_head_dim": 32,
                "in_channels": 16,
                "out_channels": 16,
                "text_dim": _WIDTH,
                "freq_dim": 64,
                "ffn_dim": 256,
                "num_layers": 3,
                "rope_max_seq_len": 1024,
            },
            dtype="fp32",
            source=_SOURCE,
        ),
        ComponentSpec(
            name="vae",
            library="diffusers",
            class_name="AutoencoderKLWan",
            config={"base_dim": 16, "num_res_blocks": 1},
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
    defaults=Defaults(frames=17, height=64, width=64, steps=8, guidance=5.0, fps=8),
    temporal_factor=4,
    size_multiple=16,
    max_frames=4 * 1023 + 1,
    max_size=16 * 1024,
    call={"max_sequence_length": 512},
    parameters={},
    sources=(_SOURCE,),
)

ROWS: tuple[ModelSpec, ...] = (TINY,)
