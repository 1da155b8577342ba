"""The model on prompts about entities, with the entity's activation open to interchange: the items of RAVEL."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Protocol

from saebench.inputs.memo import Memo

if TYPE_CHECKING:
    from torch import Tensor

    from saebench.data.facts import EntityPrompts
    from saebench.saes import Codes, SparseCoder


class EntityModel(Memo):
    """The frozen model on the prompts; the same for every SAE at a hook, so that its memo is too.

    Attributes:
        prompts: Prompts, labels and the split over entities.
        y: Activation at the entity's last token at the hook that is reconstructed, `[prompts, d_out]` float32.
        right: Which prompts the unedited model completes with the right value, `[prompts]` bool.
    """

    def __init__(self, prompts: EntityPrompts, y: Tensor, right: Tensor, resume: Resume) -> None:
        super().__init__()
        self.prompts = prompts
        self.y = y
        self.right = right
        self._resume = resume

    @property
    def at_once(self) -> int:
        """Prompts that the model runs on in one batch without running out of memory."""
        return self._resume.at_once

    def first(self, prompt: Tensor, value: Tensor) -> Tensor:
        """Logits of the token after each prompt, with another activation at its entity; differentiable.

        Args:
            prompt: Prompts, `[n]`.
            value: Activation at the entity's last token, `[n, d_out]`; gradients flow to it, never to the model.

        Returns:
            `[n, vocabulary]` float32.
        """
        return self._resume.first(prompt, value)

    def completes(self, prompt: Tensor, value: Tensor, label: list[str]) -> Tensor:
        """Whether the model, with another activation at the entity, goes on with a value and ends it there.

        The greedy continuation begins with the label's tokens, and what follows does not go on with the word.

        Args:
            label: A value of `prompts.labels` for each prompt, `[n]`.

        Returns:
            `[n]` bool.
        """
        return self._resume.completes(prompt, value, label)


class Resume(Protocol):
    """What the engine gives an `EntityModel` to run on from the hook."""

    @property
    def at_once(self) -> int: ...

    def first(self, prompt: Tensor, value: Tensor) -> Tensor: ...

    def completes(self, prompt: Tensor, value: Tensor, label: list[str]) -> Tensor: ...


class EntityCodes(Memo):
    """Codes of a SAE at the entities, and the model that runs on from them.

    Attributes:
        model: The frozen model on the prompts.
        codes: Codes at the entity's last token, `[prompts, d_sae]`.
        y_hat: What the SAE reconstructs there, `[prompts, d_out]`; `model.y - y_hat` is its error.
        sae: The coder: `sae.decode(codes)` takes dense `[n, d_sae]` too, and `sae.decode(.., ctx=codes.ctx)`.
    """

    kind: ClassVar[str] = "items"
    data: ClassVar[str] = "entities"

    def __init__(self, model: EntityModel, codes: Codes, y_hat: Tensor, sae: SparseCoder) -> None:
        super().__init__()
        self.model = model
        self.codes = codes
        self.y_hat = y_hat
        self.sae = sae

    def decode(self, codes: Tensor, prompt: Tensor) -> Tensor:
        """Activations `[n, d_out]` of dense codes `[n, d_sae]`, with the context of the prompts they stand in."""
        context: Mapping[str, Tensor] = {key: value[prompt] for key, value in self.codes.ctx.items()}
        return self.sae.decode(codes, ctx=context)
