"""RAVEL on a model whose directions are known, against loops over pairs and over latents."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
import torch
from saebench.evals import _ravel_masks as edits
from saebench.evals import ravel
from saebench.evals._ravel_pairs import Pairs, exchanges
from saebench.evals._ravel_scores import sums
from torch import Tensor

from saebench.errors import UserError
from saebench.inputs import EntityCodes
from saebench.metric import Metric, NotApplicable
from saebench.saes import Codes
from saebench.saes.architectures import ReLU
from saebench.saes.coder import Normalisation
from tests.helpers.ravel_by_hand import (
    KINDS,
    VALUES,
    asked,
    entity_codes,
    exchanged_by_hand,
    toy_directions,
    toy_model,
    truth,
)

LEARNED = (ravel.ravel_cause, ravel.ravel_isolation, ravel.ravel_disentanglement)


def _sae(rows: Tensor, normalise: Normalisation = "none", make: type[ReLU] = ReLU) -> ReLU:
    """A dictionary of unit rows that fire where an activation lies along them."""
    return make(
        W_dec=rows,
        W_enc=rows.T.contiguous(),
        b_dec=torch.zeros(rows.shape[1]),
        b_enc=torch.full((len(rows),), -0.3),
        normalise=normalise,
    )


class _Opaque(ReLU):
    """A decoder that is not linear."""

    linear_decoder = False

    def decode(self, codes: Codes | Tensor, ctx: Mapping[str, Tensor] | None = None) -> Tensor:
        return torch.tanh(super().decode(codes, ctx))


def _true_latents(order: Tensor | None = None) -> ReLU:
    rows = toy_directions()[: len(VALUES)]
    return _sae(rows if order is None else rows[order])


def _conjunctions() -> ReLU:
    """A latent for every combination of values: no attribute can be exchanged alone."""
    rows, start = [], 0
    directions = toy_directions()
    for attributes in KINDS.values():
        grids = torch.meshgrid(*(torch.arange(n) for n in attributes.values()), indexing="ij")
        offsets = np.cumsum([start, *attributes.values()])
        rows += [directions[[int(g) + int(o) for g, o in zip(combo, offsets, strict=False)]].sum(0)
                 for combo in zip(*(grid.flatten() for grid in grids), strict=True)]  # fmt: skip
        start = int(offsets[-1])
    stacked = torch.stack(rows)
    size = (stacked * stacked).sum(1)
    sae = _sae(stacked / size[:, None].sqrt())
    sae.b_enc = -0.99 * (size**0.5) + 0.3
    sae.W_dec = stacked / 0.3
    return sae


def _values(metric: Metric, e: EntityCodes, **settings: object) -> dict[str, float]:
    rows = metric.rows(e, **{**metric.settings, **settings})
    totals = {name: field.sum(0).numpy() for name, field in rows.fields.items()}
    return dict(zip(rows.slices, metric.compute(totals).tolist(), strict=True))


@pytest.mark.parametrize("metric", LEARNED, ids=lambda m: m.name)
def test_latents_that_are_the_values_score_at_the_top(metric: Metric) -> None:
    found = _values(metric, entity_codes(toy_model(), _true_latents()))
    assert set(found) >= {"error=dropped", "error=kept", "error=kept/city", "error=kept/city/country"}
    assert min(found.values()) > 0.95


def test_latents_of_combinations_score_like_doing_nothing() -> None:
    found = _values(ravel.ravel_disentanglement, entity_codes(toy_model(), _conjunctions()))
    assert found["error=dropped"] < 0.65


def test_the_random_mask_and_the_skyline_enclose_a_poor_dictionary() -> None:
    e = entity_codes(toy_model(), _true_latents())
    assert _values(ravel.ravel_random_mask, e)["error=kept"] < 0.75
    skyline = _values(ravel.ravel_skyline, e)
    assert skyline["all"] > 0.95
    assert set(skyline) == {"all", "city", "beast", *(f"{kind}/{a}" for kind, named in KINDS.items() for a in named)}


def test_a_skyline_is_the_same_for_every_sae() -> None:
    model = toy_model()
    first, second = entity_codes(model, _true_latents()), entity_codes(model, _conjunctions())
    assert ravel.ravel_skyline.rows(first) is ravel.ravel_skyline.rows(second)


@pytest.mark.parametrize("keep_error", [True, False])
@pytest.mark.parametrize("kind", ["linear", "rescaled", "opaque"])
def test_an_exchange_is_what_loops_make_of_it(kind: str, keep_error: bool) -> None:
    rows = torch.randn(30, toy_directions().shape[0], generator=torch.Generator().manual_seed(3))
    rows = rows / rows.norm(dim=1, keepdim=True)
    sae = _sae(rows, "constant_norm_rescale" if kind == "rescaled" else "none", _Opaque if kind == "opaque" else ReLU)
    e = entity_codes(toy_model(), sae)
    latents, strength = torch.tensor([4, 0, 17, 29]), torch.tensor([1.0, 0.25, 0.5, 1.0])
    base, source = torch.arange(0, 40), torch.arange(40, 80)
    found = edits.Latents(e, latents, keep_error)(base, source, strength)
    chosen = dict(zip(latents.tolist(), strength.tolist(), strict=True))
    expected = [
        exchanged_by_hand(e, b, s, chosen, keep_error=keep_error)
        for b, s in zip(base.tolist(), source.tolist(), strict=True)
    ]
    torch.testing.assert_close(found, torch.stack(expected), atol=1e-5, rtol=1e-5)


def _rows(pairs: Pairs) -> list[tuple[int, int, str, bool]]:
    return list(zip(pairs.base.tolist(), pairs.source.tolist(), pairs.label, pairs.cause.tolist(), strict=True))


def _comes_out(e: EntityCodes, base: int, source: int, label: str, mask: Tensor) -> bool:
    value = exchanged_by_hand(e, base, source, dict.fromkeys(mask.tolist(), 1.0), keep_error=True)
    return bool(e.model.completes(torch.tensor([base]), value[None], [label]))


def test_scores_of_fixed_masks_are_what_a_loop_counts() -> None:
    """Cause and isolation of three values' latents, pair by pair, with the averages taken by hand."""
    e = entity_codes(toy_model(), _true_latents())
    mask = torch.tensor([0, 1, 5, 8, 12])
    found, _ = exchanges(e.model, 60, 20)
    right, by_hand = [], {}
    for x in found:
        right.append(edits.score(edits.Latents(e, mask, True), torch.ones(len(mask)), e.model, x.test))
        for kind in (True, False):
            hits = [_comes_out(e, b, s, label, mask) for b, s, label, cause in _rows(x.test) if cause is kind]
            by_hand[x.name, kind] = sum(hits) / len(hits)
    got = sums(e.model, found, {"": right}, ())
    totals = {name: field.sum(0).numpy() for name, field in got.fields.items()}
    for metric, kind in ((ravel.ravel_cause, True), (ravel.ravel_isolation, False)):
        value = dict(zip(got.slices, metric.compute(totals), strict=True))
        means = {k: np.mean([by_hand[f"{k}/{a}", kind] for a in named]) for k, named in KINDS.items()}
        single = {x.name: by_hand[x.name, kind] for x in found}
        assert value == pytest.approx({"all": np.mean(list(means.values())), **means, **single})
    assert 0 < by_hand["city/country", True] < 1


def test_doing_nothing_and_exchanging_everything() -> None:
    e = entity_codes(toy_model(), _true_latents())
    found, _ = exchanges(e.model, 60, 20)
    width = e.model.y.shape[1]
    for x in found:
        whole = edits.score(edits.Subspace(e.model), torch.eye(width), e.model, x.test)
        assert torch.equal(whole, x.test.cause)
        nothing = edits.score(edits.Latents(e, torch.empty(0, dtype=torch.long), True), torch.ones(0), e.model, x.test)
        assert torch.equal(nothing, ~x.test.cause)


def test_pairs_are_what_they_are_said_to_be() -> None:
    model = toy_model()
    p = model.prompts
    found, notes = exchanges(model, 60, 20)
    assert [x.name for x in found] == [f"{kind}/{a}" for kind, named in KINDS.items() for a in named]
    assert not notes
    for x in found:
        attribute = x.name.split("/")[1]
        for part, scoring in ((x.fit, False), (x.test, True)):
            for b, s, label, cause in _rows(part):
                assert all(p.types[x.type].test[p.entity[i]] == scoring and p.type[i] == x.type for i in (b, s))
                assert asked(p, s) == attribute
                assert (asked(p, b) == attribute) is cause
                assert truth(p, b, attribute) != truth(p, s, attribute)
                assert truth(p, b) != truth(p, s, asked(p, b))
                assert label == (truth(p, s) if cause else truth(p, b))
        assert x.fit.cause.tolist() == [True, False] * 60
        pairs = set(zip(x.test.base.tolist(), x.test.source.tolist(), strict=True))
        assert len(pairs) == len(x.test) == 40


def test_what_the_entitys_token_does_not_carry_is_left_out_and_named() -> None:
    e = entity_codes(toy_model(deaf=("language",), unknown=("diet",)), _true_latents())
    found = ravel.ravel_cause.rows(e, **ravel.ravel_cause.settings)
    assert "error=kept/city/country" in found.slices
    assert not any("language" in name or "diet" in name for name in found.slices)
    told = " | ".join(found.notes)
    assert "city/language is left out: exchanging the whole activation" in told
    assert "beast/diet is left out: the model completes 0 of 72 prompts (0.0%)" in told


def test_a_model_that_knows_nothing_gets_no_score() -> None:
    everything = tuple(a for named in KINDS.values() for a in named)
    e = entity_codes(toy_model(unknown=everything), _true_latents())
    for metric in (*LEARNED, ravel.ravel_skyline, ravel.ravel_random_mask):
        with pytest.raises(NotApplicable, match=r"completes 0\.0% of 360 prompts"):
            metric.rows(e, **metric.settings)


def test_the_order_of_latents_and_the_size_of_batches_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    mixed = torch.linalg.qr(torch.randn(18, 18, generator=torch.Generator().manual_seed(4))).Q
    rows = torch.cat([mixed, -mixed])
    sae, order = _sae(rows), torch.randperm(36, generator=torch.Generator().manual_seed(6))
    first = _values(ravel.ravel_disentanglement, entity_codes(toy_model(), sae))
    monkeypatch.setattr(edits, "SCORED_AT_ONCE", 7)
    second = _values(ravel.ravel_disentanglement, entity_codes(toy_model(), _sae(rows[order])))
    assert second == pytest.approx(first)
    assert first["error=dropped"] < 0.9


def test_nothing_but_the_mask_is_trained() -> None:
    model = toy_model()
    e = entity_codes(model, _true_latents())
    e.sae.W_dec.requires_grad_()  # type: ignore[union-attr]
    before = model._resume.directions.clone()  # type: ignore[attr-defined]
    with torch.no_grad():
        _values(ravel.ravel_cause, e)
        _values(ravel.ravel_skyline, e)
    assert e.sae.W_dec.grad is None  # type: ignore[union-attr]
    assert model._resume.directions.grad is None  # type: ignore[attr-defined]
    assert torch.equal(model._resume.directions, before)  # type: ignore[attr-defined]


def test_rows_are_the_scoring_entities() -> None:
    e = entity_codes(toy_model(), _true_latents())
    found = ravel.ravel_cause.rows(e, **ravel.ravel_cause.settings)
    assert {tuple(field.shape) for field in found.fields.values()} == {(24, len(found.slices))}


def test_an_unknown_treatment_of_the_error_is_refused() -> None:
    with pytest.raises(UserError, match="each one of 'dropped', 'kept'"):
        ravel.ravel_cause.with_settings(error=["added"])
    kept = ravel.ravel_cause.with_settings(error="kept").settings
    assert set(_values(ravel.ravel_cause, entity_codes(toy_model(), _true_latents()), error=kept["error"])) >= {
        "error=kept"
    }


def test_pairs_repeat_only_where_there_are_too_few() -> None:
    found, _ = exchanges(toy_model(), 10_000, 10)
    fit: Pairs = found[0].fit
    assert len(fit) == 20_000
    assert len(set(zip(fit.base.tolist(), fit.source.tolist(), fit.cause.tolist(), strict=True))) < 20_000
