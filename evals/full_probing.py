"""What sparse probing is to be read beside: probes on the activation itself, and on all latents at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from saebench.inputs import LabelledCodes
from saebench.metric import Array, Pooling, Sums, Totals, metric

from ._probing import PROBING, Probing

if TYPE_CHECKING:
    from saebench.probes import Probed


@metric(version=1, unit="share of texts", better="none", bounds=(0.0, 1.0), units="items")
def residual_probing(c: LabelledCodes, *, probe: Probing = PROBING) -> Sums:
    """Accuracy of probes on the activation itself: its k best channels, all channels, and chance.

    The yardstick of `sparse_probing`, the same for every SAE at a hook. Slices `k=...` treat channels as
    `sparse_probing` treats latents. `full` is a logistic regression (L2) on all channels, scaled together to a
    total variance of one, with C from 1, 10, 100, 1000 by log-loss on the last fifth of each class of train.
    `chance` always names the more frequent class of train: 0.5 on balanced parts.
    """
    from saebench.probes import on_residual

    return _sums(on_residual(c, probe.k, probe.pooling), "accuracy")


@metric(version=1, unit="area under ROC", better="none", bounds=(0.0, 1.0), units="items")
def residual_probing_auroc(c: LabelledCodes, *, probe: Probing = PROBING) -> Sums:
    """Chance that a probe on the activation itself ranks a text of the class above one of the rest.

    Area under the ROC curve of the probes of `residual_probing`, ties counting half.
    """
    from saebench.probes import on_residual

    return _sums(on_residual(c, probe.k, probe.pooling), "auroc")


@metric(version=1, unit="share of texts", better="higher", best=1.0, bounds=(0.0, 1.0), units="items")
def full_code_probing(c: LabelledCodes, *, pooling: Pooling = "mean") -> Sums:
    """Accuracy of probes on all latents at once: what the codes still hold, however spread out.

    Logistic regression (L2) on all codes, treated as `residual_probing` treats all channels. To be read beside
    its slice `full`: the difference is what the SAE loses.
    """
    from saebench.probes import on_all_codes

    return _sums(on_all_codes(c, pooling), "accuracy")


@metric(version=1, unit="area under ROC", better="higher", best=1.0, bounds=(0.0, 1.0), units="items")
def full_code_probing_auroc(c: LabelledCodes, *, pooling: Pooling = "mean") -> Sums:
    """Chance that a probe on all latents ranks a text of the class above one of the rest.

    Area under the ROC curve of the probes of `full_code_probing`, ties counting half.
    """
    from saebench.probes import on_all_codes

    return _sums(on_all_codes(c, pooling), "auroc")


def _sums(probed: Probed, score: str) -> Sums:
    import torch

    from saebench.probes import accuracy, auroc

    of = probed.sums({"accuracy": accuracy, "auroc": auroc}[score])
    return Sums(psi=torch.from_numpy(of.psi), n=torch.from_numpy(of.n), slices=of.names)


@residual_probing.value
@residual_probing_auroc.value
@full_code_probing.value
@full_code_probing_auroc.value
def _(s: Totals) -> Array:
    return s.psi / s.n
