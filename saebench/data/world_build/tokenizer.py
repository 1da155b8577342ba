"""The word-level tokenizer of the world, in Hugging Face format."""

from __future__ import annotations

from pathlib import Path

from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from saebench.data import world


def build_tokenizer() -> PreTrainedTokenizerFast:
    """One token a word, <bos> first; text is words joined by single spaces."""
    ids = {word: i for i, word in enumerate(world.vocabulary())}
    tokenizer = Tokenizer(WordLevel(ids, unk_token="<unk>"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    tokenizer.post_processor = TemplateProcessing(
        single="<bos> $A", pair="<bos> $A <bos> $B", special_tokens=[("<bos>", ids["<bos>"])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<bos>",
        eos_token="<eos>",
        pad_token="<pad>",
        unk_token="<unk>",
        model_max_length=world.MAX_TOKENS,
        clean_up_tokenization_spaces=False,
        padding_side="right",
    )


def save_tokenizer(folder: Path) -> None:
    """Write tokenizer.json and its configuration."""
    build_tokenizer().save_pretrained(str(folder))
