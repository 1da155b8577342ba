"""Errors by band equal loops over tokens, and the bands of one metric add up to the whole."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable

import numpy as np
import pytest
import torch
from saebench.evals.reconstruction import nmse
from saebench.evals.stratified import nmse_by_domain, nmse_by_frequency, nmse_by_position

from saebench.metric import Metric, NotApplicable
from tests.helpers.streams import Given, sparse, taken, unit_rows, values

N = 600


@pytest.fixture
def given() -> Given:
    """Tokens whose frequencies, places and domains all differ, with an error that depends on them."""
    generator = torch.Generator().manual_seed(3)
    weight = 1 / (torch.arange(40) + 1.0) ** 2
    ids = torch.multinomial(weight, N, replacement=True, generator=generator)
    made = Given(sparse(N, 30, 4), unit_rows(30, 8), ids=ids, domain=ids % 3, domains=("a", "b", "c"), per_row=20)
    noise = torch.randn(N, 8, generator=generator) * (1 + ids[:, None] / 10 + torch.arange(N)[:, None] % 20 / 5)
    return made.but(y=made.y_hat + noise)


def by_hand(given: Given, band: Callable[[int], Hashable]) -> dict[Hashable, float]:
    """Sum of squared errors over sum of squares, token by token."""
    assert given.y is not None
    error: dict[Hashable, float] = defaultdict(float)
    power: dict[Hashable, float] = defaultdict(float)
    for token, (target, made) in enumerate(zip(given.y.numpy(), given.y_hat.numpy(), strict=True)):
        error[band(token)] += float(np.sum((target.astype(float) - made) ** 2))
        power[band(token)] += float(np.sum(target.astype(float) ** 2))
    return {key: error[key] / power[key] for key in error}


def test_position(given: Given) -> None:
    names = ["position<4", "position=4-16", "position>=16"]
    wanted = by_hand(given, lambda token: names[sum(token % 20 + 1 >= edge for edge in (4, 16))])
    assert values(nmse_by_position, given, edges=[4, 16]) == pytest.approx(wanted, rel=1e-5)
    assert len(set(wanted.values())) == 3


def test_frequency(given: Given) -> None:
    assert given.ids is not None
    share = {token: count / N for token, count in Counter(given.ids.tolist()).items()}
    ids = given.ids.tolist()
    names = ["frequency<0.01", "frequency=0.01-0.1", "frequency>=0.1"]
    wanted = by_hand(given, lambda token: names[sum(share[ids[token]] >= edge for edge in (0.01, 0.1))])
    assert values(nmse_by_frequency, given, edges=[0.01, 0.1]) == pytest.approx(wanted, rel=1e-5)
    assert len(wanted) == 3


def test_domain(given: Given) -> None:
    assert given.ids is not None
    ids = given.ids.tolist()
    wanted = by_hand(given, lambda token: f"domain={'abc'[ids[token] % 3]}")
    assert values(nmse_by_domain, given) == pytest.approx(wanted, rel=1e-5)


def test_data_without_domains_has_no_bands_of_them(given: Given) -> None:
    with pytest.raises(NotApplicable, match="no `domain` column"):
        views = given.but(domains=()).views(slice(0, N))
        nmse_by_domain.rows(*(views[kind] for kind in nmse_by_domain.inputs.values()))


@pytest.mark.parametrize(
    ("metric", "edges"),
    [(nmse_by_position, {"edges": [4, 16]}), (nmse_by_frequency, {"edges": [0.01, 0.1]}), (nmse_by_domain, {})],
    ids=["position", "frequency", "domain"],
)
def test_bands_add_up_and_batches_scales_and_a_perfect_sae_do_what_they_must(
    metric: Metric, edges: dict[str, list[float]], given: Given
) -> None:
    found = values(metric, given, batches=1, **edges)
    assert values(metric, given, batches=7, **edges) == pytest.approx(found)
    assert given.y is not None
    scaled = given.but(codes=3 * given.codes, y=3 * given.y)
    assert values(metric, scaled, **edges) == pytest.approx(found, rel=1e-4)
    assert set(values(metric, given.but(y=None), **edges).values()) == {0.0}
    assert set(values(metric, given.but(codes=torch.zeros_like(given.codes)), **edges).values()) == {1.0}
    _, fields = taken(metric, given, **edges)
    assert fields["error"].sum() / fields["power"].sum() == pytest.approx(values(nmse, given)[""], rel=1e-5)


@pytest.mark.parametrize(("metric", "edges"), [(nmse_by_position, [16, 4]), (nmse_by_frequency, [0.1, 0.01, 0.1])])
def test_the_order_of_edges_does_not_matter(metric: Metric, edges: list[float], given: Given) -> None:
    assert values(metric, given, edges=edges) == values(metric, given, edges=sorted(set(edges)))
