"""Sparse probing at the last token, by the protocol of the sae-probes package."""

from __future__ import annotations

from typing import TYPE_CHECKING

from saebench.inputs import LastTokenCodes
from saebench.metric import Array, Sums, Totals, metric

from ._probing import LAST_TOKEN, Probing

if TYPE_CHECKING:
    from saebench.probes import Sliced


@metric(version=1, unit="share of texts", better="higher", best=1.0, bounds=(0.0, 1.0), units="items")
def sparse_probing_last_token(c: LastTokenCodes, *, probe: Probing = LAST_TOKEN) -> Sums:
    """Accuracy of L1 probes on the k latents that best tell two classes apart at a text's last token.

    Latents are ranked on train by |mean_pos - mean_neg| after division by their mean non-zero |code|. Logistic
    regression with an L1 penalty on raw codes; C from ten values between 1e5 and 1e-5 by AUROC on the last fifth
    of each class of train (at most 100 texts), then fitted on all of train. Mean over tasks.
    After Kantamneni et al. 2025, Are Sparse Autoencoders Useful?, where small sets are cross-validated instead.
    """
    from saebench.probes import accuracy, last_token

    return _sums(last_token(c, probe.k, probe.pooling).sums(accuracy))


@metric(version=1, unit="area under ROC", better="higher", best=1.0, bounds=(0.0, 1.0), units="items")
def sparse_probing_last_token_auroc(c: LastTokenCodes, *, probe: Probing = LAST_TOKEN) -> Sums:
    """Chance that a last-token probe on k latents ranks a text of the class above one of the rest.

    Area under the ROC curve of the probes of `sparse_probing_last_token`, ties counting half.
    """
    from saebench.probes import auroc, last_token

    return _sums(last_token(c, probe.k, probe.pooling).sums(auroc))


@metric(version=1, unit="F1", better="higher", best=1.0, bounds=(0.0, 1.0), units="items")
def sparse_probing_last_token_f1(c: LastTokenCodes, *, probe: Probing = LAST_TOKEN) -> Sums:
    """F1 of last-token probes on k latents, both classes weighted by their share of the texts.

    Of the probes of `sparse_probing_last_token`.
    """
    from saebench.probes import last_token, weighted_f1

    return _sums(last_token(c, probe.k, probe.pooling).sums(weighted_f1))


@metric(version=1, unit="share of texts", better="none", bounds=(0.0, 1.0), units="items")
def residual_probing_last_token(c: LastTokenCodes, *, probe: Probing = LAST_TOKEN) -> Sums:
    """Accuracy of probes on the last token's activation itself: its k best channels, all of them, and chance.

    As `residual_probing`, on the texts of the last-token protocol. It does not depend on the SAE.
    """
    from saebench.probes import accuracy, on_residual

    return _sums(on_residual(c, probe.k, probe.pooling).sums(accuracy))


def _sums(of: Sliced) -> Sums:
    import torch

    return Sums(psi=torch.from_numpy(of.psi), n=torch.from_numpy(of.n), slices=of.names)


@sparse_probing_last_token.value
@sparse_probing_last_token_auroc.value
@sparse_probing_last_token_f1.value
@residual_probing_last_token.value
def _(s: Totals) -> Array:
    return s.psi / s.n
