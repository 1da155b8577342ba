"""What a suite may say about labelled texts and random tokens, as YAML keys."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator


class RandomTokensSpec(BaseModel):
    """How many random tokens are drawn."""

    model_config = ConfigDict(extra="forbid")

    source: str = Field(default="default", description="`uniform`: ids drawn with equal chance from the vocabulary")
    tokens: int = Field(default=20_000, gt=0, description="tokens to draw")
    context: int = Field(default=128, gt=1, description="tokens in a row, BOS included")
    prepend_bos: bool = Field(default=True, description="put the model's BOS in front of every row")


class LabelledSpec(BaseModel):
    """Where labelled texts come from, and how many of them are used."""

    model_config = ConfigDict(extra="forbid")

    source: str = Field(
        default="default",
        description="`world`, `saebench` (the reference suite's datasets), `sae-probes` (its 113 binary sets), "
        "`hf:OWNER/NAME[@REVISION]`, or a CSV, JSONL or Parquet file or folder with a text and its labels",
    )
    context: int = Field(default=128, gt=1, description="tokens of a text that are read, BOS included")
    truncate: Literal["right", "left"] = Field(default="right", description="the end that a long text loses")
    prepend_bos: bool = Field(default=True, description="put the model's BOS in front of every text")
    train: int = Field(default=2000, gt=1, description="most texts of a class to fit on")
    test: int = Field(default=500, gt=0, description="most texts of a class to score on")
    min_train: int = Field(default=10, gt=0, description="texts to fit on that a class needs, or it is left out, named")
    min_test: int = Field(default=5, gt=0, description="texts to score on that a class needs")
    tasks: list[str] | None = Field(default=None, description="tasks to keep, by name; null for all")
    pairs: list[tuple[str, str]] | None = Field(
        default=None, description="pairs of classes for SCR; null: the source's, or a file's classes two by two"
    )
    column: str = Field(default="text", description="column of the text in a file or hub dataset")
    label: str | list[str] = Field(default="label", description="column of the label; several: one task a column")
    attribute: str = Field(default="attribute", description="column of the spurious attribute of SCR, if there is one")
    split: str | None = Field(
        default=None, description="the one split of a hub dataset to read and divide; null: its own train and test"
    )
    config: str | None = Field(default=None, description="configuration of a hub dataset")
    protocol: Literal["mean", "last_token"] = Field(
        default="mean",
        description="sizes: `mean` as in train and test; `last_token` as in sae-probes, min(size - 100, 1024) to fit "
        "on and the rest of at most 5,000 to score on, classes balanced",
    )

    @field_validator("label")
    @classmethod
    def _some(cls, label: str | list[str]) -> str | list[str]:
        if not label:
            raise ValueError("name at least one column")
        return label
