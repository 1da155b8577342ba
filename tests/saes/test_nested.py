"""Nested dictionaries, archetypal dictionaries, ITDA and AdaptiveK: what is more than a rename of tensors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from saebench.saes import Codes, SparseCoder, load_sae
from saebench.saes.prefixes import prefixes
from tests.saes import foreign
from tests.saes.checkpoints import HOOK, D, F, activations, draw, weights, write
from tests.saes.test_bad_input import refused
from tests.saes.test_format_traps import changed
from tests.saes.test_plain import ROWS, adaptive, described, itda


def test_prefix_is_the_whole_code_with_later_latents_left_out(tmp_path: Path) -> None:
    folder, forward = foreign.matryoshka(tmp_path)
    whole, x = load_sae(folder), activations()
    f, _ = forward(x)
    assert [one.d_sae for one in prefixes(whole)] == [F // 4, F // 2, F]
    for m in (F // 4, F // 2, F):
        one = load_sae(f"prefix:{m}@{folder}")
        codes = one.encode(x)
        assert isinstance(one, SparseCoder) and isinstance(codes, Codes)
        torch.testing.assert_close(codes.dense(), f[:, :m])
        torch.testing.assert_close(one.reconstruct(x), f[:, :m] @ whole.W_dec[:m] + whole.b_dec)
        torch.testing.assert_close(one.decode(codes.dense()), one.decode(codes))
        assert one.W_dec.shape == (m, D) and one.W_enc.shape == (D, m) and one.hook_in == whole.hook_in
    assert "k" not in load_sae(f"prefix:{F // 4}@{folder}").metadata


def test_prefix_of_a_top_k_coder_keeps_the_whole_selection_and_its_normalisation(tmp_path: Path) -> None:
    folder = write(tmp_path, "topk", normalize_activations="layer_norm")
    whole, part, x = load_sae(folder), load_sae(f"prefix:20@{folder}"), activations()
    codes = part.encode(x)
    torch.testing.assert_close(codes.dense(), whole.encode(x).dense()[:, :20])
    left = whole.encode(x).without(range(20, F))
    torch.testing.assert_close(part.reconstruct(x), whole.decode(left))
    torch.testing.assert_close(part.decode(codes.dense(), codes.ctx), part.decode(codes))


def test_prefixes_are_told_apart_and_move(tmp_path: Path) -> None:
    folder, _ = foreign.matryoshka(tmp_path)
    coders = [load_sae(folder), *(load_sae(f"prefix:{m}@{folder}") for m in (8, 9))]
    assert len({coder.fingerprint for coder in coders}) == len({coder.name for coder in coders}) == 3
    assert load_sae(f"prefix:8@{folder}", dtype="bfloat16").reconstruct(activations()).dtype is torch.bfloat16
    assert load_sae(f"prefix:8@{folder}", name="small").name == "small"
    assert load_sae(f"prefix:8@{folder}").ref == f"prefix:8@{folder}"


@pytest.mark.parametrize("k", [1, 3, F])
def test_a_top_k_coder_at_another_k_keeps_its_k_largest(tmp_path: Path, k: int) -> None:
    folder = write(tmp_path, "topk", apply_b_dec_to_input=True)
    whole, other, x = load_sae(folder), load_sae(f"topk:{k}@{folder}"), activations()
    pre = (x - whole.b_dec) @ whole.W_enc + whole.b_enc
    wanted = torch.where(pre >= pre.topk(k, dim=-1).values[:, -1:], pre, 0.0).relu()
    torch.testing.assert_close(other.encode(x).dense(), wanted)
    torch.testing.assert_close(other.reconstruct(x), wanted @ whole.W_dec + whole.b_dec)
    assert other.name == f"{whole.name}[k={k}]" and other.ref == f"topk:{k}@{folder}" and other.metadata["k"] == k
    assert other.fingerprint != whole.fingerprint


def test_another_k_is_refused_where_there_is_none(tmp_path: Path) -> None:
    folder = write(tmp_path, "topk")
    for ref, said in (
        ("topk:4@world:relu-mid", "no k to choose"),
        (f"topk:{F + 1}@{folder}", f"k is 1 to {F}"),
        (f"topk:0@{folder}", f"k is 1 to {F}"),
        (f"topk:many@{folder}", "write topk:K@REF"),
    ):
        refused(ref, said)


def test_prefix_of_the_world_s_matryoshka() -> None:
    assert [one.d_sae for one in prefixes(load_sae("world:matryoshka-mid"))] == [64, 256, 1024]


def test_prefix_that_is_none(tmp_path: Path) -> None:
    folder = write(tmp_path)
    for ref, match in ((f"prefix:0@{folder}", "a prefix has 1 to 64"), (f"prefix:65@{folder}", "a prefix has 1 to 64"),
                       (f"prefix:x@{folder}", "write prefix:M@REF"), ("prefix:3", "write prefix:M@REF")):  # fmt: skip
        refused(ref, match)
    with pytest.raises(Exception, match="does not say the widths"):
        prefixes(load_sae(folder))


# overcomplete


class TopKSAE(nn.Module):
    """Its encoder and its archetypal dictionary, as the library's modules compute them in evaluation mode."""

    def __init__(self, archetypes: int = 0) -> None:
        super().__init__()
        torch.manual_seed(0)
        block = nn.Sequential(nn.Linear(D, F), nn.BatchNorm1d(F), nn.ReLU())
        self.encoder = nn.Module()
        self.encoder.final_block = block
        self.dictionary: Any = nn.Module()
        self.dictionary.in_dimensions = D
        if archetypes:
            self.dictionary.register_buffer("C", draw(archetypes, D, seed=5))
            self.dictionary.W = nn.Parameter(draw(F, archetypes, seed=6) + 0.2)
            self.dictionary.Relax = nn.Parameter(draw(F, D, seed=7))
            self.dictionary.multiplier = nn.Parameter(torch.tensor(0.3))
        else:
            self.dictionary._weights = nn.Parameter(ROWS.clone())
        norm: Any = block[1]
        norm.running_mean.copy_(draw(F, seed=8))
        norm.running_var.copy_(draw(F, seed=9).abs() + 0.5)
        norm.weight.data = draw(F, seed=10) + 1
        norm.bias.data = draw(F, seed=11)
        self.eval()

    def rows(self) -> Tensor:
        if hasattr(self.dictionary, "_weights"):
            return self.dictionary._weights / self.dictionary._weights.norm(dim=1, keepdim=True)
        mix = self.dictionary.W.relu()
        mix = mix / mix.sum(-1, keepdim=True)
        relax = self.dictionary.Relax * (1 / self.dictionary.Relax.norm(dim=-1, keepdim=True)).clamp(max=1)
        return (mix @ self.dictionary.C + relax) * self.dictionary.multiplier.exp()

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        codes = self.encoder.final_block(x)
        best = codes.topk(5, dim=-1)
        return codes, torch.zeros_like(codes).scatter(-1, best.indices, best.values)

    def decode(self, z: Tensor) -> Tensor:
        return z @ self.rows()


@torch.no_grad()
@pytest.mark.parametrize("archetypes", [0, 40])
def test_overcomplete_folds_its_norm_and_fuses_its_archetypes(archetypes: int, tmp_path: Path) -> None:
    own, x = TopKSAE(archetypes), activations()
    keys = {} if archetypes else {"decoder_rows": "unit norm"}
    coder = load_sae(described(tmp_path, own.state_dict(), architecture="topk", k=5, transposed="[]", **keys))
    torch.testing.assert_close(coder.encode(x).dense(), own.encode(x)[1], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(coder.reconstruct(x), own.decode(own.encode(x)[1]), rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_object_that_returns_codes_before_and_after_selection_is_taken_as_overcomplete_s(tmp_path: Path) -> None:
    own, x = TopKSAE(), activations()
    coder = load_sae(own, hook=HOOK)
    torch.testing.assert_close(coder.encode(x).dense(), own.encode(x)[1])
    torch.testing.assert_close(coder.reconstruct(x), own.decode(own.encode(x)[1]), rtol=1e-4, atol=1e-4)
    torch.save(own, tmp_path / "whole.pth")
    refused(tmp_path / "whole.pth", "holds more than tensors and may run code.*state dict")


# ITDA and AdaptiveK


@pytest.mark.parametrize("skip", [True, False])
def test_itda_reads_as_many_atoms_as_its_configuration_says(skip: bool, tmp_path: Path) -> None:
    spare = torch.full((6, D), 100.0)
    tensors = {"xs": torch.cat([ROWS, spare]), "ys": torch.cat([draw(F, D, seed=12), spare]), "mean_x": draw(D, seed=4),
               "mean_y": draw(D, seed=13), "weight": draw(D, D, seed=14)}  # fmt: skip
    save_file(tensors, tmp_path / "sae.safetensors")
    config = {
        "d_model": D,
        "target_l0": 4,
        "subtract_mean": True,
        "skip_connection": skip,
        "dictionary_size": F,
        "steps": 9,
    }
    (tmp_path / "cfg.json").write_text(json.dumps(config))
    coder, x = load_sae(tmp_path, hook="blocks.1.mlp.hook_in -> blocks.1.hook_mlp_out"), activations(20)
    f = torch.stack([itda(token) for token in x])
    torch.testing.assert_close(coder.encode(x).dense(), f, rtol=1e-4, atol=1e-5)
    y = f @ tensors["ys"][:F] + tensors["mean_y"]
    y = y + (x - tensors["mean_x"]) @ tensors["weight"] if skip else y
    torch.testing.assert_close(coder.reconstruct(x), y, rtol=1e-4, atol=1e-4)
    changed(tmp_path / "cfg.json", lambda c: c.update(dictionary_size=F + 7))
    refused(tmp_path, "dictionary_size is 71, but its tensors have 70", hook=HOOK)


def test_adaptive_k_reads_its_probe_from_beside_and_refuses_without(tmp_path: Path) -> None:
    tensors = {"encoder.weight": weights()["W_enc"].T, "encoder.bias": draw(F, seed=3), "decoder.weight": ROWS.T,
               "b_dec": draw(D, seed=4)}  # fmt: skip
    folder = foreign.dictionary(tmp_path, "AutoEncoderDynamicTopK", tensors, min_k=2, max_k=12, k=None)
    refused(folder, "no probe.pt beside it")
    torch.save({"weights": draw(D, seed=6)[:, None], "bias": torch.tensor([4.0])}, folder / "probe.pt")
    coder, x = load_sae(folder), activations(30)
    expected = torch.stack([adaptive(token) for token in x])
    torch.testing.assert_close(coder.encode(x).dense(), expected, rtol=1e-4, atol=1e-5)
    assert len(set(coder.encode(x).l0.tolist())) > 2, "tokens differ in how many latents they use"
