"""Questions from tables, folders in the layout of the hub, and the hub."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from saebench import hub
from saebench.data.questions_raw import LETTERS, Asked, Phrases, Question
from saebench.data.tables import read_table, table_files
from saebench.errors import UserError, nearest

FORGET = "wmdp-bio"
WMDP, MMLU = "cais/wmdp", "cais/mmlu"
REVISIONS: Mapping[str, str] = {
    WMDP: "7125571f22f032c56415e7980f48d877dd830ff8",
    MMLU: "c30699e8356da336a370243923dbaf21066bb9fe",
}
"""Commit of each dataset."""
SUBJECTS = ("high_school_us_history", "college_computer_science", "high_school_geography", "human_aging")
"""MMLU subjects that the reference suite wants retained."""


def sets() -> tuple[tuple[str, str], ...]:
    """Dataset and configuration of what the reference suite asks."""
    return (WMDP, FORGET), *((MMLU, subject) for subject in SUBJECTS)


def phrases(header: str) -> Phrases:
    """The usual form of MMLU: a header, the question, one line an option."""
    return Phrases(header, "\n{letter}. {option}", "\nAnswer:", "\nAnswer in full:")


def from_disk(path: Path, header: str, split: str) -> Asked:
    """Questions from a table or a folder.

    The domain is the column `subject` or `domain`, else the name of the file, or of its folder where the file
    is named after a split as on the hub.

    Raises:
        UserError: Nothing there, a missing column, or an answer that is no option.
    """
    files = table_files(path)
    chosen = [f for f in files if path.is_dir() and f.stem.split("-")[0] == split]
    questions = [question for file in chosen or files for question in _from_table(file, file in chosen)]
    forget = tuple(sorted({q.domain for q in questions if q.domain.startswith("wmdp")}))
    return Asked(tuple(questions), phrases(header), forget)


def from_hub(header: str, split: str, offline: bool) -> Asked:
    """WMDP-bio and the MMLU subjects of the reference suite.

    Raises:
        UserError: They cannot be read.
    """
    import datasets

    questions: list[Question] = []
    how = datasets.DownloadConfig(local_files_only=offline)
    for repo, config in sets():
        try:
            with hub.asking(offline=offline):
                found = datasets.load_dataset(repo, config, split=split, revision=REVISIONS[repo], download_config=how)
        except hub.failures() as error:
            why = hub.reason(error, offline=offline)
            raise UserError(
                f"Questions 'hf:{repo}' ({config}) cannot be read from the hub: {why} Download them elsewhere and "
                f"pass a folder that holds {config}/{split}-*.parquet."
            ) from error
        rows: Iterable[Any] = found
        questions += [_question(dict(row), config, f"hf:{repo} ({config}), row {i}") for i, row in enumerate(rows, 1)]
    return Asked(tuple(questions), phrases(header), (FORGET,))


def _from_table(file: Path, in_layout: bool) -> Iterable[Question]:
    home = file.parent.name if in_layout else file.stem
    for number, row in enumerate(read_table(file, ("question", "answer")), 1):
        domain = str(row.get("subject") or row.get("domain") or home)
        yield _question(row, domain, f"Row {number} of {str(file)!r}")


def _question(row: Mapping[str, Any], domain: str, where: str) -> Question:
    options = _options(row, where)
    if "question" not in row or "answer" not in row:
        raise UserError(f"{where} has no {'answer' if 'question' in row else 'question'}.")
    return Question(domain, str(row["question"]).strip(), options, _answer(row["answer"], options, where))


def _options(row: Mapping[str, Any], where: str) -> tuple[str, ...]:
    if "choices" not in row:
        lettered = [str(row[letter]).strip() for letter in LETTERS if letter in row]
        if len(lettered) > 1:
            return tuple(lettered)
        raise UserError(f"{where} has no column 'choices', nor columns A, B, C ... {nearest('choices', row)}")
    choices = row["choices"]
    if isinstance(choices, str):
        try:
            choices = json.loads(choices)
        except json.JSONDecodeError as error:
            raise UserError(f"{where}: choices must be a JSON list of strings, not {choices!r}.") from error
    if not isinstance(choices, Sequence) or not 2 <= len(choices) <= len(LETTERS):
        raise UserError(f"{where}: choices must be a list of 2 to {len(LETTERS)} options, not {choices!r}.")
    return tuple(str(choice).strip() for choice in choices)


def _answer(answer: Any, options: tuple[str, ...], where: str) -> int:
    text = str(answer).strip().removesuffix(".0")
    if len(text) == 1 and text.upper() in LETTERS:
        text = str(LETTERS.index(text.upper()))
    if options.count(text) == 1 and not text.isdigit():
        return options.index(text)
    if not text.isdigit() or int(text) >= len(options):
        raise UserError(
            f"{where}: answer {answer!r} is none of its {len(options)} options "
            f"(0 to {len(options) - 1}, A to {LETTERS[len(options) - 1]}, or an option's own words)."
        )
    return int(text)
