"""Feature absorption from its definition, prompt by prompt and latent by latent, with scikit-learn for the probes."""

from __future__ import annotations

import math

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score

from saebench.data.draws import generator
from saebench.data.words import Hierarchy


def true_probe(y: np.ndarray, h: Hierarchy, g: int, c: float) -> tuple[np.ndarray, np.ndarray, float]:
    """Unit direction, log-odds of all items and test F1 of a group's probe on the activation."""
    x = y[h.items]
    scale = 1 / math.sqrt(x[~h.test].var(axis=0).sum())
    model = LogisticRegression(C=c, class_weight="balanced", tol=1e-10, max_iter=100_000, solver="newton-cholesky")
    model.fit(x[~h.test] * scale, h.label[~h.test] == g)
    logits = model.decision_function(x * scale)
    direction = model.coef_[0] / np.linalg.norm(model.coef_[0])
    return direction, logits, float(f1_score(h.label[h.test] == g, logits[h.test] > 0))


def main_latents(
    codes: np.ndarray, h: Hierarchy, g: int, *, l1: float, max_k: int, f1_jump: float
) -> tuple[list[int], float]:
    """The main latents of a group, and the F1 of their probe: an L1 probe of all latents, then nested probes."""
    x, mine = codes[h.items], h.label == g
    train = ~h.test
    weight = np.where(mine, 0.5 / mine[train].sum(), 0.5 / (~mine)[train].sum())
    mean = (weight[train, None] * x[train]).sum(0)
    spread = np.sqrt((weight[train, None] * (x[train] - mean) ** 2).sum(0))
    x = x / np.where(spread > 0, spread, 1.0)
    sparse = l1_weights(x[train] - mean, mine[train], weight[train], l1)
    order = [int(i) for i in np.argsort(-sparse) if sparse[i] > 1e-9][:max_k]
    best, kept = -math.inf, 0
    for k in range(1, len(order) + 1):
        probe = LogisticRegression(class_weight="balanced", tol=1e-10, max_iter=10_000)
        probe.fit(x[train][:, order[:k]], mine[train])
        score = float(f1_score(mine[h.test], probe.predict(x[h.test][:, order[:k]])))
        if score <= best + f1_jump:
            break
        best, kept = score, k
    return order[:kept], best


def l1_weights(x: np.ndarray, mine: np.ndarray, weight: np.ndarray, l1: float, steps: int = 20_000) -> np.ndarray:
    """Weights of an L1 logistic regression with a free intercept, by accelerated proximal gradient with restarts."""
    x = np.c_[x, np.ones(len(x))]
    step = 4 / np.linalg.eigvalsh(x.T @ (weight[:, None] * x)).max()
    w = ahead = np.zeros(x.shape[1])
    pace = 1.0
    for _ in range(steps):
        slope = x.T @ (weight * (1 / (1 + np.exp(-x @ ahead)) - mine))
        new = ahead - step * slope
        new[:-1] = np.sign(new[:-1]) * np.maximum(np.abs(new[:-1]) - step * l1, 0)
        if (ahead - new) @ (new - w) > 0:
            pace = 1.0
        faster = (1 + math.sqrt(1 + 4 * pace**2)) / 2
        ahead = new + (pace - 1) / faster * (new - w)
        if np.abs(new - w).max() < 1e-13:
            break
        w, pace = new, faster
    return w[:-1]


def absorbed(
    activation: np.ndarray, effects: np.ndarray, decoder: np.ndarray, direction: np.ndarray, main: list[int]
) -> tuple[float, bool]:
    """Absorption fraction, and whether absorption is full, of one prompt."""
    whole = float(activation @ direction)
    projection, cosine = [], []
    for i, row in enumerate(decoder):
        projection.append(float(effects[i]) * float(row @ direction))
        cosine.append(float(row @ direction) / float(np.linalg.norm(row)))
    mine = sum(projection[i] for i in main)
    others = [i for i in range(len(decoder)) if i not in main and cosine[i] >= 0.1 and projection[i] > 0]
    theirs = sum(sorted((projection[i] for i in others), reverse=True)[:3])
    if mine >= whole or theirs / whole < 0.4:
        fraction = 0.0
    elif mine <= 0:
        fraction = 1.0
    else:
        part = min(theirs, whole - mine)
        fraction = min(max(part / (part + mine), 0.0), 1.0)
    largest = max(range(len(decoder)), key=lambda i: projection[i])
    silent = all(effects[i] <= 0 for i in main)
    full = silent and cosine[largest] >= 0.025 and whole > 0 and projection[largest] / whole >= 0.4
    return fraction, full


def trained_layer(
    x: np.ndarray, h: Hierarchy, purpose: str, *, batch: int, decay: float, l1: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """SAEBench's layer of one-vs-rest probes by torch, `[groups, features]` and `[groups]`, from train items `x`."""
    rng = generator(0, h.name, purpose)
    mine = torch.from_numpy(h.label[~h.test][:, None] == np.arange(len(h.groups))).double()
    bound = x.shape[1] ** -0.5
    layer = torch.nn.Linear(x.shape[1], len(h.groups), dtype=torch.float64)
    with torch.no_grad():
        layer.weight[:] = torch.from_numpy(rng.uniform(-bound, bound, (len(h.groups), x.shape[1])))
        layer.bias[:] = torch.from_numpy(rng.uniform(-bound, bound, len(h.groups)))
    optimiser = torch.optim.Adam(layer.parameters(), lr=1e-2, weight_decay=decay)
    slower = torch.optim.lr_scheduler.ExponentialLR(optimiser, gamma=(1e-5 / 1e-2) ** (1 / 50))
    loss = torch.nn.BCEWithLogitsLoss(pos_weight=(len(mine) - mine.sum(0)) / mine.sum(0))
    inputs = torch.from_numpy(x)
    for _ in range(50):
        order = rng.permutation(len(x))
        for start in range(0, len(x), batch):
            rows = order[start : start + batch]
            optimiser.zero_grad()
            (loss(layer(inputs[rows]), mine[rows]) + l1 * layer.weight.abs().sum(1).mean()).backward()
            optimiser.step()
        slower.step()
    return layer.weight.detach().numpy(), layer.bias.detach().numpy()


def published(y: np.ndarray, codes: np.ndarray, decoder: np.ndarray, h: Hierarchy) -> list[tuple[float, float] | None]:
    """Mean absorption fraction and full absorption rate of each group by SAEBench's protocol; None without a score."""
    x, f = y[h.items], codes[h.items]
    weight, bias = trained_layer(x[~h.test], h, "group probe", batch=64, decay=1e-4)
    ranking, _ = trained_layer(f[~h.test], h, "ranking probe", batch=4096, decay=1e-6, l1=0.01)
    unit = decoder / np.linalg.norm(decoder, axis=1, keepdims=True)
    found: list[tuple[float, float] | None] = []
    for g in range(len(h.groups)):
        mine, logits = h.label == g, x @ weight[g] + bias[g]
        if f1_score(mine[h.test], logits[h.test] > 0) <= 0.6:
            found.append(None)
            continue
        order = [int(i) for i in np.argsort(-ranking[g], kind="stable")[:10]]
        best, kept = -math.inf, 0
        for k in range(1, 11):
            probe = LogisticRegression(class_weight="balanced", tol=1e-10, max_iter=10_000)
            probe.fit(f[~h.test][:, order[:k]], mine[~h.test])
            score = float(f1_score(mine[h.test], probe.predict(f[h.test][:, order[:k]])))
            if score <= best + 0.03:
                break
            best, kept = score, k
        direction = weight[g] / np.linalg.norm(weight[g])
        hits = np.flatnonzero(h.test & mine & (logits > 0))
        scores = [absorbed(x[i], f[i], unit, direction, order[:kept]) for i in hits]
        found.append((float(np.mean([s for s, _ in scores])), float(np.mean([full for _, full in scores]))))
    return found
