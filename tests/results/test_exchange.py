"""Files of the reference suite in and out, held against the fields that its own schemas list."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jsonschema import Draft202012Validator

from saebench.cli import main
from saebench.errors import UserError
from saebench.results import Results, Row
from saebench.results.exchange import export_saebench, import_saebench

FIELDS: dict[str, dict[str, Any]] = json.loads((Path(__file__).parent / "saebench_fields.json").read_text())
"""SAEBench 0.6.0's schemas: the type of each field, `!` where it is required, `?` where anything goes."""
DATASETS = ("LabHC/bias_in_bios_class_set1_results", "fancyzhx/ag_news_results")


def schema(kind: str) -> dict[str, Any]:
    """A JSON schema of one eval that allows no field the reference suite does not have."""
    facts = FIELDS[kind]
    metrics = {name: _object(fields) for name, fields in facts["metrics"].items()}
    whole = _object(facts["envelope"])
    whole["properties"] |= {
        "eval_config": {**_object(facts["config"]), "required": []},
        "eval_result_metrics": {"type": "object", "properties": metrics, "required": list(metrics),
                                "additionalProperties": False},
        "eval_result_details": {"type": "array", "items": _object(facts["details"])},
    }  # fmt: skip
    whole["required"] += ["eval_config", "eval_result_metrics", "eval_type_id"]
    return whole


def _object(fields: dict[str, str]) -> dict[str, Any]:
    types = {name: {} if "?" in kind else {"type": kind.rstrip("!").split("|")} for name, kind in fields.items()}
    required = [name for name, kind in fields.items() if kind.endswith("!")]
    return {"type": "object", "properties": types, "required": required, "additionalProperties": False}


def _values(fields: dict[str, str], rng: np.random.Generator) -> dict[str, Any]:
    made: dict[str, Callable[[], Any]] = {
        "number": lambda: float(rng.random()), "integer": lambda: int(rng.integers(1, 99)), "string": lambda: "x",
        "boolean": lambda: True, "array": lambda: [1, 2], "object": lambda: {"2": {"test_auc": 0.5}}, "?": lambda: None,
    }  # fmt: skip
    return {name: made[kind.rstrip("!").split("|")[0]]() for name, kind in fields.items()}


def document(kind: str, *, sae: str = "blocks.5.hook_resid_post__trainer_2", seed: int = 0) -> dict[str, Any]:
    """A whole result file of one eval, every field of it filled."""
    rng, facts = np.random.default_rng(seed), FIELDS[kind]
    details = [_values(facts["details"], rng) for _ in range(2)] if facts["details"] else []
    for place, one in enumerate(details):
        names = {"dataset_name": DATASETS[place], "first_letter": "ax"[place], "index": place}
        one |= {name: value for name, value in names.items() if name in one}
    return {
        **_values(facts["envelope"], rng), "eval_type_id": kind, "eval_id": "f3b0", "sae_lens_id": sae,
        "datetime_epoch_millis": 1_745_000_123_456, "sae_lens_release_id": "some-release", "sae_lens_version": "6.1.0",
        "sae_cfg_dict": {"architecture": "topk", "d_sae": 64, "metadata": {"hook_name": "blocks.5.hook_resid_post"}},
        "eval_config": {k: "tiny" if k == "model_name" else v for k, v in _values(facts["config"], rng).items()},
        "eval_result_metrics": {name: _values(fields, rng) for name, fields in facts["metrics"].items()},
        "eval_result_details": details,
    }  # fmt: skip


def place(folder: Path, raw: dict[str, Any], name: str = "") -> Path:
    """Write a file where the published collection has it."""
    file = folder / raw["eval_type_id"] / "some-release" / (name or f"{raw['sae_lens_id']}_eval_results.json")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(raw))
    return file


def numbers(value: Any, where: str = "") -> Iterator[tuple[str, float]]:
    """Every number of a document, by where it stands."""
    if isinstance(value, dict):
        for key, one in value.items():
            yield from numbers(one, f"{where}.{key}")
    elif isinstance(value, list):
        for number, one in enumerate(value):
            yield from numbers(one, f"{where}[{number}]")
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield where, value


@pytest.mark.parametrize("kind", sorted(FIELDS))
def test_an_import_followed_by_an_export_gives_the_same_file(kind: str, tmp_path: Path) -> None:
    raw = document(kind)
    place(tmp_path / "in", raw)
    rows = import_saebench(tmp_path / "in").results
    rows.save(tmp_path / "rows")
    exported = export_saebench(Results.load(tmp_path / "rows"), tmp_path / "out")
    again = json.loads(exported.files[0].read_text())
    assert len(exported.files) == 1
    assert again == raw
    Draft202012Validator(schema(kind)).validate(again)


@pytest.mark.parametrize("kind", sorted(FIELDS))
def test_every_number_of_a_file_is_in_a_row(kind: str, tmp_path: Path) -> None:
    raw = document(kind)
    place(tmp_path, raw)
    rows = import_saebench(tmp_path).results.rows
    held = {row.value for row in rows} | {float(row.n or 0) for row in rows}
    held |= {float(x) for row in rows for array in (row.sums or {}).values() for x in array}
    for part in ("eval_result_metrics", "eval_result_details"):
        for where, number in numbers(raw[part]):
            known = number in held or "num_full_absorption" in where or "sae_metrics_by_k" in where
            assert known, where
    assert len({row.key for row in rows}) == len(rows)


def test_rows_say_where_they_come_from(tmp_path: Path) -> None:
    place(tmp_path, document("core"))
    place(tmp_path, document("sparse_probing"))
    rows = {(row.metric, row.slice): row for row in import_saebench(tmp_path).results}
    kl = rows["kl@saebench-legacy", ""]
    assert (kl.sae, kl.sae_ref) == ("some-release/blocks.5.hook_resid_post__trainer_2",
                                    "saelens:some-release/blocks.5.hook_resid_post__trainer_2")  # fmt: skip
    assert (kl.architecture, kl.d_sae, kl.model, kl.hook_out) == ("topk", 64, "tiny", "blocks.5.hook_resid_post")
    assert kl.created == "2025-04-18T18:15:23.456+00:00"
    assert kl.versions == {"sae-bench commit": "x", "sae-lens": "6.1.0"}
    assert kl.source["file"] == "core/some-release/blocks.5.hook_resid_post__trainer_2_eval_results.json"
    assert ("l0", "") in rows, "alike on both sides"
    assert set(kl.settings) == {
        "batch_size_prompts", "n_eval_reconstruction_batches", "n_eval_sparsity_variance_batches",
        "exclude_special_tokens_from_reconstruction",
    }  # fmt: skip
    assert ("sparse_probing@saebench-legacy", "k=5/fancyzhx/ag_news") in rows


def test_what_is_missing_stays_missing(tmp_path: Path) -> None:
    raw = document("core")
    raw["eval_result_metrics"]["model_behavior_preservation"] |= {"kl_div_score": -1, "kl_div_with_sae": math.nan}
    raw["eval_result_details"][0]["consistent_activation_heuristic"] = -1
    place(tmp_path / "in", raw)
    probing = document("sparse_probing")
    probing["eval_result_metrics"]["sae"]["sae_top_50_test_accuracy"] = None
    place(tmp_path / "in", probing)
    rows = {(row.metric, row.slice): row for row in import_saebench(tmp_path / "in").results}
    for metric, mark in (("kl_score", "-1"), ("kl", "nan")):
        row = rows[f"{metric}@saebench-legacy", ""]
        assert row.value is None and mark in row.reason
    assert ("sparse_probing@saebench-legacy", "k=50") not in rows
    living = rows["alive_fraction@saebench-legacy", ""].sums
    assert living is not None and math.isnan(living["consistent_activation_heuristic"][0])
    export_saebench(Results(rows.values()), tmp_path / "out")
    written = {file.parts[-3]: json.loads(file.read_text()) for file in (tmp_path / "out").rglob("*.json")}
    behaviour = written["core"]["eval_result_metrics"]["model_behavior_preservation"]
    assert (behaviour["kl_div_score"], behaviour["kl_div_with_sae"]) == (-1, -1)
    assert written["sparse_probing"]["eval_result_metrics"]["sae"]["sae_top_50_test_accuracy"] is None


def test_minus_one_is_a_score_where_scores_may_be_negative(tmp_path: Path) -> None:
    raw = document("scr")
    raw["eval_result_metrics"]["scr_metrics"]["scr_metric_threshold_10"] = -1.0
    place(tmp_path, raw)
    rows = {row.slice: row for row in import_saebench(tmp_path).results}
    assert rows["n=10"].value == -1.0


def test_a_judges_spread_over_latents_gives_the_standard_error(tmp_path: Path) -> None:
    raw = document("autointerp")
    scores = [0.7, 0.8, 0.9, 1.0]
    raw["eval_result_metrics"]["autointerp"] = {
        "autointerp_score": 0.85,
        "autointerp_std_dev": float(np.std(scores, ddof=1)),
    }
    raw["eval_result_unstructured"] = {str(i): {"latent": i, "score": s} for i, s in enumerate(scores)}
    place(tmp_path, raw)
    row = import_saebench(tmp_path).results.rows[0]
    assert row.n == 4
    assert row.stderr == pytest.approx(np.std(scores, ddof=1) / 2)


BROKEN = {
    "cut.json": ('{"eval_type_id": "core", "eval_', "is not whole JSON"),
    "list.json": ("[1, 2]", "it holds a list"),
    "foreign.json": ('{"model": "x"}', "it has no 'eval_type_id'"),
    "other.json": ('{"eval_type_id": "cores"}', "Did you mean 'core'?"),
    "text.json": (json.dumps(document("tpp") | {"eval_result_metrics": {
        "tpp_metrics": {"tpp_threshold_2_total_metric": "hi"}}}), "tpp_threshold_2_total_metric is 'hi'"),
    "empty.json": (json.dumps(document("scr") | {"eval_result_metrics": {}}), "holds no number of eval 'scr'"),
    "shape.json": (json.dumps(document("scr") | {"eval_result_metrics": {"scr_metrics": []}}), "is not an object"),
    "details.json": (json.dumps(document("tpp") | {"eval_result_details": "none"}), "is not a list of objects"),
    "unnamed.json": (json.dumps(document("tpp") | {"eval_result_details": [{}]}), "has no 'dataset_name'"),
    "time.json": (json.dumps(document("tpp") | {"datetime_epoch_millis": "now"}), "not a time"),
    "deep.json": ("[" * 100_000, "is not whole JSON"),
}  # fmt: skip


def test_broken_files_are_named_and_the_rest_is_imported(tmp_path: Path) -> None:
    for name, (text, _) in BROKEN.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe\x00")
    place(tmp_path, document("tpp"))
    found = import_saebench(tmp_path)
    assert found.files == 1 and found.results.saes
    assert len(found.problems) == len(BROKEN) + 1
    for name, (_, told) in BROKEN.items():
        problem = next(p for p in found.problems if p.startswith(name))
        assert told in problem and "\n" not in problem and len(problem) < 400


def test_nothing_to_read_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="There is nothing at"):
        import_saebench(tmp_path / "absent")
    with pytest.raises(UserError, match="holds no .json file"):
        import_saebench(tmp_path)


def _own(metric: str, slice: str = "", value: float | None = 0.5, **more: Any) -> Row:
    hook = "blocks.1.hook_resid_post"
    facts = {"sae": "mine", "model": "tiny", "hook_in": hook, "hook_out": hook, "dtype": "float32", "seed": 0,
             "context": 128, "stderr": 0.01, "architecture": "topk"}  # fmt: skip
    return Row(metric=metric, slice=slice, value=value, **{"signature": f"{metric}@1|mine", **facts, **more})


OURS = {
    "core": [_own("l0", value=32.0), _own("dead_fraction", value=0.25), _own("dense_fraction", "above=0.01")],
    "sparse_probing": [_own("sparse_probing", "k=1"), _own("sparse_probing", "k=1/topic", 0.625),
                       _own("sparse_probing", "k=1/topic=sport"), _own("residual_probing", "full/topic")],
    "sparse_probing_sae_probes": [_own("sparse_probing_last_token", "k=3", 0.75),
                                  _own("sparse_probing_last_token_auroc", "k=1")],
    "absorption_first_letter": [_own("mean_absorption_fraction", "first_letter"),
                                _own("mean_absorption_fraction", "first_letter/a", 0.25),
                                _own("mean_absorption_fraction", "first_letter/b", 0.75)],
    "scr": [_own("scr", "n=10"), _own("scr", "n=10/dir1"), _own("scr", "n=10/topic(a,b)")],
    "tpp": [_own("tpp", "n=10", 0.1), _own("tpp@saebench", "n=10", 0.2), _own("tpp", "n=10/topic")],
    "ravel": [_own("ravel_disentanglement", "dropped", 0.6), _own("ravel_cause", "all", 0.7)],
    "unlearning": [_own("unlearning", "m=codes", 0.1)],
    "autointerp": [_own("detection@saebench", value=0.8)],
}  # fmt: skip


@pytest.mark.parametrize("kind", sorted(OURS))
def test_rows_of_ours_are_written_by_the_schema_and_read_back_as_they_were(kind: str, tmp_path: Path) -> None:
    exported = export_saebench(Results(OURS[kind]), tmp_path)
    (file,) = exported.files
    raw = json.loads(file.read_text())
    Draft202012Validator(schema(kind)).validate(raw)
    again = import_saebench(tmp_path)
    assert not again.problems
    held = {row.key for row in again.results}
    assert held == {row.key for row in OURS[kind] if row.key in held} and held
    assert all(row in OURS[kind] for row in again.results)


def test_rows_of_ours_stand_in_the_fields_that_mean_the_same(tmp_path: Path) -> None:
    export_saebench(Results([row for rows in OURS.values() for row in rows]), tmp_path)
    found = {file.parts[-3]: json.loads(file.read_text()) for file in tmp_path.rglob("*.json")}
    core = found["core"]["eval_result_metrics"]
    assert core["sparsity"] == {"l0": 32.0, "l1": -1}
    assert core["misc_metrics"]["frac_alive"] == 0.75
    mean = found["absorption"]["eval_result_metrics"]["mean"]
    assert mean["std_dev_absorption_fraction_score"] == pytest.approx(np.std([0.25, 0.75], ddof=1))
    assert found["tpp"]["eval_result_metrics"]["tpp_metrics"]["tpp_threshold_10_total_metric"] == 0.2
    probing = found["sparse_probing"]["eval_result_details"]
    assert [(d["dataset_name"], d["sae_top_1_test_accuracy"]) for d in probing] == [("topic_results", 0.625)]
    assert found["sparse_probing_sae_probes"]["sae_metrics_by_k"]["3"] == {"test_accuracy": 0.75}
    assert found["core"]["sae_lens_release_id"] == "mine" and found["core"]["sae_lens_id"] == "custom_sae"
    assert {d["dataset_name"] for d in found["scr"]["eval_result_details"]} == {"topic(a,b)_results"}


def test_a_changed_file_of_ours_is_refused(tmp_path: Path) -> None:
    (file,) = export_saebench(Results(OURS["unlearning"]), tmp_path).files
    file.write_text(file.read_text().replace('"unlearning_score": 0.1', '"unlearning_score": 0.9'))
    (problem,) = import_saebench(tmp_path).problems
    assert "was changed after the file was written" in problem


def test_what_failed_is_said_and_not_written(tmp_path: Path) -> None:
    failed = _own("unlearning", "m=codes", None, status="error", reason="out of memory")
    exported = export_saebench(Results([failed, *OURS["core"]]), tmp_path)
    assert exported.left_out == ("mine: unlearning: out of memory",)
    with pytest.raises(UserError, match="Nothing can be written"):
        export_saebench(Results([_own("uniformity")]), tmp_path)


def test_names_never_become_paths(tmp_path: Path) -> None:
    rows = [_own("l0", sae=name, signature=f"l0|{name}") for name in ("../../up", "a/b", "a\\b", "x" * 300, "a/b ")]
    files = export_saebench(Results(rows), tmp_path / "out").files
    assert len(set(files)) == 5
    assert all((tmp_path / "out") in file.resolve().parents for file in files)
    assert {json.loads(file.read_text())["sae_lens_release_id"] for file in files} == {row.sae for row in rows}


def test_the_command_imports_exports_and_says_what_it_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place(tmp_path / "in", document("tpp"))
    (tmp_path / "in" / "cut.json").write_text("{")
    with pytest.raises(SystemExit) as left:
        main(["leaderboard", "import", str(tmp_path / "in"), "--out", str(tmp_path / "rows")])
    told = capsys.readouterr()
    assert left.value.code == 1
    assert "left out: cut.json is not whole JSON" in told.err and "1 SAEs, 1 files" in told.out
    with pytest.raises(SystemExit) as done:
        main(["leaderboard", "export", str(tmp_path / "rows"), "--format", "saebench", "--out", str(tmp_path / "out")])
    assert done.value.code == 0
    assert [json.loads(f.read_text()) for f in (tmp_path / "out").rglob("*.json")] == [document("tpp")]
