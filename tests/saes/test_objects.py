"""Any Python object with encode and decode, tried once and held to the contract."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from saebench.errors import UserError
from saebench.saes import Codes, SparseCoder, load_sae
from tests.saes.checkpoints import HOOK, D, F, K, activations, weights


class Plain:
    """A standard SAE as anyone might write it, not a torch module."""

    def __init__(self, hook: str = HOOK) -> None:
        self.W_enc, self.W_dec, self.b_enc, self.b_dec = (weights()[n] for n in ("W_enc", "W_dec", "b_enc", "b_dec"))
        self.hook_name = hook

    def encode(self, x: Tensor) -> Tensor:
        return (x @ self.W_enc + self.b_enc).relu()

    def decode(self, codes: Tensor) -> Tensor:
        return codes @ self.W_dec + self.b_dec


class Layers(nn.Module):
    """The same as two linear layers, decoder `[d, F]`, as dictionary_learning keeps it."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.Linear(D, F), nn.Linear(F, D)
        self.dropout = nn.Dropout(0.5)
        plain = Plain()
        for layer, weight, bias in ((self.encoder, plain.W_enc, plain.b_enc), (self.decoder, plain.W_dec, plain.b_dec)):
            layer.weight.data, layer.bias.data = weight.T.clone(), bias.clone()

    def encode(self, x: Tensor) -> Tensor:
        return self.encoder(self.dropout(x)).relu()

    def decode(self, codes: Tensor) -> Tensor:
        return self.decoder(codes)


class Acts(NamedTuple):
    top_acts: Tensor
    top_indices: Tensor


class Pairs(Plain):
    """Values and indices in place of dense codes, as sparsify has them."""

    d_sae = F

    def encode(self, x: Tensor) -> Acts:  # type: ignore[override]
        top = super().encode(x).topk(K, dim=-1)
        return Acts(top.values, top.indices)

    def decode(self, values: Tensor, indices: Tensor) -> Tensor:  # type: ignore[override]
        return (values[..., None] * self.W_dec[indices]).sum(1) + self.b_dec


class Skip(Plain):
    """What forward adds is not in decode(encode(x))."""

    def __call__(self, x: Tensor) -> Tensor:
        return self.decode(self.encode(x)) + 0.5 * x


class Squashed(Plain):
    """A decoder that is not linear."""

    def decode(self, codes: Tensor) -> Tensor:
        return super().decode(codes).tanh()


def reference(x: Tensor) -> tuple[Tensor, Tensor]:
    plain = Plain()
    return plain.encode(x), plain.decode(plain.encode(x))


@pytest.mark.parametrize("obj", [Plain(), Layers()], ids=["plain", "module"])
def test_encode_and_decode_are_the_object_s(obj: Any) -> None:
    coder, x = load_sae(obj, hook=HOOK), activations()
    codes, y = reference(x)
    assert isinstance(coder, SparseCoder)
    torch.testing.assert_close(coder.encode(x).dense(), codes)
    torch.testing.assert_close(coder.reconstruct(x), y)
    torch.testing.assert_close(coder.decode(codes), y)
    assert (coder.d_in, coder.d_sae, coder.d_out) == (D, F, D)
    assert coder.linear_decoder and not coder.signed
    torch.testing.assert_close(coder.W_dec, weights()["W_dec"])
    torch.testing.assert_close(coder.W_enc, weights()["W_enc"])
    torch.testing.assert_close(coder.b_dec, weights()["b_dec"])


def test_pairs_are_taken_and_given_back() -> None:
    coder, x = load_sae(Pairs()), activations()
    codes = coder.encode(x)
    assert bool((codes.l0 <= K).all()) and codes.width == F
    torch.testing.assert_close(coder.decode(codes), Plain().decode(codes.dense()))
    torch.testing.assert_close(coder.decode(codes.dense()), coder.decode(codes))


def test_sparse_tensors_are_taken() -> None:
    obj = Plain()
    obj.encode = lambda x: Plain().encode(x).to_sparse()  # type: ignore[method-assign]
    torch.testing.assert_close(load_sae(obj).encode(activations()).dense(), reference(activations())[0])


def test_what_forward_adds_is_kept() -> None:
    coder, x = load_sae(Skip()), activations()
    whole = Skip()(x)
    codes = coder.encode(x)
    torch.testing.assert_close(coder.reconstruct(x), whole)
    torch.testing.assert_close(coder.decode(codes[3:9]), whole[3:9])
    silent = codes.keep(torch.zeros(len(codes.values), dtype=torch.bool))
    torch.testing.assert_close(coder.decode(silent), 0.5 * x + weights()["b_dec"])
    with pytest.raises(UserError, match="ctx=codes.ctx"):
        coder.decode(codes.dense())


def test_a_decoder_that_is_not_linear_is_noticed() -> None:
    coder, x = load_sae(Squashed()), activations()
    assert not coder.linear_decoder
    torch.testing.assert_close(coder.reconstruct(x), reference(x)[1].tanh())


def test_rows_of_a_linear_decoder_without_a_matrix_are_measured() -> None:
    class Hidden:
        d_in, hook_name = D, HOOK

        def encode(self, x: Tensor) -> Tensor:
            return Plain().encode(x)

        def decode(self, codes: Tensor) -> Tensor:
            return Plain().decode(codes)

    coder = load_sae(Hidden())
    torch.testing.assert_close(coder.W_dec, weights()["W_dec"], rtol=1e-4, atol=1e-5)
    assert coder.W_enc is None and len(coder.fingerprint) == 16
    assert coder.fingerprint == load_sae(Hidden()).fingerprint


def test_module_is_put_in_evaluation_mode_and_carries_no_gradient() -> None:
    obj = Layers().train()
    coder = load_sae(obj, hook=HOOK)
    assert not obj.training and not coder.warnings
    assert not coder.reconstruct(activations()).requires_grad


def test_encoding_that_depends_on_the_batch_is_noticed() -> None:
    obj = Plain()
    obj.encode = lambda x: (Plain().encode(x) - x.mean()).relu()  # type: ignore[method-assign]
    assert "other tokens of the batch" in load_sae(obj).warnings[0]


def test_object_that_never_fires_loads_with_a_warning() -> None:
    obj = Plain()
    obj.b_enc = obj.b_enc - 100
    coder = load_sae(obj)
    assert "no latent fires" in coder.warnings[0]
    torch.testing.assert_close(coder.reconstruct(activations()), weights()["b_dec"].expand(50, D))


def test_hook_comes_from_the_object_or_the_argument() -> None:
    assert load_sae(Plain()).hook_in == HOOK
    assert load_sae(Plain(), hook="blocks.0.hook_mlp_out").hook_out == "blocks.0.hook_mlp_out"
    both = load_sae(Plain(), hook="a -> b")
    assert (both.hook_in, both.hook_out) == ("a", "b")
    obj = Layers()
    with pytest.raises(UserError, match="hook='blocks.8.hook_resid_post'"):
        load_sae(obj)
    obj.cfg = type("Cfg", (), {"metadata": type("Meta", (), {"hook_name": HOOK, "model_name": "toy"})()})()
    assert load_sae(obj).hook_in == HOOK and load_sae(obj).metadata["model_name"] == "toy"


def test_fingerprint_follows_weights_and_hook() -> None:
    one, same, other = load_sae(Plain()), load_sae(Plain()), Plain()
    other.W_enc = other.W_enc * 2
    assert one.fingerprint == same.fingerprint
    assert len({one.fingerprint, load_sae(other).fingerprint, load_sae(Plain("x")).fingerprint}) == 3


def test_a_sparse_coder_is_taken_as_it_is() -> None:
    coder = load_sae(Plain())
    assert load_sae(coder) is coder
    assert load_sae(coder, name="mine").name == "mine"


@pytest.mark.parametrize("obj", [object(), 3, nn.Linear(2, 2), {"encode": 1}], ids=["object", "int", "linear", "dict"])
def test_what_is_no_sae_is_refused(obj: Any) -> None:
    with pytest.raises(UserError, match="has no encode method"):
        load_sae(obj, hook=HOOK)


def test_width_that_is_not_to_be_found() -> None:
    class Blind:
        def encode(self, x: Tensor) -> Tensor:
            return x

        def decode(self, codes: Tensor) -> Tensor:
            return codes

    with pytest.raises(UserError, match="attribute d_in"):
        load_sae(Blind(), hook=HOOK)


def test_wrong_output_is_refused_in_words() -> None:
    obj = Plain()
    obj.encode = lambda x: [1, 2]  # type: ignore[method-assign,return-value]
    with pytest.raises(UserError, match=r"returned list.*\[tokens, latents\]"):
        load_sae(obj)
    obj = Plain()
    obj.decode = lambda codes: codes.sum()  # type: ignore[method-assign]
    with pytest.raises(UserError, match="a row a token"):
        load_sae(obj)
    obj = Plain()
    obj.W_dec[3, 2] = float("nan")
    with pytest.raises(UserError, match="1 of 1024 entries of 'W_dec'"):
        load_sae(obj)


def test_sub_batches_of_wrapped_codes_concatenate() -> None:
    coder, x = load_sae(Skip()), activations()
    parts = Codes.cat([coder.encode(part) for part in x.split(20)])
    torch.testing.assert_close(coder.decode(parts), Skip()(x))
