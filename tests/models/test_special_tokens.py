"""Tokens of a stand-in where pipelines look for them: special ones in their places, with the ids that the encoder knows."""

from __future__ import annotations

from types import SimpleNamespace

import torch

from workbench.models._call import PROMPT
from workbench.models._standins import NUM_PROMPT_TOKENS, StandInTokenizer, tokens_of

TEMPLATE = "<|start|>system<|end|>\n\n<image>\nDescribe it:<|eot|><|start|>user<|end|>\n\n{}<|eot|>"


def test_special_tokens_are_one_token_each_and_a_prompt_has_its_number() -> None:
    tokens = tokens_of(TEMPLATE.format(PROMPT))
    assert [token for token in tokens if token.startswith("<")] == [
        "<|start|>",
        "<|end|>",
        "<image>",
        "<|eot|>",
        "<|start|>",
        "<|end|>",
        "<|eot|>",
    ]
    assert (
        len(tokens) == 15 + NUM_PROMPT_TOKENS
    )  # 7 special ones, 4 words, a colon and 3 line breaks around the prompt
    assert len(tokens_of("any text")) == NUM_PROMPT_TOKENS


def test_ids_are_the_encoders_own_for_images_and_padding() -> None:
    tokenizer = StandInTokenizer(SimpleNamespace(image_token_id=510, pad_token_id=511))
    tokens = tokenizer(TEMPLATE.format(PROMPT), padding="max_length", max_length=80)
    ids, mask = tokens.input_ids[0], tokens.attention_mask[0]
    assert (ids == 510).sum() == 1
    assert torch.equal(ids != 511, mask.bool())
    ends = (ids == tokenizer.convert_tokens_to_ids("<|end|>")).nonzero().flatten().tolist()
    assert len(ends) == 2
    assert ids[ends[0] - 1] == 1  # "system"
    assert StandInTokenizer().pad_token_id == 0


def test_a_conversation_becomes_a_text_with_its_messages_marked() -> None:
    said = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "image"}, {"text": PROMPT}]},
    ]
    text = StandInTokenizer().apply_chat_template(said, tokenize=False)
    assert tokens_of(text).count("<|im_start|>") == 2
    assert "<image>" in text and PROMPT in text
    rows = StandInTokenizer().apply_chat_template(
        [said, said], padding="max_length", max_length=90, return_dict=True, return_tensors="pt"
    )
    assert rows.input_ids.shape == (2, 90)
