"""TPP and SCR by explicit ablation: decode every token with and without the latents, pool, and ask the probe."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression

from saebench.data.draws import generator
from saebench.data.labelled import Binary, SpuriousPair, Task

Probe = Callable[[np.ndarray], np.ndarray]
"""From activations `[texts, d]` to log-odds."""


class Texts:
    """Texts as tokens: activations and codes of each, `[length, d]` and `[length, d_sae]`, and the decoder."""

    def __init__(self, y: list[np.ndarray], codes: list[np.ndarray], decoder: np.ndarray) -> None:
        self.y, self.codes, self.decoder = y, codes, decoder
        self.pooled = np.stack([part.mean(0) for part in y])
        self.mean_codes = np.stack([part.mean(0) for part in codes])

    def ablated(self, latents: list[int]) -> np.ndarray:
        """Mean activation of each text without some latents, `[texts, d]`; the SAE's error stays."""
        pooled = []
        for y, codes in zip(self.y, self.codes, strict=True):
            without = codes.copy()
            without[:, latents] = 0
            pooled.append((y + without @ self.decoder - codes @ self.decoder).mean(0))
        return np.stack(pooled)


def probe(y: np.ndarray, rows: np.ndarray, label: np.ndarray, scale: float, c: float) -> tuple[Probe, np.ndarray]:
    """A logistic regression on scaled activations, and its weights in the activations' own units."""
    model = LogisticRegression(C=c, tol=1e-10, max_iter=100_000, solver="newton-cholesky").fit(y[rows] * scale, label)
    return (lambda x: model.decision_function(x * scale)), model.coef_[0] * scale


def _scale(y: np.ndarray, rows: list[np.ndarray]) -> float:
    return float(y[np.unique(np.concatenate(rows))].var(axis=0).sum() ** -0.5)


def _right(logits: np.ndarray, rows: np.ndarray, label: np.ndarray) -> float:
    return float(np.mean((logits[rows] > 0) == (label == 1)))


def _gap(texts: Texts, rows: np.ndarray, label: np.ndarray, i: int) -> float:
    return float(texts.mean_codes[rows[label == 1], i].mean() - texts.mean_codes[rows[label == 0], i].mean())


def tpp(
    texts: Texts, task: Task, n: int, *, seed: int = 0, c: float = 100.0, codes_alone: bool = False
) -> dict[str, list[float]]:
    """Intended and unintended fall of accuracy by class."""
    posed: list[Binary] = [task.binary(k, seed) for k in range(len(task.classes))]
    scale = _scale(texts.pooled, [p.train for p in posed])
    probes = [probe(texts.pooled, p.train, p.train_label, scale, c) for p in posed]
    clean = [_right(ask(texts.pooled), p.test, p.test_label) for (ask, _), p in zip(probes, posed, strict=True)]
    found: dict[str, list[float]] = {"intended": [], "unintended": []}
    for k, (_, weight) in enumerate(probes):
        effect = []
        for i, row in enumerate(texts.decoder):
            gap = max(_gap(texts, posed[k].train, posed[k].train_label, i), 0.0)
            effect.append(gap * (1.0 if codes_alone else float(weight @ row)))
        latents = [i for i in sorted(range(len(effect)), key=lambda i: -effect[i])[:n] if effect[i] > 0]
        pooled = texts.ablated(latents)
        falls = [
            before - _right(ask(pooled), p.test, p.test_label)
            for (ask, _), p, before in zip(probes, posed, clean, strict=True)
        ]
        found["intended"].append(falls[k])
        found["unintended"].append(float(np.mean([fall for j, fall in enumerate(falls) if j != k])))
    return found


def scr(texts: Texts, pair: SpuriousPair, n: int, c: float = 100.0) -> dict[str, float]:
    """Scores of both directions and of the one chosen; NaN where undefined."""
    scale = _scale(texts.pooled, [pair.train])
    agree = pair.train_class == pair.train_attribute
    balanced = {
        "class": probe(texts.pooled, pair.train, pair.train_class, scale, c),
        "attribute": probe(texts.pooled, pair.train, pair.train_attribute, scale, c),
    }
    biased, _ = probe(texts.pooled, pair.train[agree], pair.train_class[agree], scale, c)
    test_label = {"class": pair.test_class, "attribute": pair.test_attribute}
    train_label = {"class": pair.train_class, "attribute": pair.train_attribute}
    before = {kind: _right(biased(texts.pooled), pair.test, label) for kind, label in test_label.items()}
    scores = {}
    for way, scored, ablated in (("dir1", "class", "attribute"), ("dir2", "attribute", "class")):
        weight = balanced[ablated][1]
        effect = [
            abs(_gap(texts, pair.train, train_label[ablated], i) * float(weight @ row))
            for i, row in enumerate(texts.decoder)
        ]
        latents = [i for i in sorted(range(len(effect)), key=lambda i: -effect[i])[:n] if effect[i] > 0]
        after = _right(biased(texts.ablated(latents)), pair.test, test_label[scored])
        clean = _right(balanced[scored][0](texts.pooled), pair.test, test_label[scored])
        gap = clean - before[scored]
        scores[way] = (after - before[scored]) / gap if gap >= 1e-3 else float("nan")
    if before["class"] == before["attribute"]:
        return {**scores, "scr": float("nan")}
    return {**scores, "scr": scores["dir1" if before["class"] < before["attribute"] else "dir2"]}


def trained_probe(y: np.ndarray, names: tuple[int | str, ...], part: Binary) -> tuple[Probe, np.ndarray]:
    """SAEBench's probe by torch: a linear layer, AdamW, batches of 16, and the epoch that is best on test."""
    rng = generator(*names, "trained probe")
    width = y.shape[1]
    start = torch.from_numpy(rng.uniform(-(width**-0.5), width**-0.5, width + 1))
    layer = torch.nn.Linear(width, 1, dtype=torch.float64)
    with torch.no_grad():
        layer.weight[0], layer.bias[0] = start[:-1], start[-1]
    optimiser = torch.optim.AdamW(layer.parameters(), lr=1e-3)
    x, label = torch.from_numpy(y[part.train]), torch.from_numpy(part.train_label).double()
    best, kept = -1.0, (np.zeros(width), 0.0)
    for _ in range(20):
        order = rng.permutation(len(x))
        for begin in range(0, len(x), 16):
            rows = order[begin : begin + 16]
            optimiser.zero_grad()
            loss = torch.nn.functional.binary_cross_entropy_with_logits(layer(x[rows])[:, 0], label[rows])
            (loss + 1e-3 * layer.weight.abs().sum()).backward()
            optimiser.step()
        weight, bias = layer.weight.detach().numpy()[0].copy(), layer.bias.item()
        accuracy = _right(y @ weight + bias, part.test, part.test_label)
        if accuracy > best:
            best, kept = accuracy, (weight, bias)
    return (lambda activation: activation @ kept[0] + kept[1]), kept[0]


def tpp_saebench(texts: Texts, task: Task, sizes: tuple[int, ...], *, seed: int = 0) -> list[list[float]]:
    """TPP of each class, for each n, by SAEBench's protocol, its padding apart."""
    posed = [task.binary(k, seed) for k in range(len(task.classes))]
    probes = [
        trained_probe(texts.pooled, (seed, task.name, name), p) for name, p in zip(task.classes, posed, strict=True)
    ]
    clean = [_right(ask(texts.pooled), p.test, p.test_label) for (ask, _), p in zip(probes, posed, strict=True)]
    found: list[list[float]] = [[] for _ in sizes]
    for k, (_, weight) in enumerate(probes):
        effect = [
            max(_gap(texts, posed[k].train, posed[k].train_label, i), 0.0) * float(weight @ row)
            for i, row in enumerate(texts.decoder)
        ]
        for scores, n in zip(found, sizes, strict=True):
            most = min(n, sum(x != 0 for x in effect))
            pooled = texts.ablated(sorted(range(len(effect)), key=lambda i: -effect[i])[:most])
            falls = [
                before - _right(ask(pooled), p.test, p.test_label)
                for (ask, _), p, before in zip(probes, posed, clean, strict=True)
            ]
            scores.append(falls[k] - float(np.mean([fall for j, fall in enumerate(falls) if j != k])))
    return found


def scr_saebench(texts: Texts, pair: SpuriousPair, sizes: tuple[int, ...], *, seed: int = 0) -> list[dict[str, float]]:
    """SCR for each n by SAEBench's protocol, its padding apart: both directions and the one chosen."""
    agree, tested = pair.train_class == pair.train_attribute, pair.test_class == pair.test_attribute
    parts = {
        "class": Binary(pair.train, pair.train_class, pair.test, pair.test_class),
        "attribute": Binary(pair.train, pair.train_attribute, pair.test, pair.test_attribute),
        "biased": Binary(pair.train[agree], pair.train_class[agree], pair.test[tested], pair.test_class[tested]),
    }
    probes = {kind: trained_probe(texts.pooled, (seed, pair.name, kind), part) for kind, part in parts.items()}
    biased = probes["biased"][0]
    before = {kind: _right(biased(texts.pooled), pair.test, parts[kind].test_label) for kind in ("class", "attribute")}
    found: list[dict[str, float]] = [{} for _ in sizes]
    for way, scored, ablated in (("dir1", "class", "attribute"), ("dir2", "attribute", "class")):
        weight, part = probes[ablated][1], parts[ablated]
        effect = [
            abs(_gap(texts, part.train, part.train_label, i) * float(weight @ row))
            for i, row in enumerate(texts.decoder)
        ]
        clean = _right(probes[scored][0](texts.pooled), pair.test, parts[scored].test_label)
        gap = clean - before[scored]
        for scores, n in zip(found, sizes, strict=True):
            most = min(n, sum(x != 0 for x in effect))
            pooled = texts.ablated(sorted(range(len(effect)), key=lambda i: -effect[i])[:most])
            after = _right(biased(pooled), pair.test, parts[scored].test_label)
            scores[way] = 0.0 if gap < 0.001 else (after - before[scored]) / gap
    for scores in found:
        tie = before["class"] == before["attribute"]
        scores["scr"] = float("nan") if tie else scores["dir1" if before["class"] < before["attribute"] else "dir2"]
    return found
