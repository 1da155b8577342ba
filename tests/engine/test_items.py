"""Items metrics: what the engine collects and runs for them, against slow loops over single texts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import saebench as sb
from saebench.data.corpus import item_corpus
from saebench.data.datasets import Dataset, digest
from saebench.data.facts import EntityPrompts, EntityType
from saebench.data.labelled import LabelledTexts
from saebench.data.questions import Questions
from saebench.data.words import Words
from saebench.engine import execute, items
from saebench.engine.plan import make_plan
from saebench.inputs import EntityCodes, LabelledCodes, LabelledEffects, LastTokenCodes, QuestionRuns, WordCodes
from saebench.metric import Sums, Totals, metric
from saebench.models import Subject, load_model
from saebench.progress import Progress
from saebench.saes import SparseCoder
from saebench.suite import Suite
from tests.helpers.toys import BOS, HOOK, VOCABULARY, ToySAE, tiny_llama

SEEN: dict[str, object] = {}


def _spy(name: str, kind: type, **settings: object):
    """A metric that keeps its input, for a test to look at."""

    def rows(given, **_: object) -> Sums:
        SEEN[name] = given
        return Sums(one=torch.ones(3))

    rows.__name__ = name
    rows.__annotations__ = {"given": kind}
    rows.__doc__ = "Keeps what it is given."
    made = metric(version=1, unit="-", better="none", units="items")(_signed(rows, kind, settings))
    made.value(lambda s: s.one / s.one)
    return made


def _signed(rows, kind: type, settings: dict):
    import inspect

    parameters = [inspect.Parameter("given", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=kind)]
    parameters += [
        inspect.Parameter(k, inspect.Parameter.KEYWORD_ONLY, default=v, annotation="object")
        for k, v in settings.items()
    ]
    rows.__signature__ = inspect.Signature(parameters)
    return rows


def _rows(count: int = 14, seed: int = 0) -> list[np.ndarray]:
    """Rows of different lengths, BOS first."""
    draw = np.random.default_rng(seed)
    return [np.array([BOS, *draw.integers(3, VOCABULARY, draw.integers(2, 9))]) for _ in range(count)]


@pytest.fixture(scope="module")
def model() -> Subject:
    return load_model(tiny_llama())


@pytest.fixture
def sae() -> SparseCoder:
    return sb.load_sae(ToySAE(), name="toy")


def _run(
    model: Subject, sae: SparseCoder, data: Dataset, *metrics, budget: int | None = None, monkeypatch=None
) -> list:
    if budget is not None:
        monkeypatch.setattr(execute, "token_budget", lambda *_: budget)
    suite = Suite(name="t", metric=[])
    saes = sae if isinstance(sae, list) else [sae]
    plan = make_plan(model, suite, list(metrics), saes, {data.name: data}, {}, seed=0)
    return [row for rows in execute.run(plan, partial=None, progress=Progress()) for row in rows]


def _labelled(model: Subject, rows: list[np.ndarray], name: str = "probing") -> Dataset:
    texts = LabelledTexts(tuple(str(i) for i in range(len(rows))), ())
    return Dataset(name, item_corpus(name, rows, model.special_ids, source="t", about=digest(texts)), texts)


def _alone(model: Subject, row: np.ndarray) -> Tensor:
    """Activations of one row's content tokens."""
    return model.forward(torch.from_numpy(row)[None], [HOOK], final=False).acts[HOOK][0, 1:]


@pytest.mark.parametrize("budget", [4096, 20, 1])
def test_codes_are_pooled_over_each_text_alone(
    model: Subject, sae: SparseCoder, budget: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mean, largest and last code and activation of each text, whatever the batches."""
    rows = _rows()
    wanted = [_spy(how, LabelledCodes, pooling=how) for how in ("mean", "max", "last")]
    _run(model, sae, _labelled(model, rows), *wanted, budget=budget, monkeypatch=monkeypatch)
    for how, pool in {"mean": lambda t: t.mean(0), "max": lambda t: t.amax(0), "last": lambda t: t[-1]}.items():
        given = SEEN[how]
        codes, x = given.codes(how).dense(), given.x(how)
        for place, row in enumerate(rows):
            acts = _alone(model, row)
            torch.testing.assert_close(codes[place], pool(sae.encode(acts).dense()), rtol=1e-5, atol=1e-6)
            torch.testing.assert_close(x[place], pool(acts), rtol=1e-5, atol=1e-6)


def test_the_last_token_protocol_reads_its_own_data(model: Subject, sae: SparseCoder) -> None:
    rows = _rows()
    _run(model, sae, _labelled(model, rows, "last_token"), _spy("tail", LastTokenCodes, pooling="last"))
    expected = sae.encode(torch.stack([_alone(model, row)[-1] for row in rows])).dense()
    torch.testing.assert_close(SEEN["tail"].codes("last").dense(), expected, rtol=1e-5, atol=1e-6)


def _both(model: Subject) -> dict[str, Dataset]:
    """The two labelled names on texts that are partly the same, in orders of their own."""
    rows = _rows(20)
    own = {"probing": rows[:14], "last_token": [rows[i] for i in (16, 3, 0, 19, 12, 5)]}
    return {name: _labelled(model, part, name) for name, part in own.items()}


def test_texts_under_two_names_are_run_and_encoded_once(model: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each distinct text goes through model and SAE once, and every metric sees what it sees alone."""
    data = _both(model)
    metrics = [_spy("mean", LabelledCodes, pooling="mean"), _spy("tail", LastTokenCodes, pooling="last")]
    alone = {}
    for name, wanted in zip(data, metrics, strict=True):
        _run(model, sb.load_sae(ToySAE(), name="toy"), data[name], wanted)
        alone[name] = SEEN[wanted.name]
    tokens, encoded = [], []
    forward = type(model).forward
    monkeypatch.setattr(
        type(model), "forward", lambda self, t, *a, **k: tokens.append(len(t)) or forward(self, t, *a, **k)
    )
    sae = sb.load_sae(ToySAE(), name="toy")
    encode = type(sae).encode
    monkeypatch.setattr(type(sae), "encode", lambda self, x: encoded.append(len(x)) or encode(self, x))
    plan = make_plan(model, Suite(name="t", metric=[]), metrics, [sae], data, {}, seed=0)
    assert [(p["data"], p["rows"]) for p in plan.describe()["passes"]] == [("probing+last_token", 16)]
    tokens.clear(), encoded.clear()  # of the row that the plan was estimated on
    rows = [row for part in execute.run(plan, partial=None, progress=Progress()) for row in part]
    distinct = {row.tobytes(): len(row) - 1 for part in data.values() for row in map(part.corpus.row, range(6))}
    distinct |= {row.tobytes(): len(row) - 1 for row in map(data["probing"].corpus.row, range(14))}
    assert sum(tokens) == len(distinct) == 16
    assert sum(encoded) == sum(distinct.values())
    assert {row.signature.split("data:")[1].split("#")[0] for row in rows} == set(data)
    for (name, how), wanted in zip({"probing": "mean", "last_token": "last"}.items(), metrics, strict=True):
        given = SEEN[wanted.name]
        torch.testing.assert_close(given.codes(how).dense(), alone[name].codes(how).dense(), rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(given.x(how), alone[name].x(how), rtol=1e-5, atol=1e-6)


def test_effects_are_what_ablation_takes_away(model: Subject) -> None:
    """The closed form - effects times decoder rows - equals decoding every token again, normalised coders too."""
    rows = _rows()
    for sae in (sb.load_sae(ToySAE(), name="toy"), _normalised()):
        _run(model, sae, _labelled(model, rows), _spy("effects", LabelledEffects))
        given = SEEN["effects"]
        sets = [torch.tensor([0, 3, 5]), torch.arange(24)]
        slow = given.shifts(sets)
        for place, latents in enumerate(sets):
            quick = -(given.effects.columns(latents).double() @ given.decoder[latents].double())
            torch.testing.assert_close(slow[place], quick, rtol=0, atol=1e-5 * float(slow[place].abs().max()))
        assert slow.abs().max() > 0.1


def _normalised() -> SparseCoder:
    from saebench.saes.architectures import ReLU

    toy = ToySAE(seed=3)
    weights = {name: value.detach() for name, value in toy.named_parameters()}
    return ReLU(**weights, normalise="layer_norm", hook_in=HOOK, hook_out=HOOK, name="normalised", ref="t")


@pytest.mark.parametrize("budget", [4096, 1])
def test_words_are_read_at_their_last_token(
    model: Subject, sae: SparseCoder, budget: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = _rows()
    words = Words(tuple(rows), ())
    corpus = item_corpus("words", rows, model.special_ids, source="t", at=[len(r) - 1 for r in rows])
    _run(model, sae, Dataset("words", corpus, words), _spy("w", WordCodes), budget=budget, monkeypatch=monkeypatch)
    given, expected = SEEN["w"], torch.stack([_alone(model, row)[-1] for row in rows])
    torch.testing.assert_close(given.y, expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(given.codes.dense(), sae.encode(expected).dense(), rtol=1e-5, atol=1e-6)


def _facts(model: Subject) -> tuple[Dataset, EntityPrompts]:
    """Two entities in three prompts each; the labels are what the model says, or not."""
    rows = [row for row in _rows(40) if len(row) >= 4][:6]
    says = [int(model.logits(model.forward(torch.from_numpy(r)[None]).final[0, -1]).argmax()) for r in rows]
    values = ("yes", "no")
    types = (EntityType("thing", ("a", "b"), {"colour": values}, np.array([False, True])),)
    facts = EntityPrompts(
        types=types,
        rows=tuple(rows),
        type=np.zeros(6, int),
        entity=np.array([0, 0, 0, 1, 1, 1]),
        attribute=np.zeros(6, int),
        position=np.array([1, 2, 3, 1, 2, 3]),
        template=np.zeros(6, int),
        labels={"yes": (says[0],), "no": (says[3], 7)},
        boundary=np.ones(VOCABULARY, dtype=bool),
    )
    corpus = item_corpus("entities", rows, model.special_ids, source="t", at=facts.position)
    return Dataset("entities", corpus, facts), facts


def test_entities_are_edited_and_the_model_runs_on(model: Subject, sae: SparseCoder) -> None:
    data, facts = _facts(model)
    _run(model, sae, data, _spy("e", EntityCodes))
    given = SEEN["e"]
    assert given.model.right.tolist()[0] is True
    prompt = torch.tensor([0, 4, 2])
    torch.testing.assert_close(given.decode(given.codes[prompt].dense(), prompt), given.y_hat[prompt])
    value = (given.model.y[prompt] + 0.3).requires_grad_()
    logits = given.model.first(prompt, value)
    assert torch.autograd.grad(logits.sum(), value)[0].abs().sum() > 0
    for place, i in enumerate(prompt.tolist()):
        tokens = torch.from_numpy(facts.rows[i])[None]
        expected = _patched(model, tokens, int(facts.position[i]), value[place].detach())
        torch.testing.assert_close(logits[place].detach(), expected[0, -1], rtol=1e-4, atol=1e-4)


def _patched(model: Subject, tokens: Tensor, position: int, value: Tensor) -> Tensor:
    """Logits of the whole row with one activation replaced by a plain forward hook."""

    def replace(_m: nn.Module, _i: object, output: Tensor) -> Tensor:
        output = output.clone()
        output[0, position] = value
        return output

    handle = model.model.model.layers[1].register_forward_hook(replace)
    with torch.no_grad():
        logits = model.model(input_ids=tokens).logits
    handle.remove()
    return logits


def test_a_completion_is_the_greedy_one(model: Subject, sae: SparseCoder) -> None:
    """Against generating token by token with the edit in place; a label of several tokens, and where it ends."""
    data, facts = _facts(model)
    _run(model, sae, data, _spy("e", EntityCodes))
    given = SEEN["e"]
    value = given.model.y.flip(0)
    for i in range(6):
        tokens = torch.from_numpy(facts.rows[i])[None]
        said: list[int] = []
        for _ in range(3):
            said.append(int(_patched(model, tokens, int(facts.position[i]), value[i])[0, -1].argmax()))
            tokens = torch.cat([tokens, torch.tensor([[said[-1]]])], dim=1)
        facts.labels["said"] = tuple(said[:2])
        facts.labels["other"] = (said[0], (said[1] + 1) % VOCABULARY)
        prompt = torch.tensor([i, i])
        assert given.model.completes(prompt, value[[i, i]], ["said", "other"]).tolist() == [True, False]
        facts.boundary[said[2]] = False
        assert not given.model.completes(prompt[:1], value[[i]], ["said"]).any()
        facts.boundary[:] = True


def test_prompts_run_on_the_same_kept_or_not_and_from_the_entity_or_whole(
    model: Subject, sae: SparseCoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All prompts kept; none, for want of memory; and a model that does not remember: the same logits and verdicts."""
    data, facts = _facts(model)
    prompt = torch.tensor([5, 0, 3, 3, 1, 2, 4])
    value = torch.randn(7, model.d_model, generator=torch.Generator().manual_seed(1))
    label = ["no" if i >= 3 else "yes" for i in prompt.tolist()]
    found = []
    for change in ("nothing", "memory", "past"):
        if change == "memory":
            monkeypatch.setattr("saebench.engine.prompts.CACHE_BYTES", 0)
        if change == "past":
            monkeypatch.setattr(model, "remembers", lambda hook: False)
        _run(model, sae, data, _spy("e", EntityCodes))
        given = SEEN["e"].model
        assert (given._resume._late, given._resume._kept is not None) == (change != "past", change == "nothing")
        found.append((given.first(prompt, value), given.right, given.completes(prompt, given.y[prompt], label)))
    for logits, right, said in found[1:]:
        torch.testing.assert_close(logits, found[0][0], rtol=1e-4, atol=1e-4)
        assert torch.equal(right, found[0][1]) and torch.equal(said, found[0][2])
    assert torch.equal(found[0][2], found[0][1][prompt]) and 0 < int(found[0][1].sum()) < len(facts.rows)


def _questions(model: Subject) -> Dataset:
    rows = _rows(10, seed=4)
    questions = Questions(
        names=tuple(f"q{i}" for i in range(5)),
        domain=np.array([0, 0, 1, 1, 1]),
        domains=("forget", "keep"),
        forget=np.array([True, False]),
        rows=tuple(rows),
        question=np.repeat(np.arange(5), 2),
        candidates=np.tile(np.array([[[5, 6], [7, -1], [8, 9]]]), (10, 1, 1)),
        answer=np.zeros(10, int),
        held_out=np.zeros(5, bool),
    )
    aside = {name: _labelled(model, _rows(8, seed), name).corpus for seed, name in enumerate(("forget", "retain"))}
    return Dataset("questions", item_corpus("questions", rows, model.special_ids, source="t"), questions, aside)


def test_answers_with_latents_clamped(model: Subject, sae: SparseCoder) -> None:
    """Against a plain hook that encodes, clamps where a latent fires, decodes and adds the error back."""
    data = _questions(model)
    _run(model, sae, data, _spy("q", QuestionRuns))
    given, questions = SEEN["q"], data.items
    latents, values = torch.tensor([1, 4, 9]), torch.tensor([-20.0, -5.0, -1.0])
    logits = given.clamped([(latents, values), (latents[:0], values[:0])])
    torch.testing.assert_close(logits[1], given.clean, rtol=1e-4, atol=1e-4)
    for i, row in enumerate(questions.rows):
        acts = _alone(model, row)
        codes = sae.encode(acts).dense()
        clamped = codes.clone()
        clamped[:, latents] = torch.where(codes[:, latents] != 0, values, codes[:, latents])
        edited = acts + sae.decode(clamped) - sae.decode(codes)
        run = model.forward(torch.from_numpy(row)[None], [HOOK])
        whole = torch.cat([run.acts[HOOK][:, :1], edited[None]], dim=1)
        out = model.logits(model.resume(run, HOOK, whole)[0, -1])
        expected = torch.stack([out[[5, 6]].max(), out[7], out[[8, 9]].max()])
        torch.testing.assert_close(logits[0, i], expected, rtol=1e-4, atol=1e-4)
    assert (logits[0] - logits[1]).abs().max() > 0.1


def test_densities_on_both_texts(model: Subject, sae: SparseCoder) -> None:
    data = _questions(model)
    _run(model, sae, data, _spy("q", QuestionRuns))
    for name, found in (("forget", SEEN["q"].forget), ("retain", SEEN["q"].retain)):
        corpus = data.aside[name]
        codes = torch.cat([sae.encode(_alone(model, corpus.row(i))).dense() for i in range(corpus.rows)])
        torch.testing.assert_close(found, (codes != 0).double().mean(0))


class _Breaks(ToySAE):
    """Fails on every batch."""

    def encode(self, x: Tensor) -> Tensor:
        raise ValueError("no such luck")


def test_a_sae_that_fails_on_a_text_does_not_stop_the_others(model: Subject) -> None:
    good, bad = sb.load_sae(ToySAE(), name="good"), sb.load_sae(ToySAE(), name="bad")
    bad.encode = _Breaks().encode
    rows = _run(model, [bad, good], _questions(model), _spy("both", QuestionRuns))
    found = {row.sae: (row.status, row.reason) for row in rows}
    assert found["good"][0] == "ok"
    assert found["bad"][0] == "error" and "no such luck" in found["bad"][1]


def test_a_saes_rows_do_not_depend_on_the_others(model: Subject) -> None:
    """Alone, first or last among others: the same input."""
    rows = _rows()
    first, second = (sb.load_sae(ToySAE(seed=i), name=f"toy{i}") for i in (0, 1))
    found = []
    for order in ([first], [second, first], [first, second]):
        kept = []

        def keep(given: LabelledCodes, *, pooling: str = "mean", kept: list = kept) -> Sums:
            kept.append(given.codes(pooling).dense())
            return Sums(one=torch.ones(2))

        spy = metric(version=1, unit="-", better="none", units="items")(
            _signed(keep, LabelledCodes, {"pooling": "mean"})
        )
        spy.value(lambda s: s.one)
        _run(model, order, _labelled(model, rows), spy)
        found.append(kept[order.index(first)])
    assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])


def test_document_lengths_count_what_is_valid(model: Subject) -> None:
    rows = [np.array([BOS, 5, 6]), np.array([BOS]), np.array([BOS, 7])]
    corpus = item_corpus("probing", rows, model.special_ids, source="t")
    assert items.document_lengths(corpus).tolist() == [2, 0, 1]


@metric(version=1, unit="share", better="higher", units="items")
def noted(given: LabelledCodes, *, pooling: str = "mean") -> Sums:
    """Says something to its readers."""
    hits = torch.arange(200)[:, None] % torch.tensor([2, 4]) == 0
    return Sums(hits=hits.double(), n=1, slices=("a", "b"), notes=("letter x left out: 3 words",))


@noted.value
def _(s: Totals):
    return s.hits / s.n


def test_notes_reach_every_row(model: Subject, sae: SparseCoder) -> None:
    made = _run(model, sae, _labelled(model, _rows()), noted)
    assert [row.slice for row in made] == ["a", "b"]
    assert all("letter x left out: 3 words" in row.warnings for row in made)
    assert [row.value for row in made] == [0.5, 0.25]
    assert all(row.stderr is not None and 0 < row.stderr < 0.1 for row in made), "a number counts in every slice"
    assert made[0].n == 128
