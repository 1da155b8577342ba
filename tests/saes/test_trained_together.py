"""Trained, saved and loaded: small coders that read or write more than one place, or are more than one."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from saebench.saes import load_sae, resolve
from tests.saes.checkpoints import draw
from tests.saes.test_plain import described
from tests.saes.training import D, F, Held, K, draws, explained, fit, largest, linear, plain_loss, squared, start, topk


def test_transcoders(tmp_path: Path) -> None:
    across, target = draw(D, D, seed=70), lambda x: (x @ draw(D, D, seed=70) * 2).tanh()
    assert across.shape == (D, D)
    for name, more in (("transcoder", {}), ("skip_transcoder", {"W_skip": torch.zeros(D, D)})):

        def made(p: Held, x: Tensor) -> Tensor:
            y = (x @ p["W_enc"] + p["b_enc"]).relu() @ p["W_dec"] + p["b_dec"]
            return y + x @ p["W_skip"].T if "W_skip" in p else y

        p = fit({**start(), **more}, lambda p, x, _: squared(made(p, x), target(x)))
        folder = described(tmp_path / name, p, architecture=name, subtract_b_dec="false", transposed="[]",
                           hook="blocks.1.mlp.hook_in -> blocks.1.hook_mlp_out")  # fmt: skip
        coder, x = load_sae(folder), draws(-1, 500)
        torch.testing.assert_close(coder.reconstruct(x), made(p, x), rtol=1e-4, atol=1e-4)
        assert explained(coder.reconstruct(x), target(x)) > 0.85
        assert torch.equal(load_sae(folder).reconstruct(x), coder.reconstruct(x))


def layers(x: Tensor) -> Tensor:
    """Two layers' activations `[n, 2, D]`, the second a rotation of the first, twice as large."""
    turn = torch.linalg.qr(draw(D, D, seed=71)).Q
    return torch.stack([x, 2 * x @ turn], 1)


def test_crosscoder_finds_one_code_for_both_layers(tmp_path: Path) -> None:
    def codes(p: Held, x: Tensor) -> Tensor:
        return (torch.einsum("nld,ldf->nf", x, p["W_enc"]) + p["b_enc"]).relu()

    def made(p: Held, x: Tensor) -> Tensor:
        return torch.einsum("nf,lfd->nld", codes(p, x), p["W_dec"]) + p["b_dec"]

    first, rows = start()["W_enc"], draw(2, F, D, seed=72)
    begin = {"W_enc": torch.stack([first, first]), "b_enc": torch.zeros(F), "W_dec": rows, "b_dec": torch.zeros(2, D)}
    p = fit(begin, lambda p, x, _: squared(made(p, layers(x)), layers(x)) + 0.1 * codes(p, layers(x)).sum(1).mean())
    folder = described(tmp_path, p, architecture="crosscoder", subtract_b_dec="null",
                       hook="[blocks.0.hook_resid_post, blocks.1.hook_resid_post]")  # fmt: skip
    x = layers(draws(-1, 500))
    for layer, coder in enumerate(resolve([folder])):
        y = coder.reconstruct(x.flatten(1))
        torch.testing.assert_close(y, made(p, x)[:, layer], rtol=1e-4, atol=1e-4)
        assert explained(y, x[:, layer]) > 0.85
        assert torch.equal(load_sae(folder, hook=coder.hook_out).reconstruct(x.flatten(1)), y)


def test_one_dictionary_for_two_layers_of_different_scale(tmp_path: Path) -> None:
    def made(p: Held, x: Tensor) -> Tensor:
        mean = x.mean(-1, keepdim=True)
        deviation = (x - mean).std(-1, keepdim=True)
        z = (x - mean) / (deviation + 1e-5)
        return linear(p, topk(p, z)) * deviation + mean

    p = fit(start(), lambda p, x, _: squared(made(p, x), x) + squared(made(p, 5 * x), 5 * x) / 25)
    hooks = "[blocks.0.hook_resid_post, blocks.1.hook_resid_post]"
    folder = described(tmp_path, p, architecture="mlsae", k=K, subtract_b_dec="null", hook=hooks)
    x = draws(-1, 500)
    for scale, coder in zip((1, 5), resolve([folder]), strict=True):
        y = coder.reconstruct(scale * x)
        torch.testing.assert_close(y, made(p, scale * x), rtol=1e-4, atol=1e-3)
        assert explained(y, scale * x) > 0.7


def test_itda_takes_what_it_explains_badly_as_atoms(tmp_path: Path) -> None:
    def codes(atoms: Tensor, x: Tensor) -> Tensor:
        f = torch.zeros(len(x), len(atoms))
        for _ in range(K):
            left = x - f @ atoms
            match = left @ atoms.T
            support = (f != 0) | (match == match.amax(1, keepdim=True))
            slope = match * support
            image = slope @ atoms
            step = (image * left).sum(1) / image.square().sum(1).clamp_min(1e-3)
            f = (f + step[:, None] * slope).relu()
        return largest(f, min(K, len(atoms)))

    pool = draws(3, 400)
    mean = pool.mean(0)
    atoms = functional.normalize(pool[:1] - mean, dim=1)
    for token in pool[1:] - mean:
        left = token - (codes(atoms, token[None]) @ atoms)[0]
        if left.square().sum() > 0.25 * token.square().sum() and len(atoms) < F:
            atoms = torch.cat([atoms, functional.normalize(token, dim=0)[None]])
    folder = described(tmp_path, {"W_dec": atoms, "b_dec": mean, "mean": mean}, architecture="itda", k=K,
                       transposed="[]", subtract_b_dec="false")  # fmt: skip
    coder, x = load_sae(folder), draws(-1, 300)
    torch.testing.assert_close(coder.encode(x).dense(), codes(atoms, x - mean), rtol=1e-4, atol=1e-4)
    assert explained(coder.reconstruct(x), x) > 0.6 and torch.equal(load_sae(folder).W_dec, coder.W_dec)


def test_second_sae_explains_what_the_first_leaves(tmp_path: Path) -> None:
    first = fit(start(), plain_loss(topk), steps=60)
    second = fit(start(1), lambda p, x, _: squared(linear(p, topk(p, x - linear(first, topk(first, x)))), x - linear(
        first, topk(first, x))), steps=150)  # fmt: skip
    for name, p in (("first", first), ("second", second)):
        described(tmp_path / name, p, architecture="topk", k=K)
    (tmp_path / "saebench.yaml").write_text("architecture: boosted\nmembers: [first, second]\n")
    x = draws(-1, 500)
    y = linear(first, topk(first, x))
    y = y + linear(second, topk(second, x - y))
    coder = load_sae(tmp_path)
    torch.testing.assert_close(coder.reconstruct(x), y, rtol=1e-4, atol=1e-4)
    assert explained(y, x) > explained(load_sae(tmp_path / "first").reconstruct(x), x) + 0.05
    assert torch.equal(load_sae(tmp_path).reconstruct(x), coder.reconstruct(x))


def test_cross_layer_transcoder_writes_a_later_layer_from_both(tmp_path: Path) -> None:
    wanted = [draw(D, D, seed=seed) for seed in (73, 74, 75)]

    def targets(x: Tensor) -> Tensor:
        return torch.stack([x[:, 0] @ wanted[0], x[:, 0] @ wanted[1] + x[:, 1] @ wanted[2]], 1)

    def made(p: Held, x: Tensor) -> Tensor:
        f = (torch.einsum("nld,lfd->nlf", x, p["enc"]) + p["b_enc"]).relu()
        late = f[:, 0] @ p["dec_0"][:, 1] + f[:, 1] @ p["dec_1"][:, 0]
        return torch.stack([f[:, 0] @ p["dec_0"][:, 0], late], 1) + p["b_dec"]

    begin = {"enc": draw(2, F, D, seed=76), "b_enc": torch.zeros(2, F), "b_dec": torch.zeros(2, D),
             "dec_0": draw(F, 2, D, seed=77), "dec_1": draw(F, 1, D, seed=78)}  # fmt: skip
    p = fit(begin, lambda p, x, _: squared(made(p, layers(x)), targets(layers(x))))
    for s in range(2):
        enc = {f"W_enc_{s}": p["enc"][s], f"b_enc_{s}": p["b_enc"][s], f"b_dec_{s}": p["b_dec"][s]}
        save_file({name: one.contiguous() for name, one in enc.items()}, tmp_path / f"W_enc_{s}.safetensors")
        save_file({f"W_dec_{s}": p[f"dec_{s}"].contiguous()}, tmp_path / f"W_dec_{s}.safetensors")
    (tmp_path / "config.yaml").write_text("feature_input_hook: mlp.hook_in\nfeature_output_hook: hook_mlp_out\n")
    x = layers(draws(-1, 500))
    for layer, coder in enumerate(resolve([tmp_path])):
        y = coder.reconstruct(x[:, : layer + 1].flatten(1))
        torch.testing.assert_close(y, made(p, x)[:, layer], rtol=1e-4, atol=1e-4)
        assert explained(y, targets(x)[:, layer]) > 0.9
