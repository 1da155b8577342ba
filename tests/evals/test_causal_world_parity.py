"""Unlearning and absorption of a shipped SAE equal slow loops over single prompts, run by the model's own modules."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import saebench as sb
from saebench.data.datasets import load_dataset, spec_types
from saebench.inputs import QuestionRuns
from saebench.models import load_model
from tests.helpers import absorption_by_hand
from tests.helpers.unlearning_by_hand import by_hand

BLOCK = 1
GRID = {"retain_thresholds": [0.02], "n": [3, 15], "multipliers": [30.0], "relative": [4.0]}
DATA = {
    "questions": {"source": "world", "questions": 8, "orders": 2},
    "forget": {"source": "world", "tokens": 2500},
    "retain": {"source": "world", "tokens": 2500},
    "words": {"source": "world:continent", "contexts": 3},
}
SETTINGS = {relative: list(product((0.02,), (3, 15), (m,))) for relative, m in ((False, 30.0), (True, 4.0))}


def _read(name: str) -> Any:
    return load_dataset(name, DATA[name]["source"], spec_types()[name](**DATA[name]), load_model("world"), seed=0)


def _found(*metrics: Any) -> dict[tuple[str, str], Any]:
    suite = {"metric": list(metrics), "data": DATA, "references": {"null": None, "baseline": None}}
    results = sb.evaluate("world:topk-mid", suite, model="world")
    assert all(row.status == "ok" for row in results.rows), [row.reason for row in results.rows]
    return {(row.metric, row.slice): row.value for row in results.rows}


class _ByHand:
    """The world's model as transformers has it, and the SAE as matrices."""

    def __init__(self) -> None:
        self.model = load_model("world").model
        sae = sb.load_sae("world:topk-mid")
        self.E, self.D, self.b, self.c = (t.float() for t in (sae.W_enc, sae.W_dec, sae.b_enc, sae.b_dec))

    def codes(self, x: Tensor) -> Tensor:
        """The twenty largest of each token, `[n, d_sae]`."""
        values, places = ((x - self.c) @ self.E + self.b).relu().topk(20)
        return torch.zeros(len(x), len(self.D)).scatter(1, places, values)

    @torch.no_grad()
    def run(self, ids: Any, latents: Tensor | None = None, values: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Activations behind BOS and the last token's logits of one prompt, with latents clamped where they fire."""
        kept: list[Tensor] = []

        def edit(_module: Any, _args: Any, output: Any) -> Any:
            hidden = (output[0] if isinstance(output, tuple) else output).clone()
            x = hidden[0, 1:]
            kept.append(x.clone())
            if latents is not None:
                codes = self.codes(x)
                for latent, value in zip(latents.tolist(), values.tolist(), strict=True):
                    on = codes[:, latent] > 0
                    x[on] += (value - codes[on, latent])[:, None] * self.D[latent]
            return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

        watch = self.model.gpt_neox.layers[BLOCK].register_forward_hook(edit)
        logits = self.model(torch.from_numpy(np.asarray(ids, dtype=np.int64))[None]).logits[0, -1]
        watch.remove()
        return kept[0], logits

    def fires(self, name: str) -> Tensor:
        """Codes on every token of a text behind its rows' BOS."""
        corpus = _read(name).corpus
        return torch.cat([self.codes(self.run(corpus.row(i))[0]) for i in range(corpus.rows)])


def test_unlearning_is_that_of_clamping_prompt_by_prompt() -> None:
    names = ("unlearning", "unlearning_held_out", "unlearning_forget_accuracy", "unlearning_retain_accuracy")
    found = _found(*({name: GRID} for name in names))
    hand, questions = _ByHand(), _read("questions").items
    forget, retain = hand.fires("forget"), hand.fires("retain")

    def options(latents: Tensor | None = None, values: Tensor | None = None) -> Tensor:
        rows = []
        for ids, forms in zip(questions.rows, questions.candidates, strict=True):
            logits = hand.run(ids, latents, values)[1]
            rows.append([max(float(logits[token]) for token in option if token >= 0) for option in forms])
        return torch.tensor(rows)

    shares = [(codes > 0).double().mean(0) for codes in (forget, retain)]
    highest = torch.cat([forget, retain]).amax(0)
    runs = QuestionRuns(
        questions, *shares, highest, options(), lambda settings: torch.stack([options(*one) for one in settings])
    )
    lost = False
    for relative, settings in SETTINGS.items():
        expected, unit = by_hand(runs, settings, 0.99, relative=relative), "maximum" if relative else "codes"
        assert found["unlearning", f"m={unit}"] == pytest.approx(expected["score"])
        assert found["unlearning_held_out", f"m={unit}"] == pytest.approx(expected["held_out"])
        for (t, n, m), forgotten, kept in zip(settings, expected["forget"], expected["retain"], strict=True):
            name = f"retain={t:g},n={n},m={m:g}{'max' * relative}"
            assert found["unlearning_forget_accuracy", name] == pytest.approx(forgotten), name
            assert found["unlearning_retain_accuracy", name] == pytest.approx(kept), name
            lost = lost or forgotten < 1
    assert lost, "some setting must change an answer, or nothing is compared"


def test_absorption_is_that_of_a_loop_over_prompts() -> None:
    names = ("mean_absorption_fraction", "full_absorption_rate", "absorption_main_f1")
    found = _found(*names)
    hand, words = _ByHand(), _read("words").items
    y = torch.stack([hand.run(ids)[0][-1] for ids in words.rows])
    codes = hand.codes(y).double().numpy()
    y, decoder, (h,) = y.double().numpy(), hand.D.double().numpy(), words.hierarchies
    compared = 0
    for g, group in enumerate(h.groups):
        if found["mean_absorption_fraction", f"continent/{group}"] is None:
            continue  # no probe, or no main latents worth the name
        direction, logits, _ = absorption_by_hand.true_probe(y, h, g, 10.0)
        main, f1 = absorption_by_hand.main_latents(codes, h, g, l1=0.05, max_k=10, f1_jump=0.03)
        hits = [i for i in range(len(h.items)) if h.test[i] and h.label[i] == g and logits[i] > 0]
        scores = [absorption_by_hand.absorbed(y[row], codes[row], decoder, direction, main) for row in h.items[hits]]
        expected = (np.mean([part for part, _ in scores]), np.mean([full for _, full in scores]), f1)
        for name, value in zip(names, expected, strict=True):
            assert found[name, f"continent/{group}"] == pytest.approx(value, abs=1e-5), (name, group)
        compared += 1
    assert compared
