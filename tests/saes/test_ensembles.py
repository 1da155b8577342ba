"""Several SAEs as one coder: bagged and boosted, against sums over members written out."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from saebench.errors import UserError
from saebench.saes import SparseCoder, load_sae
from saebench.saes.ensembles import ensemble
from tests.saes.checkpoints import HOOK, D, F, activations, weights, write
from tests.saes.test_bad_input import refused


def two(folder: Path, first: str = "standard", second: str = "topk", **keys: object) -> Path:
    """A folder of two SAEs with the description of both together."""
    write(folder / "first", first)
    write(folder / "second", second)
    lines = [f"{key}: {value}" for key, value in {"members": "[first, second]", **keys}.items()]
    (folder / "saebench.yaml").write_text("\n".join(lines))
    return folder


def standard(x: Tensor) -> tuple[Tensor, Tensor]:
    t = weights("standard")
    f = ((x - t["b_dec"]) @ t["W_enc"] + t["b_enc"]).clamp_min(0)
    return f, f @ t["W_dec"] + t["b_dec"]


def topk(x: Tensor) -> tuple[Tensor, Tensor]:
    f, _ = standard(x)
    f = torch.where(f >= f.topk(5, dim=1).values[:, -1:], f, 0)
    return f, f @ weights("topk")["W_dec"] + weights("topk")["b_dec"]


def test_bagged_is_the_mean_of_reconstructions(tmp_path: Path) -> None:
    coder, x = load_sae(two(tmp_path, architecture="bagged")), activations()
    (f, y), (g, z) = standard(x), topk(x)
    assert isinstance(coder, SparseCoder) and coder.d_sae == 2 * F and coder.hook_in == HOOK
    torch.testing.assert_close(coder.encode(x).dense(), torch.cat([f, g], 1) / 2, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(coder.reconstruct(x), (y + z) / 2, rtol=1e-5, atol=1e-5)
    assert coder.W_dec is not None and coder.W_enc is not None and coder.W_enc.shape == (D, 2 * F)
    assert coder.b_dec is not None
    linear = coder.encode(x).dense() @ coder.W_dec + coder.b_dec
    torch.testing.assert_close(coder.reconstruct(x), linear, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("reads", ["error", "input"])
def test_boosted_adds_what_the_first_one_leaves(reads: str, tmp_path: Path) -> None:
    coder, x = load_sae(two(tmp_path, architecture="boosted", options=f"{{reads: {reads}}}")), activations()
    f, y = standard(x)
    g, z = topk(x - y if reads == "error" else x)
    torch.testing.assert_close(coder.encode(x).dense(), torch.cat([f, g], 1), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(coder.reconstruct(x), y + z, rtol=1e-4, atol=1e-4)
    assert (coder.W_enc is None) == (reads == "error")
    again = load_sae(tmp_path)
    assert again.fingerprint == coder.fingerprint and torch.equal(again.reconstruct(x), coder.reconstruct(x))
    assert coder.to(dtype=torch.float64).reconstruct(x).dtype is torch.float64


def test_members_with_scales_of_their_own_have_no_one_decoder(tmp_path: Path) -> None:
    write(tmp_path / "a", "topk", normalize_activations="layer_norm")
    write(tmp_path / "b", "topk")
    members, x = [load_sae(tmp_path / name) for name in "ab"], activations()
    coder = ensemble(members)
    assert coder.W_dec is None and not coder.linear_decoder and coder.metadata["k"] == 10
    torch.testing.assert_close(coder.reconstruct(x), sum(m.reconstruct(x) for m in members) / 2, rtol=1e-5, atol=1e-5)


def test_ensemble_that_is_none(tmp_path: Path) -> None:
    refused(two(tmp_path, architecture="baged"), "members are joined by `architecture: bagged`")
    refused(two(tmp_path, architecture="bagged", members="[first]"), "two members or more, found 1")
    refused(two(tmp_path, architecture="boosted", options="{reads: eror}"), "Did you mean 'error'")
    refused(two(tmp_path, architecture="bagged", members="[first, third]"), "member 'third' is no other file or folder")
    refused(two(tmp_path, architecture="bagged", members="[first, .]"), "member '.' is no other file or folder")
    refused(two(tmp_path, architecture="bagged", hook=f"[{HOOK}, {HOOK}]"), "belongs to one hook, found 2")
    write(tmp_path / "across", "transcoder")
    refused(two(tmp_path, architecture="bagged", members="[first, across]"), "differ in hook or width")
    across = load_sae(tmp_path / "across")
    with pytest.raises(UserError, match="leaves no error of its input"):
        ensemble([across, across], "boosted")
