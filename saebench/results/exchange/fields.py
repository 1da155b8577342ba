"""The result files of the reference suite (SAEBench 0.6.0): which number of ours each of their fields is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

LEGACY = "saebench-legacy"
"""Version mark of rows whose numbers the reference suite computed by definitions of its own."""
ABLATED = (2, 5, 10, 20, 50, 100, 500)
PROBED = (1, 2, 5, 10, 20, 50, 100)
LETTERS, STD = "first_letter", "std"
"""Slices over first letters, and of a standard deviation over letters or latents."""


@dataclass(frozen=True)
class Field:
    """One number of a result file, and the row that holds it.

    Attributes:
        name: Its name in the file.
        metric: Name of our metric, without a version mark.
        slice: Slice of that metric.
        same: Whether both sides define it alike, so that the row needs no mark.
        optional: Whether the file may hold null.
        ours: Rows of ours, as (metric, slice), that may be written there; the first that exists is.
        complement: Whether ours is one minus theirs.
    """

    name: str
    metric: str
    slice: str = ""
    unit: str = ""
    better: str = "none"
    same: bool = False
    integer: bool = False
    optional: bool = False
    ours: tuple[tuple[str, str], ...] = ()
    complement: bool = False

    @property
    def row_metric(self) -> str:
        """The name that an imported row takes."""
        return self.metric if self.same else f"{self.metric}@{LEGACY}"

    def in_part(self, part: str) -> str:
        """The slice of a dataset or letter."""
        return f"{self.slice}/{part}" if self.slice else part


@dataclass(frozen=True)
class Eval:
    """One eval of the reference suite.

    Attributes:
        id: Its `eval_type_id`.
        folder: Its folder in the published collection of results.
        categories: The fields by category.
        needs: Fields of which one must be there for a file of ours to say anything.
        config: Keys of its `eval_config` that a row answers, with the row's attribute.
        details: What `eval_result_details` lists: "latents", "letters", "datasets" or nothing.
        suffix: What follows a dataset's name in the details.
        negative: Whether -1 may be a value; elsewhere it stands for a value that is missing.
        corpus: Key of `eval_config` that names the text, or the name that the rows take.
    """

    id: str
    folder: str
    categories: Mapping[str, tuple[Field, ...]]
    needs: tuple[str, ...]
    config: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    details: str = ""
    suffix: str = ""
    negative: bool = False
    corpus: str = ""

    def fields(self) -> list[tuple[str, Field]]:
        """Category and field, in the order of the file."""
        return [(category, one) for category, fields in self.categories.items() for one in fields]


MODEL = {"model_name": "model", "llm_dtype": "dtype"}
SEEDED = {**MODEL, "random_seed": "seed"}


def _plain(name: str, metric: str, unit: str, better: str = "none", *, same: bool = False, slice: str = "") -> Field:
    """A field that our metric of that name and slice fills."""
    return Field(name, metric, slice, unit, better, same=same, ours=((metric, slice),))


def _core() -> Eval:
    share, nats = "share of latents", "nats a token"
    return Eval(
        "core", "core",
        {
            "model_behavior_preservation": (
                _plain("kl_div_score", "kl_score", "share of divergence", "higher"),
                Field("kl_div_with_ablation", "kl_zero", unit=nats),
                _plain("kl_div_with_sae", "kl", nats, "lower"),
            ),
            "model_performance_preservation": (
                _plain("ce_loss_score", "loss_recovered", "share of loss", "higher"),
                _plain("ce_loss_with_ablation", "ce_zero", nats),
                _plain("ce_loss_with_sae", "ce_sae", nats, "lower"),
                _plain("ce_loss_without_sae", "ce_clean", nats),
            ),
            "reconstruction_quality": (
                _plain("explained_variance", "explained_variance", "share of variance", "higher"),
                Field("explained_variance_legacy", "explained_variance_by_token", "", "share of variance", "higher"),
                _plain("mse", "mse", "squared activation", "lower"),
                _plain("cossim", "cosine_similarity", "cosine", "higher", same=True),
            ),
            "shrinkage": (
                Field("l2_norm_in", "l2_norm_in", unit="norm"),
                Field("l2_norm_out", "l2_norm_out", unit="norm"),
                _plain("l2_ratio", "l2_ratio", "ratio of norms", "one"),
                _plain("relative_reconstruction_bias", "relative_reconstruction_bias", "ratio", "one"),
            ),
            "sparsity": (
                _plain("l0", "l0", "latents a token", "lower", same=True),
                _plain("l1", "l1", "code a token"),
            ),
            "token_stats": (
                Field("total_tokens_eval_reconstruction", "tokens_reconstruction", unit="tokens", integer=True),
                Field("total_tokens_eval_sparsity_variance", "tokens_sparsity", unit="tokens", integer=True),
            ),
            "misc_metrics": (
                _plain("freq_over_1_percent", "dense_fraction", share, "lower", slice="above=0.01"),
                _plain("freq_over_10_percent", "dense_fraction", share, "lower", slice="above=0.1"),
                _plain("normalized_freq_over_1_percent", "dense_activity", "share of firings", "lower",
                       slice="above=0.01"),
                _plain("normalized_freq_over_10_percent", "dense_activity", "share of firings", "lower",
                       slice="above=0.1"),
                _plain("average_max_encoder_cosine_sim", "encoder_neighbour_cosine", "cosine", "lower", same=True),
                _plain("average_max_decoder_cosine_sim", "decoder_neighbour_cosine", "cosine", "lower", same=True),
                Field("frac_alive", "alive_fraction", "", share, "higher", ours=(("dead_fraction", ""),),
                      complement=True),
            ),
        },
        needs=("l0", "ce_loss_score", "explained_variance", "kl_div_score", "cossim"),
        config={**MODEL, "context_size": "context"}, details="latents", corpus="dataset",
    )  # fmt: skip


def _absorption() -> Eval:
    unit = {"mean_absorption_fraction": "share of the direction", "full_absorption_rate": "share of prompts",
            "num_split_features": "latents"}  # fmt: skip
    names = {
        "mean_absorption_fraction": "absorption_fraction_score",
        "full_absorption_rate": "full_absorption_score",
        "num_split_features": "num_split_features",
    }
    fields = [
        Field(f"mean_{name}", metric, LETTERS, unit[metric], "lower", ours=_absorbed(metric, LETTERS))
        for metric, name in names.items()
    ]
    fields += [Field(f"std_dev_{name}", metric, STD, unit[metric]) for metric, name in names.items()]
    return Eval(
        "absorption_first_letter", "absorption", {"mean": tuple(fields)}, needs=("mean_absorption_fraction_score",),
        config=SEEDED, details="letters", corpus="words",
    )  # fmt: skip


def _absorbed(metric: str, slice: str) -> tuple[tuple[str, str], ...]:
    return ((f"{metric}@saebench", slice), (metric, slice))


def _probe(
    name: str, metric: str, slice: str, better: str = "none", unit: str = "share of texts", **more: bool
) -> Field:
    marked = ((f"{metric}@saebench", slice),) if metric == "sparse_probing" else ()
    return Field(name, metric, slice, unit, better, ours=(*marked, (metric, slice)), **more)


def _sparse_probing() -> Eval:
    llm = [_probe("llm_test_accuracy", "residual_probing", "full")]
    llm += [_probe(f"llm_top_{k}_test_accuracy", "residual_probing", f"k={k}", optional=True) for k in PROBED]
    sae = [_probe("sae_test_accuracy", "full_code_probing", "", "higher", optional=True)]
    sae += [_probe(f"sae_top_{k}_test_accuracy", "sparse_probing", f"k={k}", "higher", optional=True) for k in PROBED]
    return Eval(
        "sparse_probing", "sparse_probing", {"llm": tuple(llm), "sae": tuple(sae)},
        needs=tuple(one.name for one in sae), config={**SEEDED, "context_length": "context"},
        details="datasets", suffix="_results", corpus="probing",
    )  # fmt: skip


SCORES = {"accuracy": ("", "share of texts"), "auc": ("_auroc", "area under ROC"), "f1": ("_f1", "F1")}
"""Scores of last-token probes: what our metric's name ends in, and the unit."""


def _sae_probes() -> Eval:
    base, residual = "sparse_probing_last_token", "residual_probing_last_token"
    llm = [
        _probe(f"llm_test_{score}", residual + end, "full", unit=unit, optional=True)
        for score, (end, unit) in SCORES.items()
    ]
    sae = [_probe("sae_test_accuracy", "full_code_probing_last_token", "", "higher", optional=True)]
    sae += [probed(k, score) for k in PROBED for score in SCORES]
    return Eval(
        "sparse_probing_sae_probes", "sparse_probing_sae_probes", {"llm": tuple(llm), "sae": tuple(sae)},
        needs=tuple(one.name for one in sae if one.metric.startswith(base)),
        config={"model_name": "model", "random_seed": "seed"}, details="datasets", corpus="last_token",
    )  # fmt: skip


def probed(k: int, score: str) -> Field:
    """A last-token probe's score on k latents."""
    end, unit = SCORES[score]
    metric = f"sparse_probing_last_token{end}"
    return _probe(f"sae_top_{k}_test_{score}", metric, f"k={k}", "higher", unit, optional=True)


def _scr() -> Eval:
    fields = []
    for n in ABLATED:
        for part, end in (("dir1", "/dir1"), ("metric", ""), ("dir2", "/dir2")):
            slice = f"n={n}{end}"
            fields.append(Field(f"scr_{part}_threshold_{n}", "scr", slice, "share of the gap", "higher", optional=True,
                                ours=(("scr@saebench", slice), ("scr", slice))))  # fmt: skip
    return Eval(
        "scr", "scr", {"scr_metrics": tuple(fields)}, needs=tuple(one.name for one in fields),
        config={**SEEDED, "context_length": "context"}, details="datasets", suffix="_results", negative=True,
        corpus="probing",
    )  # fmt: skip


def _tpp() -> Eval:
    parts = {"total_metric": ("tpp", "higher"), "intended_diff_only": ("tpp_intended", "higher"),
             "unintended_diff_only": ("tpp_unintended", "lower")}  # fmt: skip
    fields = []
    for n in ABLATED:
        for end, (metric, better) in parts.items():
            marked = (("tpp@saebench", f"n={n}"),) if metric == "tpp" else ()
            fields.append(Field(f"tpp_threshold_{n}_{end}", metric, f"n={n}", "accuracy", better, optional=True,
                                ours=(*marked, (metric, f"n={n}"))))  # fmt: skip
    return Eval(
        "tpp", "tpp", {"tpp_metrics": tuple(fields)},
        needs=tuple(one.name for one in fields if one.metric == "tpp"),
        config={**SEEDED, "context_length": "context"}, details="datasets", suffix="_results", negative=True,
        corpus="probing",
    )  # fmt: skip


def _ravel() -> Eval:
    units = {
        "disentanglement": "share of pairs",
        "cause": "share of cause pairs",
        "isolation": "share of isolation pairs",
    }
    fields = tuple(
        Field(f"{part}_score", f"ravel_{part}", "", unit, "higher",
              ours=((f"ravel_{part}", "dropped"), (f"ravel_{part}", "all"), (f"ravel_{part}", "")))
        for part, unit in units.items()
    )  # fmt: skip
    return Eval("ravel", "ravel", {"ravel": fields}, needs=("disentanglement_score",), config=SEEDED, corpus="entities")


def _small() -> list[Eval]:
    unlearning = Field("unlearning_score", "unlearning", "", "share of questions", "higher",
                       ours=(("unlearning", "m=codes"), ("unlearning", "")))  # fmt: skip
    interp = (
        Field("autointerp_score", "detection", "", "accuracy", "higher", ours=(("detection@saebench", ""),)),
        Field("autointerp_std_dev", "detection", STD, "accuracy"),
    )
    structure = (
        Field("decoder_fraction_variance_explained", "meta_sae_explained", "", "share of variance"),
        Field("train_time_seconds", "meta_sae_seconds", "", "seconds"),
        Field("final_reconstruction_mse", "meta_sae_mse", "", "squared weight"),
    )
    return [
        Eval("unlearning", "unlearning", {"unlearning": (unlearning,)}, ("unlearning_score",), SEEDED,
             corpus="questions"),
        Eval("autointerp", "autointerp", {"autointerp": interp}, ("autointerp_score",),
             {**SEEDED, "llm_context_size": "context"}, corpus="dataset_name"),
        Eval("meta_structure_decoder_variance", "meta_structure", {"meta_structure": structure}, (), corpus="weights"),
    ]  # fmt: skip


def _all() -> Sequence[Eval]:
    return [_core(), _absorption(), _sparse_probing(), _sae_probes(), _scr(), _tpp(), _ravel(), *_small()]


EVALS: Mapping[str, Eval] = MappingProxyType({one.id: one for one in _all()})
"""The evals by their id."""

LATENT_FIELDS = (
    "feature_density", "consistent_activation_heuristic", "encoder_bias", "encoder_norm",
    "encoder_decoder_cosine_sim", "max_decoder_cosine_sim", "max_encoder_cosine_sim",
)  # fmt: skip
"""What `core` says of each latent; kept as sums of the row of living latents."""
