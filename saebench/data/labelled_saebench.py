"""The reference suite's labelled tasks: eight for sparse probing, two of them for TPP, eight pairs for SCR.

Where the reference draws rows with pandas and takes the first rows for SCR, texts are drawn here by a hash of seed
and text: the same for every SAE, machine and order. Texts that several datasets share are kept once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saebench.data import hub_data, hub_layout
from saebench.data.hub_data import HubFiles
from saebench.data.labelled_hub import (
    AMAZON,
    BIOS,
    CATEGORIES,
    CODE,
    EUROPARL,
    LANGUAGES,
    NEWS,
    PROFESSIONS,
    PROGRAMMING,
    TOPICS,
    files,
)
from saebench.data.labelled_split import Labelling, Row

if TYPE_CHECKING:
    from saebench.data.specs import LabelledSpec

_HEADER, _CONTEXT = 150, 384
"""Characters that are dropped from the front of a code file (its licence), and that must follow them."""


@dataclass(frozen=True)
class _Plan:
    """A labelling of one dataset: how its rows are read, and what is kept of them."""

    repo: str
    rows: Callable[[Path, int], Sequence[Row]]
    classes: tuple[str, ...]
    relabel: Callable[[Row], Row] = lambda row: row
    balanced: tuple[str, str] | None = None
    uses: tuple[str, ...] = ("probing",)
    pairs: tuple[tuple[str, str], ...] = ()


def _biographies(folder: Path, _: int) -> list[Row]:
    names = dict(enumerate(PROFESSIONS))
    gender = {"0": "male", "1": "female"}
    columns = ("hard_text", "profession", "gender")
    return [
        Row(str(text or ""), names.get(int(profession), ""), gender.get(_number(value), ""), part)
        for part, (text, profession, value) in _parted(folder, columns)
    ]


def _reviews(folder: Path, _: int) -> list[Row]:
    names = {**CATEGORIES, **{name: name for name in CATEGORIES.values()}}
    return [
        Row(str(text or ""), names.get(_number(category), "other"), f"{float(rating)}", part)
        for part, (text, category, rating) in _parted(folder, ("text", "category", "rating"))
    ]


def _news(folder: Path, _: int) -> list[Row]:
    names = {str(number): topic for number, topic in enumerate(TOPICS)}
    return [
        Row(str(text or ""), names.get(_number(label), ""), "", part)
        for part, (text, label) in _parted(folder, ("text", "label"))
    ]


def _code(folder: Path, count: int) -> list[Row]:
    found: dict[str, list[Row]] = {name: [] for name in PROGRAMMING}
    for file in sorted(folder.glob("data/train-00000-of-*")):
        for row in hub_layout.rows(file, ("content", "path")):
            code, language = str(row["content"] or ""), _language(str(row["path"]))
            members = found.get(language)
            if members is not None and len(members) <= count and len(code) > _HEADER + _CONTEXT:
                members.append(Row(code[_HEADER:], language))
            if all(len(members) > count for members in found.values()):
                break
    return [row for members in found.values() for row in members]


def _language(path: str) -> str:
    """The programming language of a file; "" where it is none of those that take part."""
    return next((name for name, endings in PROGRAMMING.items() if path.endswith(endings)), "")


def _parliament(folder: Path, count: int) -> list[Row]:
    return [
        Row(str(row["translation"].get(language) or ""), language)
        for language, pair in LANGUAGES.items()
        for file in sorted(folder.glob(f"{pair}/train-00000-of-*"))
        for row in hub_layout.rows(file, ("translation",), count + 1)
    ]


def _parted(folder: Path, columns: Sequence[str]) -> Iterator[tuple[str, tuple[Any, ...]]]:
    by_split = hub_layout.splits(folder)
    for part in ("train", "test"):
        for file in by_split.get(part, ()):
            for row in hub_layout.rows(file, columns):
                yield part, tuple(row[column] for column in columns)


def _number(value: Any) -> str:
    """A label as the dataset's number, whatever type it is stored in; names stay names."""
    text = str(value)
    return text[:-2] if text.endswith(".0") else text


def _by_rating(row: Row) -> Row:
    return Row(row.text, row.attribute, "", row.part)


def _plans() -> dict[str, _Plan]:
    sets = {1: (0, 1, 2, 6, 9), 2: (11, 13, 14, 18, 19), 3: (20, 21, 22, 25, 26)}
    classes = {number: tuple(PROFESSIONS[i] for i in members) for number, members in sets.items()}
    gender, stars = ("male", "female"), ("1.0", "5.0")
    both = ("probing", "tpp")
    return {
        "bias_in_bios_class_set1": _Plan(BIOS, _biographies, classes[1], balanced=gender, uses=both),
        "bias_in_bios_class_set2": _Plan(BIOS, _biographies, classes[2], balanced=gender),
        "bias_in_bios_class_set3": _Plan(BIOS, _biographies, classes[3], balanced=gender),
        "amazon_reviews": _Plan(AMAZON, _reviews, tuple(CATEGORIES.values())[:5], balanced=stars, uses=both),
        "amazon_reviews_sentiment": _Plan(AMAZON, _reviews, stars, _by_rating),
        "github-code": _Plan(CODE, _code, tuple(PROGRAMMING)),
        "ag_news": _Plan(NEWS, _news, TOPICS),
        "europarl": _Plan(EUROPARL, _parliament, tuple(LANGUAGES)),
        "bias_in_bios": _Plan(
            BIOS, _biographies, PROFESSIONS, balanced=gender, uses=(),
            pairs=(("professor", "nurse"), ("architect", "journalist"), ("surgeon", "psychologist"),
                   ("attorney", "teacher")),
        ),
        "amazon": _Plan(
            AMAZON, _reviews, tuple(CATEGORIES.values()), balanced=stars, uses=(),
            pairs=(("Books", "CDs_and_Vinyl"), ("Software", "Electronics"), ("Pet_Supplies", "Office_Products"),
                   ("Industrial_and_Scientific", "Toys_and_Games")),
        ),
    }  # fmt: skip


def task_names() -> tuple[str, ...]:
    """The datasets, and the two that are there for SCR's pairs alone."""
    return tuple(_plans())


def needed(names: Sequence[str]) -> tuple[HubFiles, ...]:
    """What these tasks read."""
    repos = {_plans()[name].repo for name in names}
    return tuple(each for each in files() if each.repo in repos)


def from_saebench(names: Sequence[str], spec: LabelledSpec, *, offline: bool = False) -> list[Labelling]:
    """The labellings of these tasks.

    Raises:
        UserError: A dataset cannot be had; the message says how to get it.
    """
    plans = _plans()
    folders = {each.repo: hub_data.download(each, offline=offline) for each in needed(names)}

    @cache
    def read(repo: str, rows: Callable[[Path, int], Sequence[Row]]) -> Sequence[Row]:
        return rows(folders[repo], spec.train + spec.test)

    return [_labelling(name, plans[name], read(plans[name].repo, plans[name].rows), spec) for name in names]


def _labelling(name: str, plan: _Plan, rows: Sequence[Row], spec: LabelledSpec) -> Labelling:
    pairs = plan.pairs if spec.pairs is None or not plan.pairs else tuple(spec.pairs)
    within = {c for pair in pairs for c in pair} if plan.pairs else {*plan.classes}
    return Labelling(
        name,
        [row for row in map(plan.relabel, rows) if row.label in within],
        plan.classes,
        uses=frozenset(plan.uses),
        balanced=plan.balanced is not None,
        attribute=plan.balanced,
        pairs=pairs,
        plain=bool(plan.uses),
    )
