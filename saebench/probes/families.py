"""The probes of each probing metric, made once for all the scores that are taken of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from saebench.probes.problems import Problem, problems, sizes
from saebench.probes.scores import Scorer
from saebench.probes.select import Table, table
from saebench.probes.slices import Sliced, scored, sliced
from saebench.probes.sparse import Case, select_cases, sparse_logits, standardised
from saebench.probes.validation import full_logits, last_token_logits

if TYPE_CHECKING:
    from saebench.inputs import LabelledCodes


class Probed(NamedTuple):
    """Problems and the log-odds that probes give their test texts, by the probe's name (`k=1`)."""

    problems: tuple[Problem, ...]
    logits: dict[str, list[np.ndarray]]

    def sums(self, scorer: Scorer) -> Sliced:
        """A score of every probe as sums over test texts."""
        return sliced(
            self.problems, {name: scored(self.problems, logits, scorer) for name, logits in self.logits.items()}
        )


def k_sparse(c: LabelledCodes, k: int | Iterable[int], pooling: str, *, standardise: bool = True) -> Probed:
    """Probes of the k latents with the largest |mean_pos - mean_neg| on train; L2 with C = 1."""
    ks = sizes(k)

    def make() -> Probed:
        posed = _problems(c)
        cases = c.once(("probes: cases", pooling, max(ks)), lambda: select_cases(_codes(c, pooling), posed, max(ks)))
        return _each(posed, cases, ks, standardise)

    return c.once(("probes: k-sparse", pooling, ks, standardise), make)


def last_token(c: LabelledCodes, k: int | Iterable[int], pooling: str) -> Probed:
    """Probes of the sae-probes protocol: normalised ranking, L1, C by validation."""
    ks = sizes(k)

    def make() -> Probed:
        posed = _problems(c)
        cases = select_cases(_codes(c, pooling), posed, max(ks), normalised=True)
        return Probed(posed, {f"k={size}": last_token_logits(cases, size) for size in ks})

    return c.once(("probes: last token", pooling, ks), make)


def on_residual(c: LabelledCodes, k: int | Iterable[int], pooling: str) -> Probed:
    """Probes of the activation itself: of its k best channels, of all, and of none (chance).

    They do not depend on the SAE and are made once for all SAEs at a hook.
    """
    ks = sizes(k)

    def make() -> Probed:
        posed = _problems(c)
        x = table(c.x(pooling))
        probed = _each(posed, select_cases(x, posed, max(ks)), ks, True)
        chance = [np.full(len(p.test), p.train_label.mean() - 0.5 if len(p.train) else np.nan) for p in posed]
        return Probed(posed, {**probed.logits, "full": full_logits(x, posed), "chance": chance})

    key = ("probes: residual", type(c).__name__, pooling, ks, c.texts.seed, tuple(t.name for t in c.texts.tasks))
    return c.activations.once(key, make)


def on_all_codes(c: LabelledCodes, pooling: str) -> Probed:
    """Probes of all latents, never made dense."""
    return c.once(
        ("probes: all codes", pooling),
        lambda: Probed(_problems(c), {"full": full_logits(_codes(c, pooling), _problems(c))}),
    )


def undefined(c: LabelledCodes) -> np.ndarray:
    """Which problems have no score for want of a class, `[problems]` float64."""
    return np.array([not p.posed for p in _problems(c)], dtype=np.float64)


def _each(posed: tuple[Problem, ...], cases: list[Case], ks: tuple[int, ...], standardise: bool) -> Probed:
    used = [standardised(case) for case in cases] if standardise else cases
    return Probed(posed, {f"k={size}": sparse_logits(used, size) for size in ks})


def _problems(c: LabelledCodes) -> tuple[Problem, ...]:
    return c.once(("probes: problems",), lambda: problems(c.texts))


def _codes(c: LabelledCodes, pooling: str) -> Table:
    return c.once(("probes: table", pooling), lambda: table(c.codes(pooling)))
