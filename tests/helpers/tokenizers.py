"""Small real tokenizers, and a subject that has one and no weights."""

from __future__ import annotations

import string
from collections.abc import Iterable
from functools import cache
from types import SimpleNamespace
from typing import Any

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from saebench.data import world

SPECIAL = ["<pad>", "<bos>", "<eos>", "<unk>"]
WORDS = (
    "apple amber anchor arrow atlas acorn bread basket button branch bottle banner cactus candle carpet castle copper "
    "cotton paris berlin france germany europe asia tokyo japan city country continent"
)


def word_level(words: Iterable[str], *, bos: bool = True) -> PreTrainedTokenizerFast:
    """One token a word between spaces; others are <unk>."""
    inner = Tokenizer(models.WordLevel({w: i for i, w in enumerate([*SPECIAL, *words])}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return _wrapped(inner, bos, unk_token="<unk>")


@cache
def byte_level(vocabulary: int = 420, *, bos: bool = True) -> PreTrainedTokenizerFast:
    """Byte-level BPE, as in GPT-2, trained on a few lines: some words are one token, most are several."""
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=SPECIAL, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )  # fmt: skip
    inner.train_from_iterator(_lines(), trainer)
    return _wrapped(inner, bos)


@cache
def sentence_piece(vocabulary: int = 280) -> PreTrainedTokenizerFast:
    """BPE with ▁ for the space and one in front of every text, as in Llama and Gemma."""
    inner = Tokenizer(models.BPE(unk_token="<unk>"))
    inner.normalizer = normalizers.Replace(" ", "▁")
    inner.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    inner.decoder = decoders.Metaspace()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=SPECIAL, initial_alphabet=[*string.printable, "▁"], show_progress=False
    )
    inner.train_from_iterator(_lines(), trainer)
    return _wrapped(inner, True, unk_token="<unk>")


@cache
def byte_fallback(kind: str) -> PreTrainedTokenizerFast:
    """`bpe` as in Llama 2 or `unigram` as in T5 and XGLM: what is not in the vocabulary is a token for each byte."""
    known = [*SPECIAL, *(f"<0x{i:02X}>" for i in range(256)), "▁", *"tehca今", "▁t", "he", "▁the"]
    if kind == "bpe":
        merges = [("▁", "t"), ("h", "e"), ("▁t", "he")]
        numbers = {token: i for i, token in enumerate(known)}
        inner = Tokenizer(models.BPE(numbers, merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True))
        inner.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    else:
        scored = [(token, -float(i)) for i, token in enumerate(known)]
        inner = Tokenizer(models.Unigram(scored, unk_id=SPECIAL.index("<unk>"), byte_fallback=True))
        inner.pre_tokenizer = pre_tokenizers.Metaspace()
    inner.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return _wrapped(inner, True, unk_token="<unk>")


@cache
def word_piece(vocabulary: int = 160) -> PreTrainedTokenizerFast:
    """Pieces of words, the later ones with ## in front, as in BERT; Chinese characters are words of their own."""
    inner = Tokenizer(models.WordPiece(unk_token="<unk>"))
    inner.normalizer = normalizers.BertNormalizer(lowercase=False)
    inner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    inner.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocabulary, special_tokens=SPECIAL, initial_alphabet=[*string.printable, *"今天气很好"]
    )
    inner.train_from_iterator(_lines(), trainer)
    return _wrapped(inner, False, unk_token="<unk>")


@cache
def world_tokenizer() -> Any:
    """The tokenizer of the world's model."""
    return AutoTokenizer.from_pretrained(str(world.MODEL_DIR))


def subject(tokenizer: Any, *, context: int | None = None, name: str = "tiny") -> Any:
    """What a reader of prompts needs of a model."""
    return SimpleNamespace(
        tokenizer=tokenizer,
        name=name,
        bos_id=None if tokenizer is None else tokenizer.bos_token_id,
        special_ids=frozenset() if tokenizer is None else frozenset(tokenizer.all_special_ids),
        vocab_size=8 if tokenizer is None else len(tokenizer.get_vocab()),
        max_context=context,
    )


class NoOffsets:
    """A tokenizer that gives ids alone, as those written in Python do."""

    is_fast = False

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def __call__(self, texts: list[str], **settings: Any) -> Any:
        assert "return_offsets_mapping" not in settings
        return self._inner(texts, **settings)


def _lines() -> list[str]:
    lines = [f"{word} has the first letter: {word[0].upper()}\n {word}" for word in WORDS.split()]
    return [*lines * 3, "The country of Paris is France. A. Paris B. Berlin\nAnswer: A"] * 2


def _wrapped(inner: Tokenizer, bos: bool, **more: str) -> PreTrainedTokenizerFast:
    special = {"pad_token": "<pad>", "eos_token": "<eos>", **more}
    return PreTrainedTokenizerFast(tokenizer_object=inner, **special, **({"bos_token": "<bos>"} if bos else {}))
