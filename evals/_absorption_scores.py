"""How much of a group's direction comes from latents that do not stand for the group, word by word."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from saebench.metric import Share

from ._absorption_groups import mains, told

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from saebench.inputs import WordCodes
    from saebench.saes import Codes

    from ._absorption_groups import Group
    from ._absorption_probes import Recipe

MOST_ABSORBING = 3
"""Latents whose projections are added up against the main ones."""


@dataclass(frozen=True)
class Thresholds:
    """What counts as absorption; see `mean_absorption_fraction` and `full_absorption_rate`."""

    min_cosine: Share
    min_share: Share = 0.4


class Aligned(NamedTuple):
    """Decoder rows against a direction: projections and cosines, `[d_sae]` each."""

    along: Tensor
    cosine: Tensor


class Projections(NamedTuple):
    """What decodes into the direction of a group in some prompts.

    Attributes:
        activation: Projection of the activation, `[n]`.
        main: Sum of the projections of the main latents, `[n]`.
        fires: Whether any of them fires above zero, `[n]`.
        effects: Codes times the token's decoding scale, `[n, d_sae]`.
        entries: Projection of each entry of `effects`, `[nnz]`.
        cosine: Of each entry's decoder row with the direction, `[nnz]`.
        is_main: Which entries are of main latents, `[nnz]`.
    """

    activation: Tensor
    main: Tensor
    fires: Tensor
    effects: Codes
    entries: Tensor
    cosine: Tensor
    is_main: Tensor

    @classmethod
    def of(cls, w: WordCodes, effects: Codes, group: Group, decoder: Aligned, main: Tensor) -> Projections:
        """The projections on a group's direction in its true positives, for its main latents."""
        import torch

        effects = effects.to("cpu")[group.prompts]
        values = effects.values.double()
        entries = values * decoder.along[effects.latents]
        is_main = torch.isin(effects.latents, main)
        return cls(
            w.y.detach().cpu()[group.prompts].double() @ group.direction,
            effects.sum(entries * is_main),
            effects.sum((is_main & (values > 0)).double()) > 0,
            effects,
            entries,
            decoder.cosine[effects.latents],
            is_main,
        )

    def fraction(self, limits: Thresholds) -> Tensor:
        """Share of the direction that absorbing latents bring, `[n]` from 0 to 1."""
        import torch

        absorbing = ~self.is_main & (self.cosine >= limits.min_cosine) & (self.entries > 0)
        found = self.effects.with_values(self.entries).keep(absorbing[self.entries != 0]).padded()[0]
        absorbed = found.topk(min(MOST_ABSORBING, found.shape[1]), dim=1).values.sum(1)
        enough = (self.main < self.activation) & (absorbed >= limits.min_share * self.activation)
        part = torch.minimum(absorbed, self.activation - self.main)
        share = torch.where(self.main <= 0, 1.0, (part / (part + self.main)).clamp(0, 1))
        return torch.where(enough & (self.activation > 0), share, 0.0)

    def full(self, limits: Thresholds) -> Tensor:
        """Whether no main latent fires and one other brings enough of the direction, `[n]` of 0 and 1."""
        import torch

        largest = torch.zeros(self.effects.n, dtype=torch.float64).scatter_reduce(
            0, self.effects.tokens, self.entries, "amax"
        )
        is_largest = (self.entries == largest[self.effects.tokens]) & (self.cosine >= limits.min_cosine)
        aligned = self.effects.sum(is_largest.double()) > 0
        enough = (self.activation > 0) & (largest >= limits.min_share * self.activation)
        return (~self.fires & aligned & enough).double()


def projections(w: WordCodes, how: Recipe, least: float, *, unit: bool = False) -> Iterator[tuple[Group, Projections]]:
    """What decodes into each group's direction in its true positives, for groups whose main latents tell them.

    Args:
        w: The input.
        how: The recipe.
        least: Skill that main latents must have.
        unit: Whether codes are projected as if decoder rows had unit length, as the reference does it.
    """
    import torch

    groups = told(w, how, least)
    found = mains(w, how)
    decoder = w.decoder.detach().cpu()
    directions = torch.stack([g.direction for g in groups])
    along = (decoder @ directions.T.to(decoder.dtype)).double()
    cosine = along / decoder.norm(dim=1).double().clamp_min(1e-30)[:, None]
    down = cosine if unit else along
    for g, one, other in zip(groups, down.T, cosine.T, strict=True):
        main = torch.from_numpy(found[g.hierarchy].latents[g.place])
        yield g, Projections.of(w, w.codes if unit else w.effects, g, Aligned(one, other), main)
