"""The core losses on every family of models, against plain transformers forwards with hooks written here."""

from __future__ import annotations

from functools import reduce

import pytest
import torch
from torch import Tensor, nn

import saebench as sb
from tests.models.families import FAMILIES, WIDTH, build, token_rows

SUITE = {"name": "m", "metric": ["ce_clean", "ce_zero", "ce_mean", "ce_delta", "loss_recovered", "explained_variance"]}


class Identity(nn.Module):
    """Every channel as a latent."""

    def __init__(self, hook: str) -> None:
        super().__init__()
        self.hook_name = hook
        self.W_dec = nn.Parameter(torch.eye(WIDTH))

    def encode(self, x: Tensor) -> Tensor:
        """The activation itself."""
        return x

    def decode(self, codes: Tensor) -> Tensor:
        """The activation itself."""
        return codes


def _loss(model: nn.Module, rows: Tensor, layer: nn.Module | None = None, value: Tensor | None = None) -> float:
    """Cross-entropy with a block's output set to one vector at every position."""
    handle = None
    if layer is not None:

        def put(_module: nn.Module, _inputs: tuple, output: Tensor | tuple) -> Tensor | tuple:
            new = value.expand_as(output if isinstance(output, Tensor) else output[0])
            return new if isinstance(output, Tensor) else (new, *output[1:])

        handle = layer.register_forward_hook(put)
    with torch.no_grad():
        log_p = model(rows).logits[:, :-1].double().log_softmax(-1)
    if handle:
        handle.remove()
    return float(-log_p.gather(-1, rows[:, 1:, None]).mean())


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_losses_equal_plain_forwards(name: str) -> None:
    model = build(name)
    for special in ("bos_token_id", "eos_token_id", "pad_token_id"):
        setattr(model.config, special, None)
    rows = token_rows(6, 12, seed=2)
    results = sb.evaluate(Identity("blocks.1.hook_resid_post"), SUITE, model=model, data={"text": rows})
    got = {row.metric: row.value for row in results.rows if row.role == "sae"}
    layer = reduce(getattr, FAMILIES[name].layers.split("."), model)[1]
    taken: list[Tensor] = []
    watch = layer.register_forward_hook(lambda _m, _i, o: taken.append(o if isinstance(o, Tensor) else o[0]))
    clean = _loss(model, rows)
    watch.remove()
    mean = taken[0].reshape(-1, WIDTH).mean(0)
    assert got["ce_clean"] == pytest.approx(clean, abs=2e-5)
    assert got["ce_zero"] == pytest.approx(_loss(model, rows, layer, torch.zeros(WIDTH)), abs=2e-5)
    assert got["ce_mean"] == pytest.approx(_loss(model, rows, layer, mean), abs=2e-5)
    assert got["ce_delta"] == pytest.approx(0, abs=1e-5) and got["explained_variance"] == pytest.approx(1)


def test_a_hooked_transformer_gives_the_numbers_of_its_weights() -> None:
    """The same GPT-2 as transformers' model and as a HookedTransformer: the same rows, to rounding."""
    import transformer_lens
    from transformer_lens.pretrained.weight_conversions import convert_gpt2_weights

    source = build("gpt2")
    config = transformer_lens.HookedTransformerConfig(
        n_layers=4, d_model=WIDTH, n_ctx=64, d_head=WIDTH // 4, n_heads=4, d_mlp=4 * WIDTH, act_fn="gelu_new",
        d_vocab=source.config.vocab_size, normalization_type="LN", device="cpu", eps=source.config.layer_norm_epsilon,
    )  # fmt: skip
    hooked = transformer_lens.HookedTransformer(config)
    hooked.load_state_dict(convert_gpt2_weights(source, config), strict=False)
    rows = token_rows(6, 12, seed=2)
    numbers = []
    for model in (source, hooked.eval()):
        results = sb.evaluate(Identity("blocks.1.hook_resid_post"), SUITE, model=model, data={"text": rows})
        numbers.append({row.metric: row.value for row in results.rows if row.role == "sae"})
    for metric, value in numbers[0].items():
        assert numbers[1][metric] == pytest.approx(value, rel=1e-4, abs=2e-5), metric
