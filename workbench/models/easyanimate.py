"""EasyAnimate V5.1, text to video (12B and 7B).

Configurations are those of the repositories `alibaba-pai/EasyAnimateV5.1-...-zh-diffusers`. The 12B transformer is what the defaults of
its diffusers class make (the class came from the model's authors); the hub's listing confirms it to the last digit shown. The 7B
one is from the configuration file of its control variant, which differs in its input channels only.
"""

from __future__ import annotations

from workbench.models._spec import ComponentSpec, Defaults, ModelSpec, SchedulerSpec

_DOCS = "diffusers 58eb52c docs/source/en/api/pipelines/easyanimate.md (recommended dtype fp16)"
_PIPELINE = "diffusers 58eb52c pipelines/easyanimate/pipeline_easyanimate.py"
_OWN = "github.com/aigc-apps/EasyAnimate c2a70d1"
_CONTROL_7B = "github.com/rishipandey125/EasyAnimateV5.1-7b-zh-Control 4d65fa6 (a copy of the hub repository)"
_QWEN = "Qwen/Qwen2-VL-7B-Instruct config.json, as in the hub's copies of it"

_TEXT_ENCODER = ComponentSpec(
    name="text_encoder",
    library="transformers",
    class_name="Qwen2VLForConditionalGeneration",
    config={
        "text_config": {
            "vocab_size": 152064,
            "hidden_size": 3584,
            "intermediate_size": 18944,
            "num_hidden_layers": 28,
            "num_attention_heads": 28,
            "num_key_value_heads": 4,
            "hidden_act": "silu",
            "max_position_embeddings": 32768,
            "max_window_layers": 28,
            "rms_norm_eps": 1e-6,
            "use_sliding_window": False,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]},
        },
        "vision_config": {
            "depth": 32,
            "embed_dim": 1280,
            "hidden_size": 3584,
            "mlp_ratio": 4,
            "num_heads": 16,
            "patch_size": 14,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
        },
        "tie_word_embeddings": False,
    },
    dtype="fp16",
    source=f"{_CONTROL_7B} model_index.json names the class; sizes: {_QWEN}; dtype: {_DOCS}",
)

_VAE = ComponentSpec(
    name="vae",
    library="diffusers",
    class_name="AutoencoderKLMagvit",
    config={
        "block_out_channels": [128, 256, 512, 512],
        "layers_per_block": 2,
        "latent_channels": 16,
        "norm_num_groups": 32,
        "scaling_factor": 0.7125,
        "spatial_group_norm": True,
    },
    dtype="fp16",
    source=f"{_CONTROL_7B} vae/config.json; dtype: {_DOCS}",
)


def _transformer(num_layers: int, mmdit_layers: int, source: str) -> ComponentSpec:
    return ComponentSpec(
        name="transformer",
        library="diffusers",
        class_name="EasyAnimateTransformer3DModel",
        config={
            "num_attention_heads": 48,
            "attention_head_dim": 64,
            "in_channels": 16,
            "out_channels": 16,
            "patch_size": 2,
            "num_layers": num_layers,
            "mmdit_layers": mmdit_layers,
            "time_embed_dim": 512,
            "text_embed_dim": 3584,
            "add_norm_text_encoder": True,
            "after_norm": False,
        },
        dtype="fp16",
        source=f"{source}; dtype: {_DOCS}",
    )


def _row(name: str, title: str, transformer: ComponentSpec, parameters: float, counted: str) -> ModelSpec:
    return ModelSpec(
        name=name,
        title=title,
        family="easyanimate",
        task="t2v",
        pipeline_class="EasyAnimatePipeline",
        pipeline_config={},
        components=(_TEXT_ENCODER, transformer, _VAE),
        scheduler=SchedulerSpec(
            class_name="FlowMatchEulerDiscreteScheduler",
            config={},
            source=(
                f"{_PIPELINE} type of the argument; the hub's scheduler_config.json was not read, and its shift changes neither memory "
                "nor time"
            ),
        ),
        defaults=Defaults(frames=49, height=384, width=672, steps=50, guidance=6.0, fps=8),
        temporal_factor=4,
        size_multiple=16,
        parameters={"text_encoder": 8.29e9, "transformer": parameters, "vae": 0.2445e9},
        sources=(
            f"native workload: {_OWN} predict_t2v.py; README.md times this size among others",
            f"16 pixels per token (8 of the VAE, patch 2), frames 4*k+1: {_PIPELINE}",
            f"transformer parameters: {counted}",
            (
                "text encoder parameters: 8.29B, hub pages of models with this configuration; VAE: 978 MB in fp32, hub listing of "
                "alibaba-pai/EasyAnimateV5.1-12b-zh-diffusers/vae"
            ),
        ),
    )


V5_1_12B = _row(
    "easyanimatev5.1-12b-zh",
    "EasyAnimateV5.1-12b-zh",
    _transformer(
        48,
        48,
        (
            "diffusers 58eb52c transformer_easyanimate.py, defaults of the class; add_norm_text_encoder (one norm) as in the 7B "
            f"model: {_CONTROL_7B} transformer/config.json"
        ),
    ),
    11.8e9,
    "23.6 GB in 16 bits, hub listing of alibaba-pai/EasyAnimateV5.1-12b-zh-diffusers/transformer",
)

V5_1_7B = _row(
    "easyanimatev5.1-7b-zh",
    "EasyAnimateV5.1-7b-zh",
    _transformer(
        36,
        18,
        f"{_CONTROL_7B} transformer/config.json, with 16 input channels instead of the 48 of control",
    ),
    6.8e9,
    "13.6 GB in 16 bits, hub listing of alibaba-pai/EasyAnimateV5-7b-zh/transformer, of the version before with the same layers",
)

ROWS: tuple[ModelSpec, ...] = (V5_1_12B, V5_1_7B)
