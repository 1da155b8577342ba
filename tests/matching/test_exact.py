"""The sparse way against scipy's dense solver, and a certificate that cannot be talked into a wrong answer."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from saebench.matching import Settings, exact, match
from tests.matching.instances import KINDS, instance, optimum

DTYPES = (torch.float32, torch.float64)


@pytest.mark.parametrize("kind", KINDS)
def test_equals_the_dense_solver(kind: str) -> None:
    """Some sixty instances a kind, square and not, signed and absolute, single and double products, short lists."""
    rng = np.random.default_rng(list(kind.encode()))
    for seed in range(62):
        n = int(rng.integers(1, 120))
        m = n if seed % 2 else int(rng.integers(1, 160))
        d = int(rng.choice([2, 3, 8, 24]))
        a, b = instance(kind, n, m, d, seed)
        signed = bool(rng.integers(2))
        lists = {"rows": int(rng.choice([1, 2, 4, 16])), "columns": int(rng.choice([1, 2, 8])), "exact": seed % 3 == 0}
        found = match(a, b, signed, settings=Settings(dtype=DTYPES[rng.integers(2)], **lists))
        assert found.method == "sparse"
        assert found.value == pytest.approx(optimum(a, b, signed=signed), abs=1e-9), (n, m, d, signed, lists)
        assert found.gap < 1e-6, (n, m, d, signed, lists)
        assert len(set(found.partner[found.partner >= 0])) == min(n, m)


@pytest.mark.parametrize(
    ("kind", "n", "m", "signed"),
    [("clustered", 2000, 2000, False), ("correlated", 1200, 1200, True), ("zero_rows", 900, 1500, False),
     ("near_ties", 700, 700, False)],
)  # fmt: skip
def test_equals_the_dense_solver_on_large_instances(kind: str, n: int, m: int, signed: bool) -> None:
    a, b = instance(kind, n, m, 48, seed=1)
    found = match(a, b, signed, settings=Settings(dtype=torch.float32))
    assert found.value == pytest.approx(optimum(a, b, signed=signed), abs=1e-9)
    assert found.gap < 1e-6


def test_goes_on_until_certified() -> None:
    """Lists of one neighbour miss the optimum at first; pricing finds what is missing."""
    a, b = instance("clustered", 300, 300, 16, seed=3)
    found = match(a, b, settings=Settings(rows=1, columns=1))
    from saebench.matching.dictionary import dictionary
    from saebench.matching.matched import matched

    rows = matched(*(dictionary(torch.from_numpy(x), "x") for x in (a, b)), settings=Settings(rows=1, columns=1))
    assert rows.rounds > 2
    assert found.gap < 1e-9 and found.value == pytest.approx(optimum(a, b, signed=False), abs=1e-9)


def test_a_wrong_solver_widens_the_gap_and_the_bound_still_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weak duality: whatever the solver does, no matching exceeds value x (1 + gap)."""
    a, b = instance("isotropic", 80, 80, 8, seed=5)

    def careless(graph: object, price: np.ndarray, partner: np.ndarray, first: float, last: float) -> None:
        _assign(graph, price, partner, first, last)
        price += np.random.default_rng(0).uniform(0, 0.1, len(price))

    _assign = exact.assign
    monkeypatch.setattr(exact, "assign", careless)
    monkeypatch.setattr(exact, "MOST_ROUNDS", 3)
    found = match(a, b, settings=Settings())
    assert found.gap > 1e-3
    assert found.value * (1 + found.gap) >= optimum(a, b, signed=False) - 1e-12


def test_mutual_nearest_neighbours_alone_are_not_fixed() -> None:
    """[[.9, .89], [.89, .1]]: the mutual best pair .9 is not in the optimum .89 + .89."""
    similarity = torch.tensor([[0.9, 0.89], [0.89, 0.1]])
    from saebench.matching.candidates import Candidates
    from saebench.matching.fixing import safe_pairs

    rows, columns = similarity.topk(2, dim=1), similarity.T.topk(2, dim=1)
    lists = Candidates(rows.values, rows.indices.int(), columns.values, columns.indices.int())
    assert not len(safe_pairs(lists, 0.0)[0])


@pytest.mark.parametrize(("kind", "signed"), [("isotropic", False), ("aligned", True)])
def test_safe_pairs_are_in_an_optimum(kind: str, signed: bool) -> None:
    """With the safe pairs forced, nothing is lost."""
    from saebench.matching.candidates import candidates
    from saebench.matching.dictionary import dictionary
    from saebench.matching.fixing import safe_pairs

    fixed = 0
    for seed in range(30):
        a, b = instance(kind, 40, 50, 300, seed)
        left, right = (dictionary(torch.from_numpy(x), "x").unit(torch.float64) for x in (a, b))
        i, j = safe_pairs(candidates(left, right, signed=signed, rows=5, columns=3), 1e-12)
        similarity = left @ right.T
        similarity = (similarity if signed else similarity.abs()).numpy()
        rest = np.delete(np.delete(similarity, i, 0), j, 1)
        from scipy.optimize import linear_sum_assignment

        total = similarity[i, j].sum() + rest[linear_sum_assignment(rest, maximize=True)].sum()
        assert total / len(a) == pytest.approx(optimum(a, b, signed=signed), abs=1e-12)
        fixed += len(i)
    assert fixed > 100, "half of the rows have a clear partner"


@pytest.mark.parametrize("kind", ["CompiledLists", "DeviceLists"])
@pytest.mark.parametrize("block", [1, 7, 64])
def test_lists_do_not_depend_on_blocks(kind: str, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each list holds the largest of its row or column, wherever the blocks end, on a CPU and as on a GPU."""
    from saebench.matching import candidates as module

    monkeypatch.setattr(module, "CompiledLists", getattr(module, kind))
    monkeypatch.setattr(module, "blocks", lambda n, *_: (slice(s, min(n, s + block)) for s in range(0, n, block)))
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(90, 6, generator=generator).double(), torch.randn(400, 6, generator=generator).double()
    found = module.candidates(a, b, signed=True, rows=5, columns=4)
    similarity = a @ b.T
    torch.testing.assert_close(found.row_value, similarity.topk(5, dim=1).values)
    torch.testing.assert_close(found.column_value, similarity.T.topk(4, dim=1).values)
    torch.testing.assert_close(similarity.gather(1, found.row_index.long()), found.row_value)
    torch.testing.assert_close(similarity.T.gather(1, found.column_index.long()), found.column_value)


def test_precision_settings_of_the_user_are_left_alone() -> None:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        match(*instance("isotropic", 20, 20, 4, 0), settings=Settings(dtype=torch.float32))
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)
