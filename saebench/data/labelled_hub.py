"""The reference suite's labelled datasets on the hub: where they are, which version, and what their numbers mean.

`REVISIONS` is the one place where versions are pinned. A dataset with None there is taken from `main`, because its
full commit hash could not be confirmed.
"""

from __future__ import annotations

from collections.abc import Mapping

from saebench.data.hub_data import HubFiles

BIOS, AMAZON = "LabHC/bias_in_bios", "canrager/amazon_reviews_mcauley_1and5"
NEWS, CODE, EUROPARL = "fancyzhx/ag_news", "codeparrot/github-code", "Helsinki-NLP/europarl"
REVISIONS: Mapping[str, str | None] = {
    BIOS: "052f01de644dba841176e0449528b41f27d94a61",
    AMAZON: None,
    NEWS: "eb185aade064a813bc0b7f42de02595523103ca4",
    CODE: None,
    EUROPARL: "ab45e286aef3fb5780067100cb5a1132b52b7949",
}
"""Commit of each dataset; None is `main`."""

_BOTH = ("data/train-*.parquet", "data/test-*.parquet")
LANGUAGES: Mapping[str, str] = {"en": "en-fr", "fr": "fr-it", "de": "de-en", "es": "es-fr", "nl": "nl-pt"}
"""Language pair from which each language is taken."""
PROGRAMMING: Mapping[str, tuple[str, ...]] = {
    "C": (".c", ".h"),
    "Python": (".py",),
    "HTML": (".html",),
    "Java": (".java",),
    "PHP": (".php", ".php3", ".php4", ".php5", ".phps", ".phpt"),
}
"""Programming languages by the endings of a file's path, as the dataset's card has them."""
TOPICS = ("World", "Sports", "Business", "Sci-Tech")
"""Of the news, by their numbers in the dataset."""
PROFESSIONS: tuple[str, ...] = (
    "accountant", "architect", "attorney", "chiropractor", "comedian", "composer", "dentist", "dietitian", "dj",
    "filmmaker", "interior_designer", "journalist", "model", "nurse", "painter", "paralegal", "pastor",
    "personal_trainer", "photographer", "physician", "poet", "professor", "psychologist", "rapper",
    "software_engineer", "surgeon", "teacher", "yoga_teacher",
)  # fmt: skip
"""By their numbers in the dataset."""
CATEGORIES: Mapping[str, str] = {
    "1": "Toys_and_Games", "2": "Cell_Phones_and_Accessories", "3": "Industrial_and_Scientific",
    "5": "Musical_Instruments", "6": "Electronics", "11": "Office_Products", "18": "Pet_Supplies", "24": "Books",
    "26": "CDs_and_Vinyl", "30": "Software",
}  # fmt: skip
"""The categories that take part, by their numbers in the dataset."""


def files() -> tuple[HubFiles, ...]:
    """What is read of each dataset: one shard of the code, the first shard of five language pairs, all reviews."""
    of = REVISIONS
    return (
        HubFiles(BIOS, _BOTH, of[BIOS]),
        HubFiles(AMAZON, (), of[AMAZON]),
        HubFiles(NEWS, _BOTH, of[NEWS]),
        HubFiles(CODE, ("data/train-00000-of-01126.parquet",), of[CODE]),
        HubFiles(EUROPARL, tuple(f"{pair}/train-00000-of-*.parquet" for pair in LANGUAGES.values()), of[EUROPARL]),
    )
