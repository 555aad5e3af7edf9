"""A small tokenizer for the miniature, built from the words below: nothing is downloaded, and nothing was trained.

Common words are one token; any other word is spelled in letters, so that every prompt in English letters has tokens of its own.
It behaves as Wan's (google/umt5-xxl): `<pad>` is 0, `</s>` is 1 and ends every prompt, `<unk>` is 2.
"""

from __future__ import annotations

import string
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

PAD, END, UNKNOWN = "<pad>", "</s>", "<unk>"

_WORDS = """
a an the and or of in on at to from with without by for over under through into near behind above below between
is are was be it its this that one two three four five many few no not very more most
man woman child girl boy people person cat dog fox horse bird fish bear rabbit bee
city street road house room kitchen garden forest tree flower grass field mountain river lake sea ocean beach island
sky cloud sun moon star rain snow wind fire water light shadow night day morning evening sunrise sunset winter summer
car train boat ship plane bicycle ball cube circle square triangle ring
red green blue yellow orange purple pink white black gray brown gold silver
big small large tiny tall short long round bright dark soft sharp slow fast quiet warm cold old new young
run runs walk walks move moves fly flies swim swims jump jumps fall falls rise rises turn turns roll rolls bounce bounces
stand stands sit sits look looks play plays dance dances eat eats hold holds open opens
left right up down forward back away around across along
video frame scene camera shot view close wide slowly quickly low high quality detailed cinematic style
static blurred overexposed worst deformed subtitles
still grows shrinks pans while then behind bar
"""


def tiny_tokenizer(max_length: int) -> PreTrainedTokenizerFast:
    """The tokenizer, a real transformers one that `save_pretrained` and `from_pretrained` handle.

    Args:
        max_length: tokens to which `padding="max_length"` pads when the caller gives no length.
    """
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.WordPiece(vocabulary(), unk_token=UNKNOWN, max_input_chars_per_word=64))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKD(), normalizers.StripAccents(), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"$A {END}", special_tokens=[(END, vocabulary()[END])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=END,
        unk_token=UNKNOWN,
        model_max_length=max_length,
        padding_side="right",
    )


def vocabulary() -> dict[str, int]:
    """Token to number: the special tokens, the words, and every letter, digit and mark at the start of a word and within one."""
    characters = string.ascii_lowercase + string.digits
    pieces = [PAD, END, UNKNOWN, *_WORDS.split(), *characters, *string.punctuation]
    pieces += [f"##{character}" for character in characters]
    return {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}
