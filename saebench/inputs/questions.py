"""Answers to multiple-choice questions with latents clamped: the items of unlearning."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Protocol

from saebench.inputs.memo import Memo

if TYPE_CHECKING:
    from torch import Tensor

    from saebench.data.questions import Questions


class QuestionRuns(Memo):
    """How often each latent fires on what is to be forgotten and retained, and the answers with latents clamped.

    Attributes:
        questions: The questions, their prompts, domains and halves.
        forget: Share of the forget text's valid tokens on which each latent fires, `[d_sae]` float64.
        retain: The same on the text to be retained.
        maximum: Largest activation of each latent on both texts, `[d_sae]`, 0 where it never fires.
        clean: Logits of the options without an intervention, `[prompts, options]`; the same for every SAE.
    """

    kind: ClassVar[str] = "items"
    data: ClassVar[str] = "questions"

    def __init__(
        self, questions: Questions, forget: Tensor, retain: Tensor, maximum: Tensor, clean: Tensor, runner: Clamp
    ) -> None:
        super().__init__()
        self.questions = questions
        self.forget = forget
        self.retain = retain
        self.maximum = maximum
        self.clean = clean
        self._runner = runner

    def clamped(self, settings: list[tuple[Tensor, Tensor]]) -> Tensor:
        """Logits of the options with latents clamped on every valid token where they fire.

        The SAE's error is kept: x' = x + decode(clamped codes) - decode(codes). BOS is not touched.

        Args:
            settings: Latents `[n]` and the values `[n]` they are set to, one pair a setting; all are run
                on one encode of each prompt.

        Returns:
            `[settings, prompts, options]` float32.
        """
        return self._runner(settings)


class Clamp(Protocol):
    """What the engine gives a `QuestionRuns` to answer with."""

    def __call__(self, settings: list[tuple[Tensor, Tensor]]) -> Tensor: ...
