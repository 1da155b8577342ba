"""What a suite may say about the items of absorption, RAVEL and unlearning, as YAML keys."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator


class WordSpec(BaseModel):
    """Words in groups, for feature absorption."""

    model_config = ConfigDict(extra="forbid")

    source: str = Field(
        default="default",
        description="`world[:first_letter,continent,field,category]`, `vocabulary` (first letters of the model's own "
        "words; the preset `saebench` is the same), a CSV, JSONL or Parquet file with columns word and group (and "
        "prompt, holding {word}), or a folder of such files, each a hierarchy",
    )
    words: int | None = Field(default=None, gt=1, description="most words of a hierarchy, drawn; null for all")
    min_words: int = Field(default=4, gt=1, description="words that a group needs, or it is left out and named")
    min_length: int = Field(default=2, gt=0, description="letters that a word of the vocabulary needs")
    test_share: float = Field(default=0.2, gt=0, lt=1, description="share of each group's words for scoring")
    examples: int = Field(default=10, ge=0, description="examples before the word in a first-letter prompt")
    template: str | None = Field(
        default=None, description="one line of a first-letter prompt, with {word} and then {letter}; null: the source's"
    )
    separator: str | None = Field(default=None, description="between the lines; null: the source's")
    contexts: int = Field(default=8, gt=0, description="prompts for each word in the world's other hierarchies")
    prompts: list[str] = Field(
        default=["{word}"], description="prompts with {word}, for a file without a column of prompts"
    )
    single_token: bool = Field(default=False, description="leave out words of several tokens")
    prepend_bos: bool = Field(default=True, description="put the model's BOS in front of every prompt")

    @field_validator("template")
    @classmethod
    def _ordered(cls, template: str | None) -> str | None:
        if template is not None and not 0 <= template.find("{word}") < template.find("{letter}"):
            raise ValueError("must hold {word} and, after it, {letter}")
        return template

    @field_validator("prompts")
    @classmethod
    def _about_a_word(cls, prompts: list[str]) -> list[str]:
        if not prompts or not all("{word}" in prompt for prompt in prompts):
            raise ValueError("each prompt must hold {word}")
        return prompts


class EntitySpec(BaseModel):
    """Entities with attributes, for RAVEL."""

    model_config = ConfigDict(extra="forbid")

    source: str = Field(
        default="default",
        description="`world`, `saebench` (the hub's RAVEL prompts), `hf:OWNER/NAME[@REVISION]` or a folder in the "
        "same layout, or a CSV, JSONL or Parquet file with columns entity, attribute, value (and type)",
    )
    types: dict[str, list[str]] | list[str] | None = Field(
        default=None, description="entity types, with or without their attributes; null: the source's"
    )
    entities: int | None = Field(default=500, gt=3, description="most entities of a type, drawn; null for all")
    templates: int | None = Field(default=10, gt=0, description="most templates of an attribute, drawn; null for all")
    prompts: list[str] = Field(
        default=["The {attribute} of {entity} is"],
        description="templates with {entity} (and {attribute}, {type}), for a file that brings none",
    )
    min_entities: int = Field(default=4, gt=1, description="entities that a type needs, or it is left out and named")
    test_share: float = Field(default=0.3, gt=0, lt=1, description="share of the entities for scoring")
    prepend_bos: bool = Field(default=True, description="put the model's BOS in front of every prompt")

    @field_validator("prompts")
    @classmethod
    def _about_an_entity(cls, prompts: list[str]) -> list[str]:
        if not prompts or not all("{entity}" in prompt for prompt in prompts):
            raise ValueError("each prompt must hold {entity}")
        return prompts


class QuestionSpec(BaseModel):
    """Multiple-choice questions to forget and to retain, for unlearning."""

    model_config = ConfigDict(extra="forbid")

    source: str = Field(
        default="default",
        description="`world`, `wmdp-bio` (WMDP-bio and MMLU from the hub; the preset `saebench` is the same), or a "
        "CSV, JSONL or Parquet file or folder with question, choices, answer (and subject or domain)",
    )
    forget: list[str] | None = Field(default=None, description="domains to forget; null: the source's")
    domains: list[str] | None = Field(default=None, description="domains to read; null for all")
    questions: int | None = Field(default=None, gt=1, description="most questions of a domain, drawn; null for all")
    orders: int = Field(default=4, gt=0, description="orders of the options in which a question is asked")
    style: Literal["auto", "letter", "text"] = Field(
        default="auto", description="answers by the option's letter or its text; auto is by letter"
    )
    format: Literal["plain", "chat"] = Field(default="plain", description="chat: in the tokenizer's chat template")
    header: str = Field(
        default="The following are multiple choice questions (with answers) about {subject}.\n",
        description="in front of each question; {subject} is its domain in words",
    )
    split: str = Field(default="test", description="split to read from the hub or from a folder in its layout")
    held_out_share: float = Field(default=0.5, gt=0, lt=1, description="share of each domain's questions held out")
    prepend_bos: bool = Field(default=True, description="put the model's BOS in front of every prompt")
