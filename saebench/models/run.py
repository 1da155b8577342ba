"""What a forward pass leaves behind, and what running on from its middle needs."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from saebench.models.past import Past, suffix


@dataclass
class Run:
    """What one forward pass left behind, and what resuming from its hooks needs.

    Attributes:
        tokens: Token ids `[batch, length]` on the model's device.
        acts: Activation by hook, `[batch, length, width]`.
        final: Hidden states after the final norm, before the head, or None after an early exit.
        entering: By hook, the residual from which the hook's layer is run again.
        past: What the model remembers: of all tokens after `remember`, of those before these after `after`.
    """

    tokens: Tensor
    acts: dict[str, Tensor]
    final: Tensor | None
    entering: dict[str, Tensor] = field(default_factory=dict)
    past: Past | None = None

    def after(self, at: Tensor, length: int | None = None) -> Run:
        """The run from one position of each row on, with what lies before it as keys and values.

        Args:
            at: Positions `[batch]`.
            length: Tokens to keep from there on; all by default.

        Returns:
            A run of `[batch, length]` tokens that `resume` goes on with; rows that end earlier repeat their last token.
        """
        assert self.past is not None
        n = length or self.tokens.shape[1] - int(at.min())
        acts, entering = ({k: suffix(v, at, n) for k, v in part.items()} for part in (self.acts, self.entering))
        return Run(suffix(self.tokens, at, n), acts, None, entering, self.past.before(at))


def wants_grad(tensor: Tensor) -> bool:
    """Whether what is computed from a tensor is to be differentiated."""
    return tensor.requires_grad and torch.is_grad_enabled()
