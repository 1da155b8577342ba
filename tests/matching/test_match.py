"""`sb.match` as a user meets it: what equal and random dictionaries score, tables, figures, and bad input."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import saebench as sb
from saebench.matching import Settings, null
from tests.helpers.toys import ToySAE
from tests.matching.instances import instance

SPARSE = Settings(rows=8, columns=4)


def _random(n: int, d: int, seed: int) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("settings", [None, SPARSE], ids=["dense", "sparse"])
def test_a_permuted_flipped_rescaled_copy_scores_one(settings: Settings | None) -> None:
    a = _random(200, 16, 0)
    order = torch.randperm(200, generator=torch.Generator().manual_seed(1))
    sign = torch.where(torch.arange(200) % 3 == 0, -1.0, 1.0)[:, None]
    b = (a * sign * torch.linspace(0.01, 50, 200)[:, None])[order]
    found = sb.match(a, b, settings=settings)
    assert found.value == pytest.approx(1, abs=1e-12)
    assert found.adjusted == pytest.approx(1, abs=1e-12) and found.shared(0.99) == 1
    assert np.array_equal(order.numpy()[found.partner], np.arange(200))
    assert sb.match(a, b, signed=True, settings=settings).value < 0.9
    assert sb.match(a, (a * sign.abs())[order], signed=True, settings=settings).value == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize(("d", "n"), [(16, 32), (64, 512), (256, 1024), (48, 1800)])
@pytest.mark.parametrize("signed", [False, True])
def test_random_dictionaries_score_their_null(d: int, n: int, signed: bool) -> None:
    found = sb.match(_random(n, d, 11), _random(n, d, 12), signed)
    noise = found.matched.std() / n**0.5
    assert abs(found.value - found.null) < 5 * noise
    assert abs(found.adjusted) < 5 * noise / (1 - found.null)


def test_random_dictionaries_of_unequal_size_score_their_null() -> None:
    found = sb.match(_random(300, 24, 1), _random(900, 24, 2))
    assert found.coverage == pytest.approx(1 / 3)
    assert abs(found.value - found.null) < 5 * found.matched.std() / 300**0.5
    assert found.null > sb.match(_random(300, 24, 1), _random(300, 24, 2)).null, "more rows to choose from"


@pytest.mark.parametrize("settings", [None, SPARSE], ids=["dense", "sparse"])
def test_the_order_of_the_two_does_not_matter(settings: Settings | None) -> None:
    a, b = instance("clustered", 90, 140, 12, seed=2)
    one, two = sb.match(a, b, settings=settings), sb.match(b, a, settings=settings)
    assert one.value == pytest.approx(two.value, abs=1e-12) and one.coverage == two.coverage == 90 / 140
    assert (two.partner >= 0).sum() == 90 and np.isnan(two.cosine).sum() == 50
    assert np.array_equal(np.isnan(two.cosine), two.partner < 0)


def test_dense_and_sparse_tell_the_same_of_each_latent() -> None:
    a, b = instance("isotropic", 150, 180, 10, seed=4)
    dense, sparse = sb.match(a, b), sb.match(a, b, settings=SPARSE)
    assert (dense.method, sparse.method) == ("dense", "sparse")
    assert np.array_equal(dense.partner, sparse.partner)
    for name in ("cosine", "second", "nearest", "nearest_back"):
        np.testing.assert_allclose(getattr(dense, name), getattr(sparse, name), atol=1e-12)


def test_all_equal_dictionaries_are_all_ties() -> None:
    a = np.ones((400, 5))
    for signed in (False, True):
        found = sb.match(a, a.copy(), signed, settings=Settings(rows=4, columns=2, dtype=torch.float32))
        assert found.value == pytest.approx(1, abs=1e-12) and found.gap < 1e-6
        assert len(set(found.partner)) == 400


def test_zero_latents_are_counted_and_score_nothing() -> None:
    a = _random(40, 8, 0)
    b = a.clone()
    b[:10] = 0
    found = sb.match(a, b)
    assert found.zero == (0, 10) and found.value == pytest.approx(30 / 40, abs=0.05)
    assert sb.match(torch.zeros(5, 3), torch.ones(6, 3)).value == 0
    assert sb.match(torch.zeros(5, 3), torch.ones(6, 3), settings=SPARSE).value == 0


def test_both_sides_are_the_mean_of_the_two_cosines() -> None:
    one, two = ToySAE(seed=1), ToySAE(seed=2)
    found = sb.match(one, two, signed=True, side="both")
    cosines = [
        torch.nn.functional.cosine_similarity(x.detach(), y.detach()[found.partner], dim=-1)
        for x, y in ((one.W_dec, two.W_dec), (one.W_enc.T, two.W_enc.T))
    ]
    np.testing.assert_allclose(found.cosine, torch.stack(cosines).mean(0).numpy(), atol=1e-6)
    assert found.widths == (16, 16) and found.null < sb.match(one, two, signed=True).null


def test_agreement_asks_for_the_same_partner_on_both_sides() -> None:
    one = ToySAE(seed=1)
    same = sb.match(one, one).agreement(sb.match(one, one, side="encoder"))
    assert same.same == same.shared == 1
    other = ToySAE(seed=1)
    with torch.no_grad():
        other.W_enc.copy_(other.W_enc.roll(1, dims=1))
    crossed = sb.match(one, other).agreement(sb.match(one, other, side="encoder"))
    assert crossed.same == crossed.shared == 0


def test_nulls_are_kept_on_disk_and_mended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAEBENCH_CACHE", str(tmp_path))
    first = null.null_of((8,), (30, 20), signed=False)
    files = list(tmp_path.iterdir())
    assert [file.suffix for file in files] == [".json"], "no temporary file is left"
    monkeypatch.setattr(null, "matched", lambda *_, **__: pytest.fail("drawn again"))
    assert null.null_of((8,), (20, 30), signed=False) == first
    monkeypatch.undo()
    monkeypatch.setenv("SAEBENCH_CACHE", str(tmp_path))
    files[0].write_text("{ torn")
    assert null.null_of((8,), (30, 20), signed=False) == first
    assert null.null_of((8,), (30, 20), signed=True) != first


def test_a_folder_that_cannot_be_written_costs_only_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SAEBENCH_CACHE", str(tmp_path / "file" / "below"))
    assert 0 < null.null_of((8,), (20, 20), signed=False).value < 1


def test_table_and_figure(tmp_path: Path) -> None:
    from saebench.matching import figure

    a, b = instance("isotropic", 50, 30, 8, seed=6)
    found = sb.match(a, b)
    found.to_parquet(tmp_path / "new" / "latents.parquet")
    table = pd.read_parquet(tmp_path / "new" / "latents.parquet")
    assert list(table.columns) == ["latent", "partner", "cosine", "second"]
    assert table.partner.notna().sum() == 30 and table.partner.dropna().is_unique
    assert table.cosine.mean() == pytest.approx(found.value)
    figure.draw(found, tmp_path / "match.png")
    assert (tmp_path / "match.png").read_bytes()[:4] == b"\x89PNG"


_BROKEN = torch.eye(4)
_BROKEN[2, 1] = torch.nan


@pytest.mark.parametrize(
    ("a", "b", "options", "said"),
    [
        (torch.eye(4), torch.eye(5), {}, "spaces of different size"),
        (torch.eye(4), _BROKEN, {}, "Latent 2 of B"),
        (torch.eye(4) * torch.inf, torch.eye(4), {}, "not finite"),
        (torch.zeros(0, 4), torch.eye(4), {}, "no dictionary"),
        (torch.ones(4), torch.eye(4), {}, "shape is [4]"),
        (torch.eye(4), torch.eye(4), {"side": "decodr"}, "decoder"),
        (torch.eye(4), torch.eye(4), {"side": "both"}, "plain matrix"),
        ("null:random-4", torch.eye(4), {}, "fitted to activations"),
        ("world:topk-mdi", torch.eye(4), {}, "topk-mid"),
    ],
)
def test_bad_input_is_one_sentence(a: object, b: object, options: dict, said: str) -> None:
    with pytest.raises(sb.UserError) as error:
        sb.match(a, b, **options)
    assert said in str(error.value) and "\n" not in str(error.value)
