"""What the reconstruction error is made of: a part that is linear in the activation, and the dark rest.

e = y - y^. The linear predictions are least squares on text that is not scored, so that their R^2 is out of
sample. After Engels, Smith and Tegmark 2024, Decomposing the Dark Matter of Sparse Autoencoders.
"""

from __future__ import annotations

from saebench.inputs import ErrorModel, Reconstruction
from saebench.metric import Array, Sums, Totals, metric


@metric(version=1, unit="share of variance", better="none", bounds=(None, 1.0))
def error_linear_r2(r: Reconstruction, m: ErrorModel) -> Sums:
    """Share of the error that is a linear function of the activation, such as shrinkage.

    1 - sum |e - (A x + b)|^2 / sum |e - mean e|^2, with A, b and the mean from other text. What is linear could be
    mended by a linear map; the rest cannot.
    """
    return Sums(rest=(r.error - m.linear).square().sum(-1), spread=(r.error - m.constant).square().sum(-1))


@metric(version=1, unit="share of variance", better="lower", best=0.0, bounds=(0.0, None))
def error_nonlinear_fvu(r: Reconstruction, m: ErrorModel) -> Sums:
    """Share of the target's variance that stays unexplained when the linear part of the error is mended.

    sum |e - (A x + b)|^2 / sum |y - mean y|^2: the error's non-linear part, its dark matter.
    """
    return Sums(rest=(r.error - m.linear).square().sum(-1), shared=("variance",))


@metric(version=1, unit="share of variance", better="none", bounds=(None, 1.0))
def error_norm_r2(r: Reconstruction, m: ErrorModel) -> Sums:
    """How well the activation predicts, linearly, how large a token's error will be.

    1 - sum (|e| - (a . x + c))^2 / sum (|e| - mean |e|)^2, with a, c and the mean from other text.
    """
    norm = r.squared_error.sqrt()
    return Sums(rest=(norm - m.norm).square(), spread=(norm - m.norm_constant).square())


@metric(version=1, unit="share of power", better="lower", best=0.0, bounds=(0.0, None))
def nmse_by_error_decile(r: Reconstruction, m: ErrorModel) -> Sums:
    """Squared error as a share of the target's power, from the tenth of tokens with the smallest errors to the largest.

    sum |y - y^|^2 / sum |y|^2 over the tokens whose squared error lies in a tenth of those of other text.
    """
    import torch

    inside = torch.nn.functional.one_hot(m.decile, 10).to(r.power.dtype)
    names = [f"decile={i}" for i in range(1, 11)]
    return Sums(error=inside * r.squared_error[:, None], power=inside * r.power[:, None], slices=names)


@error_linear_r2.value
@error_norm_r2.value
def _(s: Totals) -> Array:
    return 1 - s.rest / s.spread


@error_nonlinear_fvu.value
def _(s: Totals) -> Array:
    return s.rest / s.variance


@nmse_by_error_decile.value
def _(s: Totals) -> Array:
    return s.error / s.power
