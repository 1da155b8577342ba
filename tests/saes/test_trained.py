"""A small SAE of each architecture: trained by its own objective, saved, loaded, held to its forward written anew."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from saebench.saes import load_sae
from saebench.saes.prefixes import prefixes
from saebench.saes.styles import STYLES
from tests.saes.checkpoints import draw
from tests.saes.test_plain import described
from tests.saes.training import (
    STEPS,
    D,
    F,
    Forward,
    Held,
    K,
    draws,
    explained,
    fit,
    largest,
    linear,
    plain_loss,
    pre,
    relu,
    squared,
    start,
    topk,
)  # fmt: skip


def jump(p: Held, x: Tensor) -> Tensor:
    z = pre(p, x)
    return z * (z > p["threshold"])


def sparse_loss(p: Held, x: Tensor, step: int) -> Tensor:
    f = relu(p, x)
    return squared(linear(p, f), x) + 0.2 * (f * p["W_dec"].norm(dim=1)).sum(1).mean()


def p_anneal_loss(p: Held, x: Tensor, step: int) -> Tensor:
    f = relu(p, x)
    return squared(linear(p, f), x) + 0.1 * (f + 1e-3).pow(1 - 0.6 * step / STEPS).sum(1).mean()


def over_batch(p: Held, x: Tensor) -> Tensor:
    """The K times batch largest activations, wherever they are: BatchTopK, and Mutual Choice."""
    z = relu(p, x)
    return z * (z >= z.flatten().topk(K * len(x)).values[-1])


def by_feature(p: Held, x: Tensor) -> Tensor:
    """Each latent keeps its own largest: Feature Choice, with as many tokens for each."""
    z = relu(p, x)
    return z * (z >= z.topk(K * len(x) // F, dim=0).values[-1])


def least(kept: Tensor, *, each: bool = False) -> Tensor:
    """The threshold halfway below what was kept in a batch: of all latents together, or of each."""
    smallest = torch.where(kept > 0, kept, torch.inf)
    bar = smallest.amin(0) if each else smallest.amin().expand(F)
    return torch.where(bar.isfinite(), bar, 1e3) * (1 - 1e-6)


def nested_loss(p: Held, x: Tensor, _: int) -> Tensor:
    f = over_batch(p, x)
    return sum((squared(f[:, :m] @ p["W_dec"][:m] + p["b_dec"], x) for m in (8, 16, F)), torch.zeros(()))


def multi_k_loss(p: Held, x: Tensor, _: int) -> Tensor:
    z = relu(p, x)
    return sum((squared(linear(p, largest(z, k)), x) for k in (2, K, 8)), torch.zeros(()))


def gate(p: Held, x: Tensor) -> tuple[Tensor, Tensor]:
    shared = (x - p["b_dec"]) @ p["W_enc"]
    return shared + p["b_gate"], (shared * p["r_mag"].exp() + p["b_mag"]).relu()


def gated(p: Held, x: Tensor) -> Tensor:
    opened, size = gate(p, x)
    return (opened > 0) * size


def gated_loss(p: Held, x: Tensor, _: int) -> Tensor:
    by_gate = gate(p, x)[0].relu()
    frozen = by_gate @ p["W_dec"].detach() + p["b_dec"].detach()
    return squared(linear(p, gated(p, x)), x) + squared(frozen, x) + 0.2 * by_gate.sum(1).mean()


def abs_topk(p: Held, x: Tensor) -> Tensor:
    z = pre(p, x)
    return z * (z.abs() >= z.abs().topk(K, dim=1).values[:, -1:])


def k_sparse(p: Held, x: Tensor) -> Tensor:
    return largest((x - p["b_dec"]) @ p["W_dec"].T + p["b_enc"])


def group_max(p: Held, x: Tensor) -> Tensor:
    z = pre(p, x).view(len(x), K, -1)
    return (z * (z == z.amax(-1, keepdim=True))).relu().flatten(1)


def pursuit(p: Held, x: Tensor) -> Tensor:
    rows, left = functional.normalize(p["W_dec"], dim=1), x - p["b_dec"]
    f = torch.zeros(len(x), F)
    for _ in range(K):
        step = largest(left @ rows.T, 1).relu()
        f, left = f + step, left - step @ rows
    return f


def unit(p: Held) -> Held:
    return {**p, "W_dec": functional.normalize(p["W_dec"], dim=1)}


def codebook(p: Held, x: Tensor) -> Tensor:
    cosine = functional.normalize(x, dim=1) @ functional.normalize(p["W_dec"], dim=1).T
    return (cosine >= cosine.topk(K, dim=1).values[:, -1:]).float()


def adaptive(p: Held, x: Tensor) -> Tensor:
    score = (x @ p["probe"] + p["probe_bias"]).clamp(0, 10) / 10
    k = (2 + 6 * torch.sigmoid(6 * (score - 0.5))).round()
    z = relu(p, x)
    return z * (z.argsort(1, descending=True).argsort(1) < k[:, None])


def afa(p: Held, x: Tensor) -> Tensor:
    f = relu(p, x)
    order = (f * p["W_dec"].norm(dim=1)).argsort(1, descending=True)
    share = (f * p["W_dec"].norm(dim=1)).square().gather(1, order).cumsum(1)[:, :-1]
    k = (share.sqrt() - (x - p["b_dec"]).norm(dim=1, keepdim=True)).abs().argmin(1) + 1
    return f * (order.argsort(1) < k[:, None])


def afa_loss(p: Held, x: Tensor, _: int) -> Tensor:
    f = afa(p, x)
    aim = (f.norm(dim=1) - (x - p["b_dec"]).norm(dim=1)).square().mean()
    return squared(linear(p, f), x) + 0.1 * aim


def kron(p: Held, x: Tensor) -> Tensor:
    a, b = ((x - p["b_dec"]) @ p[name] for name in "PQ")
    a, b = a.relu().view(len(x), 4, 2, 1), b.relu().view(len(x), 4, 1, 4)
    return largest((a * b + 1e-12).sqrt().flatten(1) * ((a > 0) & (b > 0)).flatten(1))


def noisy(p: Held, x: Tensor) -> Tensor:
    mean = pre(p, x)
    return largest((mean + 0.1 * torch.randn_like(mean)).relu())


def end_to_end(p: Held, x: Tensor) -> Tensor:
    return (x @ p["W_enc"] + p["b_enc"]).relu()


def end_to_end_loss(p: Held, x: Tensor, _: int) -> Tensor:
    f = end_to_end(p, x)
    return squared(linear(unit(p), f), x) + 0.2 * f.sum(1).mean()


def by_gradient(p: Held, x: Tensor) -> Tensor:
    """Selection by |z (d . g)| with g the gradient of a loss of x, here of |x|^2 / 2: g-SAE."""
    z = relu(p, x)
    return z * largest((z * (x @ p["W_dec"].T)).abs()).bool()


def mixed(p: Held) -> Held:
    """Decoder rows as convex mixtures of data points, each moved by one at most: RA-SAE."""
    kept = {name: one for name, one in p.items() if name not in ("mix", "relax")}
    moved = p["relax"] / p["relax"].norm(dim=1, keepdim=True).clamp_min(1)
    return {**kept, "W_dec": p["mix"].softmax(1) @ draws(77, F) + moved}


@dataclass
class Case:
    """How an architecture is trained, and its forward once it is.

    Attributes:
        loss: Of the tensors, a batch and the step.
        codes: Codes at inference.
        start: Tensors to begin with.
        after: From trained tensors to those that are saved.
        keys: What the description says.
        explained: Least share of variance, which it does not explain before it is trained.
    """

    loss: Callable[[Held, Tensor, int], Tensor]
    codes: Forward
    start: Held = field(default_factory=start)
    after: Callable[[Held], Held] = dict
    keys: dict[str, Any] = field(default_factory=dict)
    explained: float = 0.85


def with_bar(codes: Forward, *, each: bool = False) -> Callable[[Held], Held]:
    def after(p: Held) -> Held:
        bars = [least(codes(p, draws(seed)), each=each) for seed in range(5)]
        return {**p, "threshold": torch.stack(bars).mean(0)}

    return after


def without(*names: str, **more: Tensor) -> Held:
    return {name: one for name, one in start().items() if name not in names} | more


EACH_K = {"k": K}
HALVES = {"P": draw(D, 8, seed=61), "Q": draw(D, 16, seed=62)}
GATES = {"b_gate": torch.zeros(F), "r_mag": torch.zeros(F), "b_mag": torch.zeros(F)}
CASES = {
    "standard": Case(sparse_loss, relu),
    "p_anneal": Case(p_anneal_loss, relu),
    "topk": Case(plain_loss(topk), topk, keys=EACH_K),
    "msae": Case(multi_k_loss, topk, keys=EACH_K),
    "archetypal_topk": Case(lambda p, x, _: squared(linear(mixed(p), topk(mixed(p), x)), x), topk, after=mixed,
                            start=without("W_dec", mix=3 * torch.eye(F), relax=draw(F, D, seed=64)), keys=EACH_K,
                            explained=0.6),
    "batchtopk": Case(plain_loss(over_batch), jump, after=with_bar(over_batch)),
    "mutual_choice": Case(plain_loss(over_batch), jump, after=with_bar(over_batch)),
    "feature_choice": Case(plain_loss(by_feature), jump, after=with_bar(by_feature, each=True), explained=0.7),
    "matryoshka_batchtopk": Case(nested_loss, jump, after=with_bar(over_batch), explained=0.75,
                                 keys={"metadata": "{group_sizes: [8, 8, 16]}"}),
    "jumprelu": Case(sparse_loss, jump, after=lambda p: {**p, "threshold": torch.full((F,), 0.05)}),
    "gated": Case(gated_loss, gated, start=without("b_enc", **GATES)),
    "abstopk": Case(plain_loss(abs_topk), abs_topk, keys=EACH_K),
    "k_sparse": Case(plain_loss(k_sparse), k_sparse, start=without("W_enc"), keys=EACH_K),
    "groupmax": Case(plain_loss(group_max), group_max, keys=EACH_K, explained=0.7),
    "matching_pursuit": Case(lambda p, x, _: squared(linear(unit(p), pursuit(p, x)), x), pursuit, after=unit,
                             start=without("W_enc", "b_enc"), keys={**EACH_K, "transposed": "[]"}),
    "codebook": Case(lambda p, x, _: squared(codebook(p, x) @ p["W_dec"], x), codebook, explained=0.3,
                     start=without("W_enc", "b_enc", "b_dec"), keys={**EACH_K, "transposed": "[]"}),
    "adaptive_topk": Case(plain_loss(adaptive), adaptive, keys={"options": "{k_min: 2, k_max: 8}"},
                          start={**start(), "probe": draw(D, seed=63), "probe_bias": torch.tensor([5.0])}),
    "top_afa": Case(afa_loss, afa, explained=0.7),
    "kron": Case(plain_loss(kron), kron, start=without("W_enc", "b_enc", **HALVES), explained=0.6,
                 keys={**EACH_K, "transposed": "[]", "options": "{heads: 4}"}),
    "vsae": Case(plain_loss(noisy), topk, keys=EACH_K),
    "e2e": Case(end_to_end_loss, end_to_end, keys={"subtract_b_dec": "null"}),
    "g_sae": Case(plain_loss(by_gradient), topk, keys=EACH_K, explained=0.5),
}  # fmt: skip

SAME_OBJECTIVE = {"relu", "gba", "archetypal_jumprelu", "topk_transcoder", "jumprelu_transcoder",
                  "jumprelu_skip_transcoder", "topk_crosscoder", "jumprelu_crosscoder"}  # fmt: skip
"""Names whose forward and objective are those of two others together."""

TOGETHER = {"transcoder", "skip_transcoder", "crosscoder", "mlsae", "itda"}
"""Those of test_trained_together.py."""


def test_every_architecture_is_trained() -> None:
    assert set(CASES) | SAME_OBJECTIVE | TOGETHER == set(STYLES)


def decoded(name: str, p: Held, f: Tensor) -> Tensor:
    rows = unit(p) if name == "e2e" else p
    return f @ rows["W_dec"] + rows.get("b_dec", torch.zeros(D))


@pytest.mark.parametrize("name", list(CASES))
def test_trained_saved_and_loaded(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    torch.manual_seed(0)
    before, p = case.after(dict(case.start)), case.after(fit(case.start, case.loss))
    folder = described(tmp_path, p, architecture=name, **case.keys)
    coder, again, x = load_sae(folder), load_sae(folder), draws(-1, 500)
    untrained, wanted = (decoded(name, one, case.codes(one, x)) for one in (before, p))
    torch.testing.assert_close(coder.encode(x).dense(), case.codes(p, x), rtol=1e-4, atol=1e-5)
    y = coder.reconstruct(x)
    torch.testing.assert_close(y, wanted, rtol=1e-4, atol=1e-4)
    assert explained(y, x) > case.explained > explained(untrained, x)
    assert 1 < float(coder.encode(x).l0.double().mean()) <= case.keys.get("k", 0.7 * F)
    assert again.fingerprint == coder.fingerprint and torch.equal(again.reconstruct(x), y)
    if name == "matryoshka_batchtopk":
        inner = [explained(one.reconstruct(x), x) for one in prefixes(coder)]
        assert 0.2 < inner[0] < inner[1] < inner[2]
