"""Coverage equals a search by hand, and is one for a SAE with a latent a label, the base rate for a shuffled one."""

from __future__ import annotations

import pytest
import torch
from saebench.evals.concept_coverage import concept_coverage
from sklearn.metrics import f1_score

import saebench as sb
from tests.helpers.streams import Given, sparse, taken, unit_rows, values
from tests.helpers.toys import HOOK, ToySAE, tiny_llama, token_rows

NAMES = ("kind=a", "kind=b", "size=big")


def _labels(n: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(n, 3, generator=generator) < torch.tensor([0.1, 0.3, 0.5])


def _given(n: int = 400) -> Given:
    """Codes that have a little to do with the labels, in both texts."""
    labels, others = _labels(n, 1), _labels(n, 2)
    codes, other = sparse(n, 12, 4, 3), sparse(n, 12, 4, 4)
    for kind, holds in ((codes, labels), (other, others)):
        kind[:, :3] += 0.7 * holds * (torch.rand(n, 3, generator=torch.Generator().manual_seed(5)) < 0.6)
    return Given(codes, unit_rows(12, 8), labels=labels, names=NAMES, other=other, other_labels=others)


def test_against_a_search_in_loops() -> None:
    given = _given()
    found = values(concept_coverage, given)
    top = given.other.amax(0)
    tenths = torch.arange(10) / 10
    above = given.other[:, :, None] > tenths * top[:, None]
    scores: list[dict[str, float]] = []
    for g in range(3):
        truth = given.other_labels[:, g, None, None]
        f1 = 2 * (above & truth).sum(0) / (above.sum(0) + truth.sum())
        best = divmod(int(f1.argmax()), 10)
        said = (given.codes[:, best[0]] > best[1] / 10 * top[best[0]]).numpy()
        truth = given.labels[:, g].numpy()
        hit = float((said & truth).sum())
        precision, recall = hit / max(1, said.sum()), hit / truth.sum()
        scores.append({"f1": f1_score(truth, said), "precision": precision, "recall": recall})
    for name in ("f1", "precision", "recall"):
        assert found[name] == pytest.approx(sum(s[name] for s in scores) / 3)
    assert found["f1/kind"] == pytest.approx((scores[0]["f1"] + scores[1]["f1"]) / 2)
    assert found["f1/size"] == pytest.approx(scores[2]["f1"])


def test_a_latent_a_label_covers_all_and_shuffled_ones_no_more_than_the_base_rate() -> None:
    labels, others = _labels(3000, 1), _labels(3000, 2)
    codes, other = (0.5 + torch.rand(3000, 3, generator=torch.Generator().manual_seed(9))) * labels, 2.0 * others
    perfect = Given(codes, unit_rows(3, 8), labels=labels, names=NAMES, other=other, other_labels=others)
    assert set(values(concept_coverage, perfect).values()) == {1.0}
    order = torch.randperm(3000, generator=torch.Generator().manual_seed(0))
    shuffled = values(concept_coverage, perfect.but(codes=codes[order], other=other[order]))
    # A detector that knows nothing has precision p and at best recall 1: F1 at most 2 p / (1 + p).
    most = sum(2 * p / (1 + p) for p in (0.1, 0.3, 0.5)) / 3
    assert shuffled["f1"] < most + 0.03


def test_what_fits_the_scored_text_alone_is_not_chosen() -> None:
    """A latent that copies a label on the scored text, and fires at random on the other, must not win."""
    given = _given()
    codes = given.codes.clone()
    codes[:, 11] = given.labels[:, 0].float()
    assert values(concept_coverage, given.but(codes=codes))["f1"] == pytest.approx(
        values(concept_coverage, given)["f1"], abs=0.02
    )


def test_what_must_not_move_it_does_not() -> None:
    given = _given()
    whole = values(concept_coverage, given, batches=1)
    assert values(concept_coverage, given, batches=7) == pytest.approx(whole)
    order, scale = torch.randperm(12, generator=torch.Generator().manual_seed(1)), torch.rand(12) + 0.1
    moved = given.but(codes=given.codes[:, order] * scale, other=given.other[:, order] * scale)
    assert values(concept_coverage, moved) == pytest.approx(whole)
    flipped = given.but(codes=-given.codes, other=-given.other)
    assert values(concept_coverage, flipped) == pytest.approx(whole)


def test_a_dead_sae_covers_nothing_and_a_document_is_a_unit() -> None:
    given = _given()
    dead = given.but(codes=torch.zeros_like(given.codes), other=torch.zeros_like(given.other))
    assert set(values(concept_coverage, dead).values()) == {0.0}
    _, fields = taken(concept_coverage, given)
    assert fields["psi"].shape == (40, 5)
    spread = fields["psi"][:, 0].std(ddof=1) / 40**0.5
    assert 0.005 < spread < 0.05


def test_labels_that_are_rare_or_never_occur_are_named_and_left_out() -> None:
    given = _given()
    labels, others = given.labels.clone(), given.other_labels.clone()
    labels[:, 0], others[5:, 1] = False, False
    odd = given.but(labels=labels, other_labels=others)
    tally, _ = taken(concept_coverage, odd)
    assert tally.slices == ("f1", "precision", "recall", "f1/size")
    assert any("1 labels never occur: kind=a" in note for note in tally.notes)
    assert any("1 labels occur on fewer than 10 tokens" in note and "kind=b" in note for note in tally.notes)


def test_token_ids_without_a_tokenizer_have_no_labels() -> None:
    suite = {"metric": ["concept_coverage"], "references": {"null": None, "baseline": None}}
    results = sb.evaluate(ToySAE(), suite, model=tiny_llama(), data={"text": token_rows(30)}, hook=HOOK)
    (row,) = results.rows
    assert row.status == "not_applicable" and "no strings" in row.reason
