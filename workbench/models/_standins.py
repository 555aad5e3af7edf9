"""What a generation needs and a weightless pipeline lacks: tokenizers, image processors, a safety checker.

None of them reads a file. They give tensors of the shapes and dtypes that the real ones give; the values mean nothing.
`stand_in` makes the one for a member of a pipeline by the pipeline's own name for it.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping
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


_SPECIAL = re.compile(r"<\|[^|<>]*\|>|<\w+>")
_TOKEN = re.compile(rf"{_SPECIAL.pattern}|\w+|[^\w\s]|\n+")
_IMAGE = re.compile(r"<\|?image(_pad|_soft_token)?\|?>")
_WORD = "a"


def tokens_of(text: str) -> list[str]:
    """Tokens of a text: `NUM_PROMPT_TOKENS` for a prompt, and one for each word, mark and special token of a template around it.

    Pipelines cut a template off by its known length and look for special tokens in it, so it has to have about that length: this counts
    131 tokens before the prompt in Kandinsky 5's template, whose pipeline cuts 128, 93 of 95 in HunyuanVideo's, 101 of 103 in its
    image-to-video one and 34 of 34 in Qwen-Image's.
    """
    for prompt in (PROMPT, NEGATIVE_PROMPT):
        before, found, after = text.partition(prompt)
        if found:
            return [*_TOKEN.findall(before), *[_WORD] * NUM_PROMPT_TOKENS, *_TOKEN.findall(after)]
    tokens = _TOKEN.findall(text)
    return tokens + [_WORD] * (NUM_PROMPT_TOKENS - len(tokens))


class StandInTokenizer:
    """Answers like a tokenizer, a processor or a chat template, with the tokens that `tokens_of` finds.

    On the CPU, as real tokenizers answer: the pipelines read the mask's values to cut the padding off. Ids are 1, padding is 0, special
    tokens count from 2, so that the smallest vocabulary has them; padding and images have the ids that the text encoder expects.
    """

    model_max_length = MAX_TOKENS
    eos_token_id = 1
    bos_token_id = 1
    pad_token = "<pad>"
    eos_token = "<eos>"
    padding_side = "right"
    added_tokens_encoder: Mapping[str, int] = MappingProxyType({})

    def __init__(self, encoder_config: object = None) -> None:
        pad: int | None = getattr(encoder_config, "pad_token_id", None)
        self.pad_token_id = 0 if pad is None else pad
        self.image_token_id: int | None = getattr(encoder_config, "image_token_id", None)
        self._special: dict[str, int] = {}

    def __call__(self, text: str | list[str] | None = None, **options: Any) -> BatchFeature:
        """Token ids and mask, [prompts, length], int64: padded to `max_length` when asked to, else as long as the longest prompt."""
        texts = [text or ""] if text is None or isinstance(text, str) else list(text)
        padded = options.get("padding") == "max_length"
        limit: int | None = options.get("max_length") or (self.model_max_length if padded else None)
        rows = [self._ids(item)[:limit] for item in texts]
        length = limit if padded and limit else max(map(len, rows))
        ids = torch.full((len(rows), length), self.pad_token_id, dtype=torch.int64)
        mask = torch.zeros(len(rows), length, dtype=torch.int64)
        on_the_left = options.get("padding_side", self.padding_side) == "left"
        for row, tokens in enumerate(rows):
            start = length - len(tokens) if on_the_left else 0
            ids[row, start : start + len(tokens)] = torch.tensor(tokens, dtype=torch.int64)
            mask[row, start : start + len(tokens)] = 1
        return BatchFeature({"input_ids": ids, "attention_mask": mask})

    def _ids(self, text: str) -> list[int]:
        return [self._id(token) for token in tokens_of(text)]

    def _id(self, token: str) -> int:
        if self.image_token_id is not None and _IMAGE.fullmatch(token):
            return self.image_token_id
        if _SPECIAL.fullmatch(token):
            return self._special.setdefault(token, 2 + len(self._special))
        return 1

    def encode(self, text: str, **options: Any) -> list[int]:
        """Ids of one text; pipelines count them."""
        return self._ids(text)

    def apply_chat_template(self, conversation: Any, *, tokenize: bool = True, **options: Any) -> Any:
        """One text per conversation, or its tokens: tensors if asked for, otherwise a list of ids."""
        batched = bool(conversation) and isinstance(conversation[0], list)
        texts = [_rendered(item) for item in conversation] if batched else _rendered(conversation)
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
        """The tokens of the text."""
        return tokens_of(text)

    def convert_tokens_to_ids(self, tokens: str | list[str]) -> int | list[int]:
        """The ids of tokens, special ones or any other."""
        return self._id(tokens) if isinstance(tokens, str) else [self._id(token) for token in tokens]


def _rendered(conversation: Any) -> str:
    """A conversation as one text, in the form of most chat templates."""
    return "".join(
        f"<|im_start|>{message.get('role', '')}\n{_said(message.get('content', ''))}<|im_end|>\n"
        for message in conversation
    )


def _said(content: Any) -> str:
    """The text of a message, which is text or a list of parts; a picture or a video in it is a special token."""
    if isinstance(content, str):
        return content
    return "".join(str(part.get("text", f"<{part.get('type', 'text')}>")) for part in content)


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


class StandInTransforms:
    """The part of `torchvision.transforms` that networks of diffusers use: they resize a mask on the way in, and have no other way.

    torchvision brings another build of torch, so the workbench does without it; where it is installed it is used.
    """

    class InterpolationMode:
        """Names of kinds of interpolation, as torchvision's."""

        NEAREST = "nearest"

    class functional:
        """The functions, as torchvision's module of that name."""

        @staticmethod
        def resize(image: torch.Tensor, size: list[int], interpolation: str) -> torch.Tensor:
            """[..., height, width] at another size; half precision is computed in fp32, as torchvision does."""
            exact = image if image.dtype in (torch.float32, torch.float64) else image.float()
            return torch.nn.functional.interpolate(exact, size=size, mode=interpolation).to(image.dtype)


def lend_transforms(modules: Iterable[object]) -> None:
    """Gives the Python modules of these networks `transforms` if they take it from torchvision and torchvision is not installed."""
    for module in modules:
        home = vars(sys.modules[type(module).__module__])
        is_installed = home.get("is_torchvision_available")
        if is_installed is not None and not is_installed():
            home.setdefault("transforms", StandInTransforms)


def stand_in(member: str, image_size: int | None = None, encoder_config: object = None) -> object | None:
    """The stand-in for a member of a pipeline that is not a network; None if pipelines do without it.

    Args:
        member: the parameter of the pipeline class, `"tokenizer_2"`.
        image_size: pixels per side that the pipeline's image encoder reads.
        encoder_config: configuration of the text encoder that reads a tokenizer's tokens.
    """
    if member.startswith("tokenizer"):
        return StandInTokenizer(encoder_config)
    if member in ("image_processor", "feature_extractor"):
        return StandInImageProcessor(image_size or IMAGE_SIZE)
    if member == "safety_checker":
        return StandInSafetyChecker()
    return None
