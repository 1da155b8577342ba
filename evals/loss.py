"""What the reconstruction costs the language model, with the SAE spliced in at its output hook.

The SAE replaces the activation at valid tokens only; BOS, EOS and PAD keep theirs. The zero and mean
ablations replace the very same tokens. A prediction counts when both the predicting and the predicted
token are valid. Losses are in nats a token, log-probabilities in float32 or better.
"""

from __future__ import annotations

from saebench.inputs import Losses
from saebench.metric import Array, Sums, Totals, metric


@metric(version=1, unit="nats a token", better="lower", bounds=(0.0, None))
def ce_sae(loss: Losses) -> Sums:
    """Cross-entropy of the next token with the SAE spliced in.

    mean over predictions of -log p_sae(next token).
    """
    return Sums(ce=loss.ce, shared=("predictions",))


@ce_sae.value
def _(s: Totals) -> Array:
    return s.ce / s.predictions


@metric(version=1, unit="nats a token", better="none", bounds=(0.0, None))
def ce_clean(loss: Losses) -> Sums:
    """Cross-entropy of the model itself, on the same predictions.

    mean over predictions of -log p_clean(next token); the same for every SAE.
    """
    return Sums(shared=("ce_clean", "predictions"))


@ce_clean.value
def _(s: Totals) -> Array:
    return s.ce_clean / s.predictions


@metric(version=1, unit="nats a token", better="none", bounds=(0.0, None))
def ce_zero(loss: Losses) -> Sums:
    """Cross-entropy with the output hook set to zero at valid tokens, on the same predictions.

    mean over predictions of -log p_zero(next token); the same for every SAE of a hook.
    """
    return Sums(shared=("ce_zero", "predictions"))


@ce_zero.value
def _(s: Totals) -> Array:
    return s.ce_zero / s.predictions


@metric(version=1, unit="nats a token", better="none", bounds=(0.0, None))
def ce_mean(loss: Losses) -> Sums:
    """Cross-entropy with the output hook set to its mean over valid tokens, on the same predictions.

    mean over predictions of -log p_mean(next token); the same for every SAE of a hook.
    """
    return Sums(shared=("ce_mean", "predictions"))


@ce_mean.value
def _(s: Totals) -> Array:
    return s.ce_mean / s.predictions


@metric(version=1, unit="nats a token", better="lower", best=0.0)
def ce_delta(loss: Losses) -> Sums:
    """Cross-entropy that the SAE adds to the model's own.

    ce_sae - ce_clean, on the same predictions.
    """
    return Sums(ce=loss.ce, shared=("ce_clean", "predictions"))


@ce_delta.value
def _(s: Totals) -> Array:
    return (s.ce - s.ce_clean) / s.predictions


@metric(version=1, unit="share of loss", better="higher", best=1.0, bounds=(None, None))
def loss_recovered(loss: Losses) -> Sums:
    """Share of the loss that zero ablation destroys and the SAE keeps.

    (ce_zero - ce_sae) / (ce_zero - ce_clean). Undefined where zero ablation costs nothing.
    """
    return Sums(ce=loss.ce, shared=("ce_clean", "ce_zero"))


@loss_recovered.value
def _(s: Totals) -> Array:
    return (s.ce_zero - s.ce) / (s.ce_zero - s.ce_clean)


@metric(version=1, unit="share of loss", better="higher", best=1.0, bounds=(None, None))
def loss_recovered_mean(loss: Losses) -> Sums:
    """Share of the loss that mean ablation destroys and the SAE keeps: the stricter yardstick.

    (ce_mean - ce_sae) / (ce_mean - ce_clean).
    """
    return Sums(ce=loss.ce, shared=("ce_clean", "ce_mean"))


@loss_recovered_mean.value
def _(s: Totals) -> Array:
    return (s.ce_mean - s.ce) / (s.ce_mean - s.ce_clean)


@metric(version=1, unit="nats a token", better="lower", best=0.0, bounds=(0.0, None))
def kl(loss: Losses) -> Sums:
    """Divergence of the next-token distribution with the SAE from the clean one.

    mean over predictions of KL(clean || SAE) = sum_v p_v (log p_v - log q_v), p clean, q with the SAE.
    """
    return Sums(kl=loss.kl, shared=("predictions",))


@kl.value
def _(s: Totals) -> Array:
    return s.kl / s.predictions


@metric(version=1, unit="share of divergence", better="higher", best=1.0, bounds=(None, 1.0))
def kl_score(loss: Losses) -> Sums:
    """Share of the divergence that zero ablation causes and the SAE avoids.

    (kl_zero - kl) / kl_zero, both as KL(clean || other).
    """
    return Sums(kl=loss.kl, shared=("kl_zero",))


@kl_score.value
def _(s: Totals) -> Array:
    return (s.kl_zero - s.kl) / s.kl_zero


@metric(version=1, unit="share of predictions", better="higher", best=1.0, bounds=(0.0, 1.0))
def top1_agreement(loss: Losses) -> Sums:
    """Share of predictions whose likeliest token is the clean model's.

    mean over predictions of 1[argmax p_sae = argmax p_clean].
    """
    return Sums(agrees=loss.agrees, shared=("predictions",))


@top1_agreement.value
def _(s: Totals) -> Array:
    return s.agrees / s.predictions
