"""Words as items of feature absorption: found in their prompts, grouped, split, and what was left out."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from saebench.data.held_out import held_out, listing, lowest
from saebench.data.tokens import Encoder, Located
from saebench.data.words import Hierarchy, Words
from saebench.data.words_file import from_disk
from saebench.data.words_lists import WordList, from_vocabulary
from saebench.errors import UserError

if TYPE_CHECKING:
    from saebench.data.prompt_specs import WordSpec
    from saebench.models import Subject

VOCABULARY = ("vocabulary", "saebench")


class _Item(NamedTuple):
    word: str
    group: str
    row: np.ndarray


def read_words(source: Any, spec: WordSpec, model: Subject, *, seed: int, offline: bool = False) -> Words:
    """Words in prompts with the groups they belong to.

    Each prompt is cut after its word's last token, which is found by the word's characters. A word's prompts
    depend on the seed and the word alone, the split on the seed and the names of the group's words.

    Args:
        source: `world[:HIERARCHY,...]`, `vocabulary` or `saebench`, or a file or folder.
        spec: Limits, templates and shares.
        model: Its tokenizer, BOS and longest context.
        seed: Of the examples and the split.
        offline: Nothing here needs a network.

    Raises:
        UserError: Unknown source or hierarchy, an unusable file, or fewer than two groups with enough words.
    """
    encoder = Encoder(model, prepend_bos=spec.prepend_bos)
    rows: list[np.ndarray] = []
    hierarchies = []
    for found in _lists(str(source), spec, encoder, seed):
        items, left_out = _items(found, spec, encoder, seed)
        hierarchies.append(_hierarchy(found, items, left_out, len(rows), spec, seed))
        rows += [item.row for item in items]
    return Words(tuple(rows), tuple(hierarchies), seed=seed, source=str(source))


def _lists(source: str, spec: WordSpec, encoder: Encoder, seed: int) -> list[WordList]:
    if source in VOCABULARY:
        return [from_vocabulary(spec, encoder, seed)]
    if source == "world" or source.startswith("world:"):
        from saebench.data.words_world import from_world

        names = [name.strip() for name in source.partition(":")[2].split(",") if name.strip()]
        return from_world(names, spec, encoder, seed)
    return from_disk(Path(source), spec)


def _items(found: WordList, spec: WordSpec, encoder: Encoder, seed: int) -> tuple[list[_Item], list[str]]:
    words = set(found.groups)
    if spec.words is not None:
        words = lowest(words, spec.words, seed, "word limit", found.name)
    passages = [(word, passage) for word in sorted(words) for passage in found.passages(word)]
    located = encoder.locate([passage for _, passage in passages])
    items: list[_Item] = []
    refused: dict[str, list[str]] = {}
    for (word, _), at in zip(passages, located, strict=True):
        reason = _refusal(at, spec, encoder)
        if reason or isinstance(at, str):
            refused.setdefault(reason, []).append(word)
        else:
            items.append(_Item(word, found.groups[word], at.ids[: at.last + 1]))
    unseen = words - {word for word, _ in passages}
    if unseen:
        refused["no text shows it"] = sorted(unseen)
    left_out = [*found.left_out]
    left_out += [f"{len(set(x))} words ({len(x)} prompts), {reason}: {listing(x)}" for reason, x in refused.items()]
    return _large_groups(items, left_out, spec, found)


def _refusal(at: Located | str, spec: WordSpec, encoder: Encoder) -> str:
    if isinstance(at, str):
        return at
    if spec.single_token and at.first != at.last:
        return "it is several tokens"
    if at.last + 1 > encoder.room:
        return f"its prompt is longer than the {encoder.room} tokens of the model's context: ask for fewer examples"
    return ""


def _large_groups(
    items: list[_Item], left_out: list[str], spec: WordSpec, found: WordList
) -> tuple[list[_Item], list[str]]:
    """The items of the groups that have enough words."""
    counts = Counter(group for group, _ in {(item.group, item.word) for item in items})
    for group in sorted(set(found.groups.values())):
        if counts[group] < spec.min_words:
            left_out.append(f"group {group!r}: {counts[group]} words, and {spec.min_words} are needed")
    kept = [item for item in items if counts[item.group] >= spec.min_words]
    if len({item.group for item in kept}) < 2:
        more = f" and {len(left_out) - 3} more" if len(left_out) > 3 else ""
        why = "; ".join(left_out[:3]) + more or "there is only one group"
        raise UserError(
            f"Hierarchy {found.name!r} has fewer than two groups of {spec.min_words} words that the model's "
            f"tokenizer finds ({why}): give more words, or lower min_words."
        )
    return sorted(kept, key=lambda item: (item.group, item.word)), left_out


def _hierarchy(
    found: WordList, items: list[_Item], left_out: list[str], start: int, spec: WordSpec, seed: int
) -> Hierarchy:
    groups = sorted({item.group for item in items})
    words = sorted({item.word for item in items})
    members: dict[str, set[str]] = {}
    for item in items:
        members.setdefault(item.group, set()).add(item.word)
    scored = {word for x in members.values() for word in held_out(x, spec.test_share, seed, "words", found.name)}
    group_number = {group: i for i, group in enumerate(groups)}
    word_number = {word: i for i, word in enumerate(words)}
    return Hierarchy(
        name=found.name,
        groups=tuple(groups),
        items=np.arange(start, start + len(items)),
        label=np.array([group_number[item.group] for item in items], dtype=np.int64),
        word=np.array([word_number[item.word] for item in items], dtype=np.int64),
        words=tuple(words),
        test=np.array([item.word in scored for item in items]),
        left_out=tuple(left_out),
    )
