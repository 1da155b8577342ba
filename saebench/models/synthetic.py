"""A subject that is no language model: each token id is a draw of known features, seen at one hook, without logits."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from typing import Any, NoReturn

import torch
from torch import Tensor

from saebench.data.synthetic import SCHEME, VERSION, Synthetic, recipe
from saebench.errors import UserError
from saebench.models.run import Run
from saebench.models.sites import Site
from saebench.models.subject import Subject

__all__ = ["HOOK", "SCHEME", "SyntheticSubject", "load"]

HOOK = "activations"
"""The hook of SAEs that name none; whatever hook a SAE names, it sees the same activations."""


class SyntheticSubject(Subject):
    """Activations with a known dictionary, behind the interface of a model.

    Token id t stands for the t-th draw, so that text, batches, blocks and documents are what they are
    elsewhere: rows of ids. There is nothing after the hook.

    Attributes:
        truth: The features and their draws.
    """

    has_logits = False
    n_layers = 1

    def __init__(
        self, truth: Synthetic, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
    ) -> None:
        super().__init__(None)
        self.truth = self._truth = truth
        self.name = truth.recipe.name
        self.d_model = truth.recipe.d
        self.vocab_size = truth.recipe.samples
        self._device, self._dtype = torch.device(device), dtype

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the recipe and of the directions it gives."""
        state = hashlib.blake2b(f"{VERSION}|{self._truth.recipe}".encode(), digest_size=8)
        state.update(self._truth.directions.tobytes())
        return state.hexdigest()

    @property
    def runs_on(self) -> torch.device:
        return self._device

    @property
    def dtype(self) -> torch.dtype:
        return self._dtype

    @property
    def architecture(self) -> str:
        return "synthetic activations"

    def site(self, hook: str) -> Site:
        """Any name will do: there is one place."""
        return Site(hook, 0, self.d_model, is_residual=True)

    def sites(self) -> list[str]:
        return [HOOK]

    def forward(self, tokens: Tensor, hooks: Sequence[str] = (), *, final: bool = True) -> Run:
        """The activations of the draws, and never a final state."""
        tokens = self._checked(tokens)
        made = self._truth.draw(tokens.flatten().cpu().numpy()).activations
        acts = torch.from_numpy(made).to(self.device, self.dtype).view(*tokens.shape, self.d_model)
        return Run(tokens, dict.fromkeys(hooks, acts), None)

    def resume(self, run: Run, hook: str, value: Tensor) -> NoReturn:
        raise UserError(f"{self.name} has nothing after its activations: no loss, no logits.")

    def logits(self, hidden: Tensor) -> NoReturn:
        raise UserError(f"{self.name} has no logits.")

    def remembers(self, hook: str) -> bool:
        return False

    def _config(self) -> Any:
        return None

    def _absent(self, kind: str, layer: int) -> str | None:
        return None

    def _width(self, kind: str, layer: int) -> int:
        return self.d_model

    def _forward(self, tokens: Tensor, sites: Sequence[Site], final: bool) -> Run:
        return self.forward(tokens, [site.hook for site in sites], final=final)

    def _resume(self, run: Run, site: Site, value: Tensor) -> NoReturn:
        self.resume(run, site.hook, value)


def load(ref: str, *, device: torch.device, dtype: torch.dtype | None) -> SyntheticSubject:
    """The subject of a reference such as `synthetic:flat?d=64&n=256`.

    Raises:
        UserError: A kind or setting that does not exist, or one that is out of range.
    """
    return SyntheticSubject(Synthetic(recipe(ref)), device, dtype or torch.float32)
