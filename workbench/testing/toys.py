"""Toy pipelines of diffusers' own classes, one per way in which video denoisers are built and called; latents are the result."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from workbench.models import ComponentSpec, Defaults, ModelSpec, SchedulerSpec
from workbench.models._build import assemble, build_component, construct
from workbench.techniques import Settings
from workbench.testing.contract import Miniature

_HERE = "toy widths"
_T5 = {"d_model": 32, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 4, "vocab_size": 64}
_WAN_VAE = {"base_dim": 4, "num_res_blocks": 1}
_KL_BLOCKS = {"block_out_channels": (8,) * 4, "layers_per_block": 1, "norm_num_groups": 2}


def _part(name: str, class_name: str, config: Mapping[str, Any], library: str = "diffusers") -> ComponentSpec:
    return ComponentSpec(
        name=name, library=library, class_name=class_name, config=config, dtype="fp32", source=_HERE
    )


def _spec(
    pipeline: str,
    transformer: tuple[str, Mapping[str, Any]],
    vae: tuple[str, Mapping[str, Any]],
    scheduler: tuple[str, Mapping[str, Any]] = ("FlowMatchEulerDiscreteScheduler", {}),
    text: tuple[ComponentSpec, ...] = (_part("text_encoder", "T5EncoderModel", _T5, "transformers"),),
    **more: Any,
) -> ModelSpec:
    return ModelSpec(
        name=pipeline.lower(),
        title=pipeline,
        family="toy",
        task="t2v",
        pipeline_class=pipeline,
        pipeline_config={},
        components=(*text, _part("transformer", *transformer), _part("vae", *vae)),
        scheduler=SchedulerSpec(class_name=scheduler[0], config=scheduler[1], source=_HERE),
        defaults=Defaults(frames=9, height=32, width=32, steps=9, guidance=5.0, fps=8),
        temporal_factor=4,
        size_multiple=16,
        sources=(_HERE,),
        **more,
    )


def _kl(kind: str) -> dict[str, Any]:
    return {
        "down_block_types": (f"{kind}DownBlock3D",) * 4,
        "up_block_types": (f"{kind}UpBlock3D",) * 4,
        "latent_channels": 4,
        **_KL_BLOCKS,
    }


_WAN = {
    "num_attention_heads": 2,
    "attention_head_dim": 12,
    "text_dim": 32,
    "freq_dim": 32,
    "ffn_dim": 32,
    "num_layers": 3,
    "rope_max_seq_len": 32,
}
_CALL = {
    "prompt": "a fox",
    "height": 32,
    "width": 32,
    "num_frames": 9,
    "num_inference_steps": 9,
    "guidance_scale": 5.0,
}

TOYS: dict[str, tuple[ModelSpec, dict[str, Any]]] = {
    "cogvideox": (
        _spec(
            "CogVideoXPipeline",
            (
                "CogVideoXTransformer3DModel",
                {"num_attention_heads": 4, "attention_head_dim": 8, "in_channels": 4, "out_channels": 4, "time_embed_dim": 2,
                 "text_embed_dim": 32, "num_layers": 3, "sample_width": 4, "sample_height": 4, "sample_frames": 9,
                 "max_text_seq_length": 16},
            ),
            ("AutoencoderKLCogVideoX", _kl("CogVideoX")),
            ("CogVideoXDDIMScheduler", {}),
        ),
        {"max_sequence_length": 16, "num_frames": 8},
    ),
    "mochi": (
        _spec(
            "MochiPipeline",
            (
                "MochiTransformer3DModel",
                {"num_attention_heads": 2, "attention_head_dim": 8, "num_layers": 3, "pooled_projection_dim": 16, "in_channels": 12,
                 "text_embed_dim": 32, "time_embed_dim": 4, "max_sequence_length": 16},
            ),
            (
                "AutoencoderKLMochi",
                {"latent_channels": 12, "encoder_block_out_channels": (32,) * 4, "decoder_block_out_channels": (32,) * 4,
                 "layers_per_block": (1,) * 5},
            ),
            ("FlowMatchEulerDiscreteScheduler", {"invert_sigmas": True}),
        ),
        {"max_sequence_length": 16, "num_frames": 7},
    ),
    "ltx": (
        _spec(
            "LTXPipeline",
            (
                "LTXVideoTransformer3DModel",
                {"in_channels": 8, "out_channels": 8, "num_attention_heads": 4, "attention_head_dim": 8, "cross_attention_dim": 32,
                 "num_layers": 3, "caption_channels": 32},
            ),
            (
                "AutoencoderKLLTXVideo",
                {"latent_channels": 8, "block_out_channels": (8,) * 4, "decoder_block_out_channels": (8,) * 4,
                 "layers_per_block": (1,) * 5, "decoder_layers_per_block": (1,) * 5, "patch_size": 1},
            ),
        ),
        {"max_sequence_length": 16},
    ),
    "hunyuan": (
        _spec(
            "HunyuanVideoPipeline",
            (
                "HunyuanVideoTransformer3DModel",
                {"in_channels": 4, "out_channels": 4, "num_attention_heads": 2, "attention_head_dim": 10, "num_layers": 2,
                 "num_single_layers": 2, "num_refiner_layers": 1, "patch_size": 1, "text_embed_dim": 16, "pooled_projection_dim": 8,
                 "rope_axes_dim": (2, 4, 4)},
            ),
            ("AutoencoderKLHunyuanVideo", {**_kl("HunyuanVideo"), "norm_num_groups": 4}),
            ("FlowMatchEulerDiscreteScheduler", {"shift": 7.0}),
            text=(
                _part("text_encoder", "LlamaModel", {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 4,
                      "num_hidden_layers": 1, "vocab_size": 64}, "transformers"),
                _part("text_encoder_2", "CLIPTextModel", {"hidden_size": 8, "intermediate_size": 32, "num_attention_heads": 4,
                      "num_hidden_layers": 1, "vocab_size": 64, "projection_dim": 8}, "transformers"),
            ),
        ),
        {"prompt": None, "prompt_embeds": (1, 8, 16), "prompt_attention_mask": (1, 8), "pooled_prompt_embeds": (1, 8)},
    ),
    "allegro": (
        _spec(
            "AllegroPipeline",
            (
                "AllegroTransformer3DModel",
                {"num_attention_heads": 2, "attention_head_dim": 12, "num_layers": 3, "cross_attention_dim": 24, "sample_width": 8,
                 "sample_height": 8, "sample_frames": 8, "caption_channels": 32},
            ),
            ("AutoencoderKLAllegro", {**_kl("Allegro")}),
            ("DDIMScheduler", {}),
        ),
        {"max_sequence_length": 16, "num_frames": 8},
    ),
    "latte": (
        _spec(
            "LattePipeline",
            (
                "LatteTransformer3DModel",
                {"sample_size": 8, "video_length": 4, "num_layers": 2, "patch_size": 2, "attention_head_dim": 8, "num_attention_heads": 3,
                 "caption_channels": 32, "in_channels": 4, "cross_attention_dim": 24, "out_channels": 8, "norm_type": "ada_norm_single",
                 "norm_elementwise_affine": False, "num_embeds_ada_norm": 1000},
            ),
            ("AutoencoderKL", {"block_out_channels": (32,), "norm_num_groups": 32}),
            ("DDIMScheduler", {}),
        ),
        {"num_frames": None, "video_length": 4},
    ),
    "skyreels": (
        _spec(
            "SkyReelsV2Pipeline",
            ("SkyReelsV2Transformer3DModel", _WAN),
            ("AutoencoderKLWan", _WAN_VAE),
            ("UniPCMultistepScheduler", {"flow_shift": 8.0, "use_flow_sigmas": True, "prediction_type": "flow_prediction"}),
        ),
        {"max_sequence_length": 16},
    ),
    "kandinsky": (
        _spec(
            "Kandinsky5T2VPipeline",
            (
                "Kandinsky5Transformer3DModel",
                {"in_visual_dim": 16, "in_text_dim": 32, "in_text_dim2": 16, "time_dim": 16, "out_visual_dim": 16, "model_dim": 16,
                 "ff_dim": 32, "num_text_blocks": 1, "num_visual_blocks": 3, "axes_dims": (1, 1, 2), "attention_type": "regular"},
            ),
            ("AutoencoderKLHunyuanVideo", {**_kl("HunyuanVideo"), "latent_channels": 16, "norm_num_groups": 4}),
            ("FlowMatchEulerDiscreteScheduler", {"shift": 5.0}),
            text=(_part("text_encoder_2", "CLIPTextModel", {"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2,
                        "num_hidden_layers": 1, "vocab_size": 64, "projection_dim": 16}, "transformers"),),
            # the language model that encodes prompts stays out: the call is given what it makes
        ),
        {"prompt": None, "prompt_embeds_qwen": (1, 8, 32), "prompt_embeds_clip": (1, 16), "prompt_cu_seqlens": (0, 8),
         "negative_prompt_embeds_qwen": (1, 8, 32), "negative_prompt_embeds_clip": (1, 16),
         "negative_prompt_cu_seqlens": (0, 8)},
    ),
}  # fmt: skip
"""Name -> (a row, arguments of its call beside the usual ones: a tuple stands for a tensor, None for no argument)."""


class Toy(Miniature):
    """A toy pipeline, real and weightless, in the place of the miniature of the contract; its frames are latents."""

    def __init__(self, name: str, **workload: Any) -> None:
        import torch

        self.spec, call = TOYS[name]
        draw = torch.Generator().manual_seed(1)
        given = {**_CALL, **call, **workload}
        self.workload = {
            key: _tensor(key, value, draw) if isinstance(value, tuple) else value
            for key, value in given.items()
            if value is not None
        }
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.pipe = self._assembled({part.name: construct(part).eval() for part in self.spec.components})
        self.pipe.set_progress_bar_config(disable=True)

    def _assembled(self, modules: dict[str, Any]) -> Any:
        # a text encoder that is not listed stays out: the call is given what it makes
        return assemble(self.spec, {"text_encoder": None, **modules})

    def weightless(self) -> Any:
        """A new weightless pipeline."""
        return self._assembled(
            {name: build_component(self.spec, name) for name in self.spec.component_names()}
        )

    def call_kwargs(self, settings: Settings, **more: Any) -> dict[str, Any]:
        """Arguments of one call; always the same noise, always up to the latents."""
        return super().call_kwargs(settings, **{**more, "output_type": "latent"})

    def frames(self, settings: Settings) -> np.ndarray:
        """The latents of the pipeline as it is now."""
        latents = self.pipe(**self.call_kwargs(settings), return_dict=False)[0]
        return np.asarray(latents.detach())


def _tensor(name: str, shape: tuple[int, ...], draw: Any) -> Any:
    """A prompt's embedding, its mask (all of it real), or where its texts begin."""
    import torch

    if name.endswith("mask"):
        return torch.ones(shape, dtype=torch.int64)
    if name.endswith("seqlens"):
        return torch.tensor(shape)
    return torch.randn(shape, generator=draw)
