"""Writes the README beside the weights from the figures that the build measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from saebench.data.world_kinds import KINDS

_TEXT = """# The shipped world

A small causal language model that was trained on the generator `saebench/data/world.py`, and a family of sparse
autoencoders on it. Everything here is made by `saebench/data/world_build`; `logs/` holds what the runs printed, and
this page is written by the build from what it measured.

- `model/`: GPT-NeoX style, {parameters:,} parameters (d_model 128, 5 blocks, 4 heads, MLP 512, rotary on a quarter of
  each head, tied embeddings, {vocabulary:,} words), Hugging Face format. Weights are in half precision; the
  configuration asks for float32, and every figure below is for those weights in float32. The word-level tokenizer
  puts `<bos>` first.
- `saes/NAME/`: SAELens' inference format, 1,024 latents. `saes/index.json` says what each is and what it scores.
- `acceptance.json`: what the model knows.

## What the model knows (held-out text, {documents:,} documents)

| | asked for | found |
|---|---|---|
{knows}

| kind | loss above entropy, nats a token |
|---|---|
{kinds}

How it learnt to answer by letter: from a random start it did not in nine million tokens; this is in the recipe
(`world_build/lm.py`). Attention starts with heads that look one word back or for equal words. Drills that are no part
of the world's text (`world_build/drills.py`) are a quarter of the documents at first, two fifths before the learning
rate falls, and none after it. In the stretch before, facts are also read off the third block, and two heads are
started again, so that what is known by then can be found among the options.

## The SAEs (1.4 million training tokens, 500 held-out documents)

Explained variance and loss recovered (zero ablation) as in the core metrics. All but the transcoder sit on
`blocks.1.hook_resid_post`; the transcoder goes from `blocks.1.mlp.hook_in` to `blocks.1.hook_mlp_out`.

| SAE | L0 | loss recovered | explained variance | dead |
|---|---|---|---|---|
{saes}

Trained with SAELens' training classes and the step of its `SAETrainer`, in a loop of our own that steers the penalty of
ReLU, Gated and JumpReLU towards the L0 of the level (5, 20, 80). SAELens has no training class for transcoders; that
loss is ours. BatchTopK and Matryoshka are exported as JumpReLU, which is how SAELens does it; the architecture
that was trained is in the index and in `metadata.training_architecture`. Damaged twins are of `topk-mid`.
`order` in the index holds the ranks that are known by construction (0 the best).

## Making it again

```
python -m saebench.data.world_build lm --work WORK
python -m saebench.data.world_build accept
python -m saebench.data.world_build saes --work WORK
python -m saebench.data.world_build describe
```

Documents are the same bit for bit everywhere. The recipe of the model in `lm.py` is the one that the shipped weights
had, but their run was stopped at steps 3,200, 4,000 and 4,600 and taken up again, while what came after was being
settled, and its compiled graph was another before step 4,000; so the shipped weights cannot be promised bit for bit.
Run once more in one go (`lm --device cuda`, an H200, two and a half minutes; `logs/lm-gpu.log`), the recipe gave
{again}.
Expect the gap within 0.02 nats, attributes above 99 %, first letters above 97 %, quizzes by letter 90 % or more.
SAEs are trained with one thread each from a fixed seed: the same weights from the same activations on the same kind
of machine and library versions (`topk-mid` was made again and is the same, byte for byte); elsewhere L0 within 10 % and
explained variance within 0.03 (0.1 for `relu-low`).

Everything here: {size:.1f} MB.
"""


def describe(out: Path) -> None:
    """Write README.md from acceptance.json and the index of the SAEs."""
    found = json.loads((out / "acceptance.json").read_text())
    index = json.loads((out / "saes" / "index.json").read_text())
    size = sum(p.stat().st_size for p in out.rglob("*") if p.is_file() and p.name != "README.md") / 1e6
    text = _TEXT.format(
        parameters=found["parameters"],
        vocabulary=found["vocabulary"],
        documents=found["documents"],
        knows="\n".join(_knows(found)),
        kinds="\n".join(f"| {kind} | {found['teacher_forced'][f'gap {kind}']:.3f} |" for kind in KINDS),
        saes="\n".join(_sae(name, entry["measured"]) for name, entry in index.items()),
        again=_again(json.loads((out / "logs" / "lm-gpu.json").read_text())),
        size=size,
    )
    (out / "README.md").write_text(text, encoding="utf-8")


def _knows(found: dict[str, Any]) -> list[str]:
    forced, asked, quizzes = found["teacher_forced"], found["thresholds"], found["quizzes"]
    attributes, by_letter = found["attributes"], quizzes["by_letter"]
    gap = _bold(f"{forced['gap']:.3f} +- {found['loss_gap_stderr']:.3f}", forced["gap"] <= asked["gap"])
    terms = f"(loss {forced['loss']:.3f}, entropy {forced['nll']:.3f})"
    cold = "first letters, every word once, as the first drill of a document"
    return [
        f"| loss above the generator's own entropy, nats a token | {asked['gap']} | {gap} {terms} |",
        _share("first letters, in drills", asked["first_letters"], forced["acc first letter"]),
        _share(cold, asked["first_letters"], found["first_letters"]["value"]),
        _share(f"attributes of entities, all {attributes['n']} facts", asked["attributes"], attributes["value"]),
        _share(f"quizzes by answer letter, all {by_letter['n']} questions", asked["quizzes"], by_letter["value"]),
        _share('quizzes by the option\'s text (after "in full :")', None, quizzes["by_option_text"]["value"]),
    ]


def _again(found: dict[str, Any]) -> str:
    """The figures of another run of the recipe, in a line."""
    shares = {
        "attributes": found["attributes"],
        "first letters asked cold": found["first_letters"],
        "quizzes by letter": found["quizzes"]["by_letter"],
    }
    said = ", ".join(f"{what} {100 * share['value']:.1f} %" for what, share in shares.items())
    return f"a gap of {found['teacher_forced']['gap']:.3f} nats, {said}"


def _share(what: str, asked: float | None, found: float) -> str:
    goal = "-" if asked is None else f"{100 * asked:.0f} %"
    return f"| {what} | {goal} | {_bold(f'{100 * found:.1f} %', asked is None or found >= asked)} |"


def _bold(text: str, reached: bool) -> str:
    """What misses its goal stands out."""
    return text if reached else f"**{text}: missed**"


def _sae(name: str, m: dict[str, float]) -> str:
    numbers = f"{m['l0']:.1f} | {m['loss_recovered']:.4f} | {m['explained_variance']:.3f} | {m['dead_fraction']:.3f}"
    return f"| {name} | {numbers} |"
