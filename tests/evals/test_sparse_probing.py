"""Sparse probing equals a loop over classes with scikit-learn, and does not move with what should not matter."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from saebench.evals import full_probing, sparse_probing_last_token
from saebench.evals import sparse_probing as family
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, log_loss, roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from saebench.data.labelled import Binary, LabelledTexts, Task
from saebench.errors import UserError
from saebench.inputs import LabelledCodes, LastTokenCodes
from saebench.inputs.labelled import Activations
from saebench.metric import Metric
from saebench.saes import Codes

WIDTH = 40


class Frozen(Task):
    """A task that takes its negatives in a fixed order, so that these tests need no draw."""

    def binary(self, c: int, seed: int) -> Binary:
        """All texts of the class, and as many of the others, from the back."""
        parts = []
        for rows, label in ((self.train, self.train_label), (self.test, self.test_label)):
            if len(self.classes) == 2:
                parts += [rows, (label == c).astype(np.int64)]
                continue
            positive, rest = rows[label == c], rows[label != c][::-1]
            negative = rest[:: max(1, len(rest) // max(1, len(positive)))][: len(positive)]
            parts += [np.r_[positive, negative], np.r_[np.ones(len(positive)), np.zeros(len(negative))].astype(int)]
        return Binary(*parts)


def _tasks(n: int = 600) -> tuple[tuple[Task, ...], np.ndarray]:
    """Two tasks over n texts, one of three classes and one of two, and each text's class in the first."""
    rng = np.random.default_rng(11)
    label, side = rng.integers(0, 3, n), rng.integers(0, 2, n)
    rows = rng.permutation(n)
    train, test = rows[: 2 * n // 3], rows[2 * n // 3 :]
    three = Frozen("topic", ("law", "art", "war"), train, label[train], test, label[test])
    return (three, Frozen("tone", ("sad", "glad"), train, side[train], test, side[test])), label + 3 * side


def _codes(label: np.ndarray, seed: int = 0) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    base = np.maximum(rng.normal(size=(len(label), WIDTH)) - 0.3, 0) * rng.gamma(1.0, size=WIDTH)
    for column in range(6):
        base[:, column] += (label == column) * rng.random(len(label)) * 0.6
    return torch.tensor(base, dtype=torch.float32)


def _input(codes: torch.Tensor, tasks: tuple[Task, ...], kind: type = LabelledCodes, pooling: str = "mean"):
    texts = LabelledTexts(tuple(map(str, range(len(codes)))), tasks, seed=3)
    x = torch.randn(len(codes), 12, generator=torch.Generator().manual_seed(0)) + codes[:, :1]
    return kind(texts, {pooling: Codes.from_dense(codes)}, Activations({pooling: x}))


def _values(metric: Metric, given: LabelledCodes) -> dict[str, float]:
    sums = metric.rows(given, **metric.settings)
    totals = {name: field.sum(0).numpy() for name, field in sums.fields.items()}
    return dict(zip(sums.slices, metric.compute(totals), strict=True))


def _by_hand(x: np.ndarray, task: Task, c: int, k: int, scaled: bool) -> tuple[float, float, float]:
    """Accuracy, AUROC and F1 of one class, in the plainest words."""
    problem = task.binary(c, 3)
    positive, negative = (x[problem.train[problem.train_label == mark]] for mark in (1, 0))
    gap = [abs(np.mean(positive[:, i]) - np.mean(negative[:, i])) for i in range(x.shape[1])]
    best = sorted(range(x.shape[1]), key=lambda i: -gap[i])[:k]
    model = LogisticRegression(C=1.0, max_iter=10_000, tol=1e-10)
    model = make_pipeline(StandardScaler(), model) if scaled else model
    model.fit(x[problem.train][:, best], problem.train_label)
    distinct, back = np.unique(x[problem.test][:, best], axis=0, return_inverse=True)
    logits = model.decision_function(distinct)[back.ravel()]  # equal codes tie exactly, on every machine
    said = model.predict(x[problem.test][:, best])
    right = float(np.mean(said == problem.test_label))
    return right, float(roc_auc_score(problem.test_label, logits)), float(f1_score(problem.test_label, said))


@pytest.mark.parametrize(
    ("metric", "place", "scaled"),
    [
        (family.sparse_probing, 0, True),
        (family.sparse_probing_auroc, 1, True),
        (family.sparse_probing_f1, 2, True),
        (family.sparse_probing_saebench, 0, False),
    ],
)
def test_scores_are_those_of_a_loop_with_scikit_learn(metric: Metric, place: int, scaled: bool) -> None:
    tasks, label = _tasks()
    codes = _codes(label)
    got = _values(metric, _input(codes, tasks))
    x = codes.double().numpy()
    for k in (1, 2, 5):
        topic = [_by_hand(x, tasks[0], c, k, scaled)[place] for c in range(3)]
        tone = _by_hand(x, tasks[1], 1, k, scaled)[place]
        expected = {f"k={k}/topic={name}": value for name, value in zip(tasks[0].classes, topic, strict=True)}
        expected |= {f"k={k}": (np.mean(topic) + tone) / 2, f"k={k}/topic": np.mean(topic), f"k={k}/tone": tone}
        for name, value in expected.items():
            assert got[name] == pytest.approx(value, abs=1e-6), name
    assert list(got)[:3] == ["k=1", "k=2", "k=5"] and "k=1/tone=glad" not in got


def test_residual_channels_are_probed_like_latents_and_chance_is_a_half() -> None:
    tasks, label = _tasks()
    given = _input(_codes(label), tasks)
    got = _values(full_probing.residual_probing, given)
    x = given.x("mean").double().numpy()
    expected = np.mean(
        [np.mean([_by_hand(x, tasks[0], c, 2, True)[0] for c in range(3)]), _by_hand(x, tasks[1], 1, 2, True)[0]]
    )
    assert got["k=2"] == pytest.approx(expected, abs=1e-6)
    assert got["chance/topic"] == pytest.approx(0.5)


def _full_by_hand(x: np.ndarray, task: Task, classes: range) -> list[float]:
    """Full probes with scikit-learn: one scale for the problem, C by log-loss on the last fifth of each class."""
    found, raw = [], x
    for p in (task.binary(c, 3) for c in classes):
        x = raw / np.sqrt(raw[p.train].var(axis=0).sum())
        held = np.concatenate(
            [np.flatnonzero(p.train_label == m)[-(np.sum(p.train_label == m) // 5) :] for m in (0, 1)]
        )
        kept = np.setdiff1d(np.arange(len(p.train)), held)
        rows, label = x[p.train], p.train_label

        def model(c: float, rows: np.ndarray, label: np.ndarray) -> LogisticRegression:
            return LogisticRegression(C=c, tol=1e-8, max_iter=10_000, solver="newton-cholesky").fit(rows, label)

        losses = {
            c: log_loss(label[held], model(c, rows[kept], label[kept]).predict_proba(rows[held]))
            for c in (1, 10, 100, 1000)
        }
        best = model(min(losses, key=losses.__getitem__), rows, label)
        found.append(float(roc_auc_score(p.test_label, best.decision_function(x[p.test]))))
    return found


def test_full_probes_are_those_of_scikit_learn() -> None:
    tasks, label = _tasks()
    codes = _codes(label)
    given = _input(codes, tasks)
    for metric, x in (
        (full_probing.full_code_probing_auroc, codes.double().numpy()),
        (full_probing.residual_probing_auroc, given.x("mean").double().numpy()),
    ):
        got = _values(metric, given)
        expected = _full_by_hand(x, tasks[0], range(3))
        assert [got[f"full/topic={name}"] for name in tasks[0].classes] == pytest.approx(expected, abs=1e-4)
        assert got["full/tone"] == pytest.approx(_full_by_hand(x, tasks[1], range(1, 2))[0], abs=1e-4)


@pytest.mark.filterwarnings("ignore")
def test_the_last_token_protocol_is_that_of_a_loop_with_saga() -> None:
    tasks, label = _tasks(300)
    codes = _codes(label)
    given = _input(codes, tasks[1:], LastTokenCodes, "last")
    p, x = tasks[1].binary(1, 3), codes.double().numpy()
    size = np.array([np.mean(col[col != 0]) if (col != 0).any() else 0 for col in np.abs(x[p.train]).T]) + 1e-6
    sides = [x[p.train[p.train_label == mark]].mean(0) / size for mark in (1, 0)]
    order = np.argsort(-np.abs(sides[0] - sides[1]))
    held = np.concatenate([np.flatnonzero(p.train_label == m)[-(np.sum(p.train_label == m) // 5) :] for m in (0, 1)])
    kept = np.setdiff1d(np.arange(len(p.train)), held)
    for k in (1, 2):
        rows, test = x[p.train][:, order[:k]], x[p.test][:, order[:k]]

        def model(c: float, rows: np.ndarray, label: np.ndarray) -> LogisticRegression:
            return LogisticRegression(C=c, penalty="l1", solver="saga", tol=1e-7, max_iter=20_000).fit(rows, label)

        best, area = 0.0, -1.0
        for c in np.logspace(5, -5, 10):
            z = model(c, rows[kept], p.train_label[kept]).decision_function(rows[held])
            if roc_auc_score(p.train_label[held], z) > area:
                best, area = c, roc_auc_score(p.train_label[held], z)
        final = model(best, rows, p.train_label)
        said = final.predict(test)
        expected = {
            sparse_probing_last_token.sparse_probing_last_token: np.mean(said == p.test_label),
            sparse_probing_last_token.sparse_probing_last_token_auroc: roc_auc_score(
                p.test_label, final.decision_function(test)
            ),
            sparse_probing_last_token.sparse_probing_last_token_f1: f1_score(p.test_label, said, average="weighted"),
        }
        for metric, value in expected.items():
            assert _values(metric, given)[f"k={k}"] == pytest.approx(value, abs=1e-6), (metric.name, k)


ALL = [
    family.sparse_probing,
    family.sparse_probing_auroc,
    family.sparse_probing_saebench,
    full_probing.full_code_probing,
]


CHANGES = [
    pytest.param(metric, change, id=f"{metric.name}, {change}")
    for metric in ALL
    for change in ("order of latents", "dead latents", "order of texts", "scale")
    if (metric, change) != (family.sparse_probing_saebench, "scale")
]


@pytest.mark.parametrize(("metric", "change"), CHANGES)
def test_what_should_not_matter_does_not(metric: Metric, change: str) -> None:
    tasks, label = _tasks()
    codes = _codes(label)
    before = _values(metric, _input(codes, tasks))
    rng = np.random.default_rng(7)
    if change == "order of latents":
        after = _values(metric, _input(codes[:, rng.permutation(WIDTH)], tasks))
    elif change == "dead latents":
        after = _values(metric, _input(torch.cat([codes, torch.zeros(len(codes), 9)], 1), tasks))
    elif change == "scale":
        after = _values(metric, _input(codes * 1024, tasks))
    else:
        order = rng.permutation(len(codes))
        place = np.argsort(order)
        moved = tuple(replace(t, train=place[t.train], test=place[t.test]) for t in tasks)
        after = _values(metric, _input(codes[order], moved))
    assert after == pytest.approx(before, abs=1e-9)


def test_the_reference_variant_depends_on_the_scale() -> None:
    tasks, label = _tasks()
    big, small = (_values(family.sparse_probing_saebench, _input(_codes(label) * s, tasks)) for s in (1.0, 1e-3))
    assert big != small


def test_a_latent_that_is_the_label_is_chosen_and_scores_one() -> None:
    from saebench.probes import problems, select_cases, table

    tasks, label = _tasks()
    codes = _codes(np.full(len(label), -1))
    for column, kind in ((7, 0), (21, 1), (30, 2)):
        codes[:, column] = torch.tensor(label % 3 == kind) * 3.0
    codes[:, 9] = torch.tensor(label >= 3) * 3.0
    given = _input(codes, tasks)
    for metric in (family.sparse_probing, family.sparse_probing_auroc, family.sparse_probing_f1):
        assert set(_values(metric, given).values()) == {1.0}
    plain = tuple(Task(*(getattr(t, f) for f in Task.__dataclass_fields__)) for t in tasks)
    assert set(_values(family.sparse_probing, _input(codes, plain)).values()) == {1.0}
    cases = select_cases(table(given.codes("mean")), problems(given.texts), 1)
    assert [int(case.chosen[0]) for case in cases] == [7, 21, 30, 9]


@pytest.mark.parametrize("metric", [family.sparse_probing, family.sparse_probing_auroc], ids=lambda m: m.name)
def test_codes_that_know_nothing_score_a_half_within_the_interval(metric: Metric) -> None:
    tasks, label = _tasks(1200)
    sums = metric.rows(_input(_codes(np.full(len(label), -1), seed=5), tasks), **metric.settings)
    psi, n = sums.fields["psi"].numpy(), sums.fields["n"].numpy()
    value = psi.sum(0) / n.sum(0)
    stderr = np.sqrt(((psi - value * n) ** 2).sum(0)) / n.sum(0)
    assert (np.abs(value[:3] - 0.5) < 3.5 * stderr[:3]).all()
    assert (stderr[:3] < 0.05).all()


def test_latents_fewer_than_k_and_constant_codes() -> None:
    tasks, label = _tasks()
    got = _values(family.sparse_probing, _input(_codes(label)[:, :2], tasks))
    assert got["k=5"] == got["k=2"]
    silent = _input(torch.zeros(len(label), 8), tasks)
    assert _values(family.sparse_probing_auroc, silent)["k=1"] == pytest.approx(0.5)
    assert np.isfinite(list(_values(full_probing.full_code_probing, silent).values())).all()


def test_a_class_without_texts_to_score_is_nan_and_counted() -> None:
    tasks, label = _tasks()
    kept = tasks[0].test_label != 2
    poor = replace(tasks[0], test=tasks[0].test[kept], test_label=tasks[0].test_label[kept])
    given = _input(_codes(label), (poor, tasks[1]))
    given.texts = replace(given.texts, left_out=("news: one class only",))
    got = _values(family.sparse_probing, given)
    assert np.isnan(got["k=1/topic=war"])
    assert got["k=1/topic"] == pytest.approx((got["k=1/topic=law"] + got["k=1/topic=art"]) / 2)
    counts = _values(family.sparse_probing_undefined, given)
    assert counts == {"all": 2.0, "no score": 1.0, "left out when read": 1.0}


def test_the_metrics_are_listed_without_torch() -> None:
    names = ("sparse_probing", "sparse_probing_last_token", "full_probing")
    code = "import sys\n" + "".join(f"import saebench.evals.{name}\n" for name in names)
    code += "sys.exit(str({'torch', 'scipy', 'sklearn'} & set(sys.modules) or ''))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr.strip() == ""


def test_a_class_without_texts_to_fit_on_is_nan_in_every_metric() -> None:
    tasks, label = _tasks()
    kept = tasks[0].train_label != 2
    poor = replace(tasks[0], train=tasks[0].train[kept], train_label=tasks[0].train_label[kept])
    for metric in ALL:
        got = _values(metric, _input(_codes(label), (poor,)))
        assert {name for name, value in got.items() if np.isnan(value)} == {n for n in got if n.endswith("=war")}
    last = _input(_codes(label), (poor,), LastTokenCodes, "last")
    assert np.isnan(_values(sparse_probing_last_token.sparse_probing_last_token, last)["k=1/topic=war"])
    assert np.isnan(_values(sparse_probing_last_token.residual_probing_last_token, last)["full/topic=war"])


@pytest.mark.parametrize("k", [(), (0,), ("2",), (1.5,)])
def test_a_number_of_latents_that_is_none_is_refused(k: tuple) -> None:
    tasks, label = _tasks()
    with pytest.raises(UserError, match="Setting k"):
        family.sparse_probing.rows(_input(_codes(label), tasks), k=k, pooling="mean")


def test_the_yardstick_is_made_once_for_all_saes() -> None:
    tasks, label = _tasks()
    first = _input(_codes(label), tasks)
    _values(full_probing.residual_probing, first)
    second = LabelledCodes(first.texts, {"mean": Codes.from_dense(_codes(label, seed=1))}, first.activations)
    made = dict(first.activations._made)
    assert _values(full_probing.residual_probing, second) == _values(full_probing.residual_probing, first)
    assert first.activations._made == made
