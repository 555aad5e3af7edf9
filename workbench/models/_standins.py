"""What a generation needs and a weightless pipeline lacks: a tokenizer, an image processor, and the arguments of the call.

None of them reads a file. They give tensors of the shapes and dtypes that the real ones give; the values mean nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from transformers import BatchFeature

from workbench.models._spec import ModelSpec
from workbench.models._workload import Workload

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

NUM_PROMPT_TOKENS = 32
"""Real (not padding) tokens of every stand-in prompt. Wan pads prompts to a fixed length, so this changes no tensor that lasts."""

PROMPT = (
    "A red fox runs through fresh snow at sunrise, low camera, the light catches the snow that it throws up."
)
NEGATIVE_PROMPT = "overexposed, static, blurred details, subtitles, worst quality, deformed"


class TokenizerBatch:
    """What a tokenizer call returns, as far as the pipelines look at it."""

    def __init__(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> None:
        self.input_ids = input_ids
        """[prompts, max_length], int64, on the CPU."""
        self.attention_mask = attention_mask
        """The same shape and dtype: 1 for a real token, 0 for padding."""


class StandInTokenizer:
    """Answers a tokenizer call with `NUM_PROMPT_TOKENS` tokens per prompt and padding, whatever the text.

    On the CPU, as real tokenizers answer: the pipelines read the mask's values to cut the padding off.
    """

    def __call__(
        self,
        text: str | list[str],
        *,
        padding: str = "max_length",
        max_length: int,
        truncation: bool = True,
        add_special_tokens: bool = True,
        return_attention_mask: bool = True,
        return_tensors: str = "pt",
    ) -> TokenizerBatch:
        assert padding == "max_length" and truncation and return_tensors == "pt", (
            "the pipelines pad and truncate"
        )
        rows = 1 if isinstance(text, str) else len(text)
        mask = torch.zeros(rows, max_length, dtype=torch.int64)
        mask[:, :NUM_PROMPT_TOKENS] = 1
        return TokenizerBatch(input_ids=mask.clone(), attention_mask=mask)


class StandInImageProcessor:
    """Answers an image processor call with black pixels of the size that the image encoder reads."""

    def __init__(self, image_size: int) -> None:
        self.image_size = image_size
        """Pixels, of both sides."""

    def __call__(self, images: object, *, return_tensors: str = "pt") -> BatchFeature:
        count = len(images) if isinstance(images, (list, tuple)) else 1
        return BatchFeature({"pixel_values": torch.zeros(count, 3, self.image_size, self.image_size)})


def call_kwargs(spec: ModelSpec, workload: Workload, pipe: DiffusionPipeline) -> dict[str, Any]:
    """Arguments with which `pipe(**kwargs)` makes this workload, with stand-ins for prompt and image.

    `output_type` is `"pt"`: the default, `"np"`, copies the frames out of the tensor, which a tensor without data refuses.
    Up to that copy both do the same, except that `"pt"` gathers the batch on the device where `"np"` gathers it in host RAM.
    Image-to-video gets `batch` prompts instead of `num_videos_per_prompt`: `WanImageToVideoPipeline` does not repeat the
    image embeddings per video (diffusers 0.42), so that its transformer refuses the latter.
    """
    kwargs: dict[str, Any] = {
        "prompt": PROMPT,
        "negative_prompt": NEGATIVE_PROMPT,
        "height": workload.height,
        "width": workload.width,
        "num_frames": workload.frames,
        "num_inference_steps": workload.steps,
        "guidance_scale": workload.guidance,
        "max_sequence_length": spec.text_tokens,
        "output_type": "pt",
    }
    config: Mapping[str, Any] = pipe.config
    if config.get("boundary_ratio") is not None:
        kwargs["guidance_scale_2"] = workload.guidance_2
    if spec.task == "i2v":
        kwargs["image"] = Image.new("RGB", (workload.width, workload.height))
        kwargs["prompt"] = [PROMPT] * workload.batch
        kwargs["negative_prompt"] = [NEGATIVE_PROMPT] * workload.batch
    elif workload.batch > 1:
        kwargs["num_videos_per_prompt"] = workload.batch
    return kwargs
