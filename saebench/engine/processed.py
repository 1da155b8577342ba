"""Whether a SAE's activations are a model's, where TransformerLens processed the weights of one of the two."""

from __future__ import annotations

from saebench.models.sites import kind_of
from saebench.models.subject import Subject
from saebench.saes.coder import Coder
from saebench.saes.processing import NOTE, WRITTEN
from saebench.saes.protocol import SparseCoder

_PLAIN = "load it with HookedTransformer.from_pretrained_no_processing, or give the model's directory or hub id"


def suited(sae: SparseCoder, model: Subject) -> SparseCoder:
    """The SAE as it is scored on a model.

    Its tokens' means stay where TransformerLens' centring does nothing, which is in a model that reads them (RMSNorm).
    A SAE that saw unprocessed activations is scored on processed ones with a warning.
    """
    options = sae.metadata.get("model_from_pretrained_kwargs") or {}
    centred = bool(options.get("center_writing_weights"))
    if centred and isinstance(sae, Coder) and sae.normalise == "zero_mean" and not model.ignores_mean(sae.hook_in):
        return sae.replace(normalise="none", warnings=[said for said in sae.warnings if said != NOTE])
    kinds = {kind_of(sae.hook_in), kind_of(sae.hook_out)}
    doubts = []
    if "center_writing_weights" in model.processing and not centred and kinds & set(WRITTEN):
        doubts.append("activations without their mean (center_writing_weights)")
    if "fold_ln" in model.processing and "mlp.hook_in" in kinds:
        doubts.append("norms without their weights (fold_ln)")
    if doubts and sae.metadata.get("model_name") and isinstance(sae, Coder):
        found = f"the model has {' and '.join(doubts)}, and nothing says that the SAE was trained on such: {_PLAIN}"
        return sae.replace(identity=sae.fingerprint, warnings=[*sae.warnings, found])
    return sae
