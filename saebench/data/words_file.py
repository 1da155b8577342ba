"""A user's own hierarchies: tables with columns word, group and perhaps prompt."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from saebench.data.held_out import listing
from saebench.data.tables import read_table, single, table_files
from saebench.data.tokens import Passage
from saebench.data.words_lists import WordList
from saebench.errors import UserError

if TYPE_CHECKING:
    from saebench.data.prompt_specs import WordSpec


def from_disk(path: Path, spec: WordSpec) -> list[WordList]:
    """One hierarchy a file, named like the file.

    Raises:
        UserError: No file, no row, a missing column, or a prompt without {word}.
    """
    return [_hierarchy(file, spec) for file in table_files(path)]


def _hierarchy(file: Path, spec: WordSpec) -> WordList:
    groups: dict[str, set[str]] = {}
    prompts: dict[str, list[str]] = {}
    incomplete = 0
    for number, row in enumerate(read_table(file, ("word", "group")), 1):
        where = f"Row {number} of {str(file)!r}"
        word, group = (single(row, column, where).strip() for column in ("word", "group"))
        if not word or not group:
            incomplete += 1
            continue
        prompt = row.get("prompt")
        if prompt is not None and "{word}" not in str(prompt):
            raise UserError(f"{where} has a prompt without {{word}}: {str(prompt)!r}.")
        groups.setdefault(word, set()).add(group)
        prompts.setdefault(word, []).extend([str(prompt)] if prompt is not None else spec.prompts)
    torn = [word for word, found in groups.items() if len(found) > 1]
    left_out = [f"{incomplete} rows of {file.name}: no word or no group"] if incomplete else []
    if torn:
        left_out.append(f"{len(torn)} words in more than one group: {listing(torn)}")

    def passages(word: str) -> list[Passage]:
        parts = [prompt.partition("{word}") for prompt in sorted(set(prompts[word]))]
        return [Passage(before, word, after.replace("{word}", word)) for before, _, after in parts]

    whole = {word: next(iter(found)) for word, found in groups.items() if len(found) == 1}
    return WordList(file.stem, whole, passages, tuple(left_out))
