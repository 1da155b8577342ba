"""Linear probes: many logistic regressions at once, top-k selection on sparse codes, and scores with influences."""

from __future__ import annotations

from saebench.data.draws import generator
from saebench.probes.families import Probed, k_sparse, last_token, on_all_codes, on_residual, undefined
from saebench.probes.lasso import fit_l1
from saebench.probes.logistic import Probe, fit
from saebench.probes.problems import Problem, by_task, problems, sizes
from saebench.probes.scores import Score, accuracy, auroc, f1, weighted_f1
from saebench.probes.select import columns, mean_differences, table, top
from saebench.probes.slices import Sliced, scored, sliced
from saebench.probes.sparse import Case, select_cases, sparse_logits, standardised
from saebench.probes.validation import full_logits, held_out, last_token_logits
from saebench.probes.wide import Features, fit_wide

__all__ = [
    "Case",
    "Features",
    "Probe",
    "Probed",
    "Problem",
    "Score",
    "Sliced",
    "accuracy",
    "auroc",
    "by_task",
    "columns",
    "f1",
    "fit",
    "fit_l1",
    "fit_wide",
    "full_logits",
    "generator",
    "held_out",
    "k_sparse",
    "last_token",
    "last_token_logits",
    "mean_differences",
    "on_all_codes",
    "on_residual",
    "problems",
    "scored",
    "select_cases",
    "sizes",
    "sliced",
    "sparse_logits",
    "standardised",
    "table",
    "top",
    "undefined",
    "weighted_f1",
]
