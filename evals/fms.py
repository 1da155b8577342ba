"""Whether one latent holds a concept alone: decision trees on the pooled codes of labelled texts."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from saebench.inputs import LabelledCodes
from saebench.metric import Array, Count, Pooling, Sums, Totals, metric

if TYPE_CHECKING:
    import numpy as np
    from scipy.sparse import csr_matrix

    from saebench.probes import Problem, Score
    from saebench.saes import Codes

_CANDIDATES = 64


class _Trees(NamedTuple):
    """Scores of one problem's trees: the root alone, the roots after p removals, and trees of growing depth."""

    root: Score
    without: dict[int, Score]
    deeper: list[Score]


@metric(version=1, unit="score", better="higher", best=1.0, bounds=(None, None), units="items")
def fms(c: LabelledCodes, *, p: tuple[Count, ...] = (1, 5), depth: Count = 5, pooling: Pooling = "mean") -> Sums:
    """Feature monosemanticity score: one latent tells the class, the others do not, and more of them add nothing.

    FMS@p = mean over classes of acc_0 (local@p + global) / 2, with local@p = 2 (acc_0 - acc_p) and global = 1 - mean
    over i of (acc_cum_i - acc_0). acc_0: accuracy on test of a decision tree of depth 1 (Gini) on the codes; acc_p: of
    the same after the p best latents were removed one by one; acc_cum_i: of trees of depth 1 ... `depth`. One for a
    class that one latent tells and no other; 0.25 where nothing does better than chance. Problems and splits are those
    of `sparse_probing`; the trees see the 64 latents with the largest |mean_pos - mean_neg| over the standard deviation
    on train. Haerle et al. 2025, Measuring and Guiding Monosemanticity.
    """
    import torch

    from saebench.probes import Score, sizes, sliced

    removed = sizes(p, "p")
    problems, trees = c.once(("fms", removed, depth, pooling), lambda: _grown(c, removed, depth, pooling))
    scores = {f"p={n}": [_score(part, n, Score) for part in trees] for n in removed}
    made = sliced(problems, scores)
    return Sums(psi=torch.from_numpy(made.psi), n=torch.from_numpy(made.n), slices=made.names)


@fms.value
def _(s: Totals) -> Array:
    return s.psi / s.n


def _grown(
    c: LabelledCodes, removed: tuple[int, ...], depth: int, pooling: str
) -> tuple[tuple[Problem, ...], list[_Trees | None]]:
    from saebench.probes import problems

    posed = problems(c.texts)
    codes = _matrix(c.codes(pooling))
    return posed, [_trees(codes, problem, removed, depth) if problem.posed else None for problem in posed]


def _matrix(codes: Codes) -> csr_matrix:
    """Codes as a scipy matrix, `[texts, d_sae]`."""
    from scipy.sparse import csr_matrix

    parts = (part.cpu().numpy() for part in (codes.values.float(), codes.latents, codes.offsets))
    return csr_matrix(tuple(parts), shape=codes.shape)


def _trees(codes: csr_matrix, problem: Problem, removed: tuple[int, ...], depth: int) -> _Trees:
    """Grow the trees of one problem on its train texts and score them on its test texts."""
    import numpy as np

    train, test = codes[problem.train], codes[problem.test]
    rank = _ranked(train, problem.train_label)
    gone: list[int] = []
    roots: list[Score] = []
    for _ in range(max(removed) + 1):
        score, root = _tree(train, test, problem, rank[~np.isin(rank, gone)][:_CANDIDATES], 1)
        roots.append(score)
        gone.append(root)
    deeper = [_tree(train, test, problem, rank[:_CANDIDATES], deep)[0] for deep in range(1, depth + 1)]
    return _Trees(roots[0], {p: roots[p] for p in removed}, deeper)


def _ranked(train: csr_matrix, label: np.ndarray) -> np.ndarray:
    """Latents by how far apart the means of the classes lie in standard deviations, the furthest first."""
    import numpy as np

    mean, square = np.asarray(train.mean(0))[0], np.asarray(train.multiply(train).mean(0))[0]
    spread = np.sqrt(np.maximum(square - mean**2, 0.0))
    apart = np.abs(np.asarray(train[label == 1].mean(0))[0] - np.asarray(train[label == 0].mean(0))[0])
    return np.argsort(-np.where(spread > 0, apart / np.where(spread > 0, spread, 1.0), 0.0), kind="stable")


def _tree(train: csr_matrix, test: csr_matrix, problem: Problem, latents: np.ndarray, depth: int) -> tuple[Score, int]:
    """Accuracy of a tree on some of the latents, and the latent at its root (-1 where it has none)."""
    from sklearn.tree import DecisionTreeClassifier

    from saebench.probes import accuracy

    tree = DecisionTreeClassifier(max_depth=depth, random_state=0).fit(train[:, latents].toarray(), problem.train_label)
    said = tree.predict(test[:, latents].toarray())
    root = int(tree.tree_.feature[0])
    return accuracy(said - 0.5, problem.test_label), int(latents[root]) if root >= 0 else -1


def _score(trees: _Trees | None, p: int, kind: type[Score]) -> Score:
    """acc_0 (local@p + global) / 2 with the influence of each test text on it; NaN for a problem that is not posed."""
    import numpy as np

    if trees is None:
        return kind(float("nan"), np.zeros(0))
    root, removed = trees.root, trees.without[p]
    many = np.mean([tree.value for tree in trees.deeper])
    inner = (2 * (root.value - removed.value) + 1 - (many - root.value)) / 2
    moved = np.mean([tree.influence for tree in trees.deeper], axis=0)
    slope = (2 * (root.influence - removed.influence) - (moved - root.influence)) / 2
    return kind(float(root.value * inner), root.influence * inner + root.value * slope)
