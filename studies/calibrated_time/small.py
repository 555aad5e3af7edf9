"""Small real pipelines: diffusers' own classes of three families, wide enough that a CPU spends its time in kernels, and their cases."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from workbench.models import ComponentSpec, Defaults, ModelSpec, SchedulerSpec

SOURCE = "chosen for this study: the classes of the family at widths for a CPU"


def _part(name: str, class_name: str, config: Mapping[str, Any], library: str = "diffusers") -> ComponentSpec:
    return ComponentSpec(
        name=name, library=library, class_name=class_name, config=config, dtype="fp32", source=SOURCE
    )


def _spec(
    name: str,
    pipeline: str,
    transformer: ComponentSpec,
    vae: ComponentSpec,
    scheduler: tuple[str, Mapping[str, Any]],
    text_width: int,
    **more: Any,
) -> ModelSpec:
    text = {
        "d_model": text_width,
        "d_kv": 64,
        "d_ff": 2 * text_width,
        "num_layers": 4,
        "num_heads": 4,
        "vocab_size": 512,
    }
    return ModelSpec(
        name=f"small-{name}",
        title=f"{pipeline} for this study (random weights)",
        family="small",
        task="t2v",
        pipeline_class=pipeline,
        pipeline_config={},
        components=(
            _part("text_encoder", "UMT5EncoderModel" if name == "wan" else "T5EncoderModel", text, "transformers"),
            transformer,
            vae,
        ),
        scheduler=SchedulerSpec(class_name=scheduler[0], config=scheduler[1], source=SOURCE),
        defaults=Defaults(frames=9, height=96, width=96, steps=4, guidance=5.0, fps=8),
        temporal_factor=8 if name == "ltx" else 4,
        size_multiple=32 if name == "ltx" else 16,
        sources=(SOURCE,),
        **more,
    )  # fmt: skip


_KL3D = {
    "down_block_types": ("CogVideoXDownBlock3D",) * 4,
    "up_block_types": ("CogVideoXUpBlock3D",) * 4,
    "block_out_channels": (16, 32, 32, 32),
    "layers_per_block": 1,
    "latent_channels": 8,
    "norm_num_groups": 8,
}

WAN = _spec(
    "wan",
    "WanPipeline",
    _part(
        "transformer",
        "WanTransformer3DModel",
        {"num_attention_heads": 6, "attention_head_dim": 64, "text_dim": 256, "freq_dim": 128, "ffn_dim": 1024, "num_layers": 6,
         "rope_max_seq_len": 256},
    ),
    _part("vae", "AutoencoderKLWan", {"base_dim": 16, "num_res_blocks": 1}),
    ("UniPCMultistepScheduler", {"prediction_type": "flow_prediction", "use_flow_sigmas": True, "flow_shift": 3.0}),
    256,
    call={"max_sequence_length": 64},
)  # fmt: skip

COGVIDEOX = _spec(
    "cogvideox",
    "CogVideoXPipeline",
    _part(
        "transformer",
        "CogVideoXTransformer3DModel",
        {"num_attention_heads": 6, "attention_head_dim": 64, "in_channels": 8, "out_channels": 8, "time_embed_dim": 128,
         "text_embed_dim": 256, "num_layers": 6, "sample_width": 16, "sample_height": 16, "sample_frames": 9,
         "max_text_seq_length": 64},
    ),
    _part("vae", "AutoencoderKLCogVideoX", _KL3D),
    ("CogVideoXDDIMScheduler", {}),
    256,
    call={"max_sequence_length": 64},
)  # fmt: skip

LTX = _spec(
    "ltx",
    "LTXPipeline",
    _part(
        "transformer",
        "LTXVideoTransformer3DModel",
        {"in_channels": 16, "out_channels": 16, "num_attention_heads": 8, "attention_head_dim": 64, "cross_attention_dim": 512,
         "num_layers": 8, "caption_channels": 256},
    ),
    _part(
        "vae",
        "AutoencoderKLLTXVideo",
        {"latent_channels": 16, "block_out_channels": (16, 32, 64, 64), "decoder_block_out_channels": (16, 32, 64, 64),
         "layers_per_block": (1,) * 5, "decoder_layers_per_block": (1,) * 5},
    ),
    ("FlowMatchEulerDiscreteScheduler", {"use_dynamic_shifting": True}),
    256,
    call={"max_sequence_length": 64},
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Case:
    """One pipeline with one size and one set of techniques."""

    spec: ModelSpec
    frames: int
    size: int
    """Height and width in pixels."""
    steps: int
    settings: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Says all of it."""
        how = " ".join(f"{key}={_short(value)}" for key, value in self.settings.items()) or "as is"
        return f"{self.spec.name} {self.frames}x{self.size}x{self.size} {self.steps} steps, {how}"


def _short(value: Any) -> str:
    return ",".join(f"{key}:{part}" for key, part in value.items()) if value else "on"


_TILES = {"tile_height": 64, "tile_width": 64, "stride_height": 48, "stride_width": 48}
_ALL_BF16 = {"text_encoder": "bf16", "transformer": "bf16", "vae": "bf16"}
CASES = (
    Case(WAN, 9, 96, 4, {}),
    Case(WAN, 9, 96, 12, {}),
    Case(WAN, 17, 160, 4, {}),
    Case(WAN, 17, 160, 4, {"dtype": {"transformer": "bf16"}}),
    Case(WAN, 17, 160, 4, {"attention": {"backend": "math"}}),
    Case(WAN, 33, 96, 4, {"temporal_chunks": {"frames": 17, "overlap": 5}}),
    Case(WAN, 9, 160, 4, {"vae_tiling": _TILES}),
    Case(COGVIDEOX, 9, 96, 6, {}),
    Case(COGVIDEOX, 9, 192, 4, {}),
    Case(
        COGVIDEOX,
        9,
        192,
        4,
        {"vae_tiling": {"tile_height": 96, "tile_width": 96, "stride_height": 80, "stride_width": 80}},
    ),
    Case(COGVIDEOX, 9, 192, 4, {"cfg": {"mode": "sequential"}}),
    Case(COGVIDEOX, 17, 96, 4, {"dtype": _ALL_BF16}),
    Case(LTX, 25, 256, 6, {}),
    Case(LTX, 49, 352, 3, {}),
    Case(LTX, 49, 352, 3, {"dtype": {"text_encoder": "bf16", "transformer": "bf16"}}),
    Case(LTX, 25, 256, 6, {"attention": {"backend": "math"}}),
)
