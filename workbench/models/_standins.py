"""What a generation needs and a weightless pipeline lacks: tokenizers, image processors, a safety checker.

None of them reads a file. They give tensors of the shapes and dtypes that the real ones give; the values mean nothing.
`stand_in` makes the one for a member of a pipeline by the pipeline's own name for it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import torch
from transformers import BatchFeature

from workbench.models._call import NEGATIVE_PROMPT, PROMPT

NUM_PROMPT_TOKENS = 32
"""Real (not padding) tokens of every stand-in prompt. Pipelines that pad prompts to a fixed length do not see it; for one that cuts
the padding off, a prompt of this length is what is planned for."""

MAX_TOKENS = 77
"""Length limit of a tokenizer that is asked for its own: CLIP's, the only one that pipelines ask (`model_max_length`)."""

IMAGE_SIZE = 224
"""Pixels per side that an image processor makes when no image encoder says otherwise."""


_TOKEN = re.compile(r"<\|[^|<>]*\|>|\w+|[^\w\s]|\n+")


def num_tokens(text: str) -> int:
    """Tokens of a text: `NUM_PROMPT_TOKENS` for a prompt, and one for each word and mark of a template around it.

    Pipelines cut the template off by its known length, so it has to have about that length: this counts 131 tokens before the prompt in
    Kandinsky 5's template, whose pipeline cuts 128, 93 of 95 in HunyuanVideo's and 34 of 34 in Qwen-Image's.
    """
    for prompt in (PROMPT, NEGATIVE_PROMPT):
        if prompt in text:
            return NUM_PROMPT_TOKENS + len(_TOKEN.findall(text.replace(prompt, "")))
    return max(NUM_PROMPT_TOKENS, len(_TOKEN.findall(text)))


class StandInTokenizer:
    """Answers like a tokenizer, a processor or a chat template, with `num_tokens` of each text.

    On the CPU, as real tokenizers answer: the pipelines read the mask's values to cut the padding off. Ids are 1, padding is 0, so that
    the smallest vocabulary has them.
    """

    model_max_length = MAX_TOKENS
    pad_token_id = 0
    eos_token_id = 1
    bos_token_id = 1
    pad_token = "<pad>"
    eos_token = "<eos>"
    padding_side = "right"
    added_tokens_encoder: Mapping[str, int] = MappingProxyType({})

    def __call__(self, text: str | list[str] | None = None, **options: Any) -> BatchFeature:
        """Token ids and mask, [texts, length], int64: padded to `max_length` when asked to, else as long as the longest text."""
        texts = [text or ""] if text is None or isinstance(text, str) else text
        padded = options.get("padding") == "max_length"
        limit = options.get("max_length") or (self.model_max_length if padded else None)
        counts = [num_tokens(one) if limit is None else min(num_tokens(one), limit) for one in texts]
        length = limit if limit is not None and padded else max(counts)
        mask = torch.zeros(len(texts), length, dtype=torch.int64)
        for row, count in zip(mask, counts, strict=True):
            if options.get("padding_side", self.padding_side) == "left":
                row[length - count :] = 1
            else:
                row[:count] = 1
        return BatchFeature({"input_ids": mask.clone(), "attention_mask": mask})

    def encode(self, text: str, **options: Any) -> list[int]:
        """Ids of one text; pipelines count them."""
        return [1] * num_tokens(text)

    def apply_chat_template(self, conversation: Any, *, tokenize: bool = True, **options: Any) -> Any:
        """One text per conversation, or its tokens: tensors if asked for, otherwise a list of ids."""
        batched = bool(conversation) and isinstance(conversation[0], list)
        texts = list(map(_as_text, conversation)) if batched else _as_text(conversation)
        if not tokenize:
            return texts
        tokens = self(texts, **options)
        if options.get("return_dict"):
            return tokens
        ids = tokens["input_ids"]
        if options.get("return_tensors") is not None:
            return ids
        return ids.tolist() if batched else ids[0].tolist()

    def batch_decode(self, ids: Any, **options: Any) -> list[str]:
        """No text per row."""
        return [""] * len(ids)

    def decode(self, ids: Any, **options: Any) -> str:
        """No text."""
        return ""

    def tokenize(self, text: str, **options: Any) -> list[str]:
        """As many tokens as the text has."""
        return ["a"] * num_tokens(text)

    def convert_tokens_to_ids(self, tokens: str | list[str]) -> int | list[int]:
        """The id of every real token."""
        return 1 if isinstance(tokens, str) else [1] * len(tokens)


def _as_text(conversation: Any) -> str:
    """A conversation as one text, in the form of most chat templates."""
    return "".join(
        f"<|im_start|>{message.get('role', '')}\n{_said(message.get('content', ''))}<|im_end|>\n"
        for message in conversation
    )


def _said(content: Any) -> str:
    """The text of a message, which is text or a list of parts; pictures and videos in it say nothing."""
    if isinstance(content, str):
        return content
    return "".join(str(part.get("text", "")) for part in content)


class StandInImageProcessor:
    """Answers an image processor call with black pixels of the size that the image encoder reads."""

    size: Mapping[str, int]
    crop_size: Mapping[str, int]

    def __init__(self, image_size: int) -> None:
        self.image_size = image_size
        """Pixels, of both sides."""
        self.size = self.crop_size = {"height": image_size, "width": image_size}

    def __call__(self, images: object = None, **options: Any) -> BatchFeature:
        """`pixel_values` [images, 3, image_size, image_size], fp32."""
        count = len(images) if isinstance(images, (list, tuple, torch.Tensor)) else 1
        return BatchFeature({"pixel_values": torch.zeros(count, 3, self.image_size, self.image_size)})

    def preprocess(self, images: object = None, **options: Any) -> BatchFeature:
        """The same."""
        return self(images, **options)


class StandInSafetyChecker:
    """Finds everything safe. The real ones are networks of another package, which the workbench does not count."""

    def to(self, *args: Any, **options: Any) -> StandInSafetyChecker:
        """Itself."""
        return self

    def check_text_safety(self, prompt: str) -> bool:
        """Safe."""
        return True

    def check_video_safety(self, frames: Any) -> Any:
        """The frames as they are."""
        return frames


def stand_in(member: str, image_size: int | None = None) -> object | None:
    """The stand-in for a member of a pipeline that is not a network; None if pipelines do without it.

    Args:
        member: the parameter of the pipeline class, `"tokenizer_2"`.
        image_size: pixels per side that the pipeline's image encoder reads.
    """
    if member.startswith("tokenizer"):
        return StandInTokenizer()
    if member in ("image_processor", "feature_extractor"):
        return StandInImageProcessor(image_size or IMAGE_SIZE)
    if member == "safety_checker":
        return StandInSafetyChecker()
    return None
