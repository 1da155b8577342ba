"""Consistency across seeds: known answers, groups as declared and as found, intervals, and bad input."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from saebench.evals._consistency_pairs import sums
from scipy.stats import t as student
from torch import nn

import saebench as sb
from saebench.engine import execute
from saebench.engine.prepare import prepare
from saebench.metric import Metric
from saebench.progress import Progress
from saebench.registry import get
from saebench.results import Row, bootstrap
from tests.helpers.toys import HOOK, ToySAE, token_rows

WEIGHTS = [
    "pw_mcc", "pw_mcc_signed", "pw_mcc_encoder", "pw_mcc_null", "pw_mcc_adjusted", "pw_mcc_gap", "shared_fraction",
    "shared_fraction_both", "same_partner_fraction", "mean_max_cosine",
]  # fmt: skip
CODES = ["matched_correlation", "matched_correlation_null", "wmppc", "wmppc_null"]
SUITE = {"name": "seeds", "metric": [*WEIGHTS, *CODES], "references": {"null": None, "baseline": None}}


@pytest.fixture(scope="module", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SAEBENCH_CACHE", str(tmp_path_factory.mktemp("nulls")))
        yield


def _seed(seed: int, **options: object) -> object:
    return sb.load_sae(ToySAE(seed=seed, **options), name=f"seed{seed}")


def _twin(seed: int, name: str, order: torch.Tensor, scale: float = 1.0) -> object:
    """The same SAE with its latents in another order; codes times `scale`, decoder rows divided by it."""
    toy = ToySAE(seed=seed)
    with torch.no_grad():
        toy.W_dec.copy_(toy.W_dec[order] / scale)
        toy.W_enc.copy_(toy.W_enc[:, order] * scale)
        toy.b_enc.copy_(toy.b_enc[order] * scale)
    return sb.load_sae(toy, name=name)


def _run(llama: nn.Module, saes: list, metrics: list[str] | None = None, **options: object) -> dict:
    found = sb.evaluate(
        [], {**SUITE, "metric": metrics or SUITE["metric"]}, model=llama, groups={"g": saes},
        data={"text": token_rows(30, 9)} if metrics is None or set(metrics) & set(CODES) else None, **options,
    )  # fmt: skip
    return {(row.sae, row.metric, row.slice): row for row in found.rows}


def test_a_reordered_rescaled_copy_agrees_in_everything(llama: nn.Module) -> None:
    order = torch.randperm(24, generator=torch.Generator().manual_seed(0))
    rows = _run(llama, [_seed(1), _twin(1, "copy", order, scale=3.0)])
    for metric in set(SUITE["metric"]) - {"pw_mcc_null", "pw_mcc_gap", "matched_correlation_null", "wmppc_null"}:
        name = "0.9" if metric.startswith("shared") else ""
        assert rows["seed1", metric, name].value == pytest.approx(1, abs=1e-5), metric
    assert rows["seed1", "pw_mcc_gap", ""].value == 0


def test_random_saes_agree_as_far_as_chance(llama: nn.Module) -> None:
    rows = _run(llama, [_seed(i, d_sae=300) for i in (1, 2, 3)], ["pw_mcc", "pw_mcc_null", "pw_mcc_adjusted"])
    group = rows["seed1", "pw_mcc", "group"]
    assert abs(group.value - rows["seed1", "pw_mcc_null", "group"].value) < 0.02
    assert abs(rows["seed1", "pw_mcc_adjusted", "group"].value) < 0.05


def test_members_have_their_pairs_and_the_group_all(llama: nn.Module) -> None:
    saes = [_seed(i) for i in (1, 2, 3, 4)]
    rows = _run(llama, saes, ["pw_mcc"])
    pair = {
        (a.name, b.name): sb.match(a, b).value for i, a in enumerate(saes) for b in saes[i + 1 :]
    }  # fmt: skip
    for sae in saes:
        mine = [value for names, value in pair.items() if sae.name in names]
        assert rows[sae.name, "pw_mcc", ""].value == pytest.approx(np.mean(mine))
        assert rows[sae.name, "pw_mcc", ""].stderr is None, "its pairs share it"
        assert rows[sae.name, "pw_mcc", "group"].value == pytest.approx(np.mean(list(pair.values())))
    assert rows["seed3", "pw_mcc", "with=seed1"].value == pytest.approx(pair["seed1", "seed3"])
    assert rows["seed1", "pw_mcc", "group"].n == 4 and rows["seed1", "pw_mcc", "group"].units == "saes"
    assert any("4 SAEs" in note for note in rows["seed1", "pw_mcc", "group"].warnings)


def _made(table: np.ndarray, own: int = 0) -> SimpleNamespace:
    return SimpleNamespace(own=own, names=tuple(f"s{i}" for i in range(len(table))))


def _estimate(table: np.ndarray, metric: Metric) -> tuple[float, float, float, float]:
    found = sums(_made(table), table)  # pyright: ignore[reportArgumentType]
    fields = {name: value.numpy() for name, value in found.fields.items()}
    part = bootstrap(metric, fields).at(found.slices.index("group"))
    return part.value, part.stderr, part.ci_low, part.ci_high


def _table(size: int, rng: np.random.Generator, own: float = 0.05, pair: float = 0.02) -> np.ndarray:
    """Numbers of pairs that share SAEs: mean 0.5, an effect of each SAE, and one of each pair."""
    effect = rng.normal(0, own, size)
    noise = np.triu(rng.normal(0, pair, (size, size)), 1)
    table = 0.5 + effect[:, None] + effect[None, :] + noise + noise.T
    np.fill_diagonal(table, np.nan)
    return table


@pytest.mark.parametrize("size", [3, 4, 10])
def test_the_groups_interval_is_the_jackknife_over_saes(size: int) -> None:
    table = _table(size, np.random.default_rng(size), own=0.01, pair=0.005)
    value, stderr, low, high = _estimate(table, get("pw_mcc"))
    without = [np.nanmean(np.delete(np.delete(table, i, 0), i, 1)) for i in range(size)]
    jackknife = ((size - 1) / size * np.sum((without - np.mean(without)) ** 2)) ** 0.5
    assert value == pytest.approx(np.nanmean(table))
    assert stderr * (size / (size - 1)) ** 0.5 == pytest.approx(jackknife, rel=0.05)
    if size < 6:
        assert (high - low) / 2 == pytest.approx(student.ppf(0.975, size - 1) * jackknife, rel=0.08)


def test_the_groups_interval_covers() -> None:
    """Pairs that share SAEs: taking the pairs as independent would cover much less than 95 %."""
    rng = np.random.default_rng(0)
    inside, naive, draws, size = 0, 0, 300, 5
    for _ in range(draws):
        table = _table(size, rng)
        value, _, low, high = _estimate(table, get("pw_mcc"))
        inside += low <= 0.5 <= high
        pairs = table[np.triu_indices(size, 1)]
        half = student.ppf(0.975, len(pairs) - 1) * pairs.std(ddof=1) / len(pairs) ** 0.5
        naive += abs(value - 0.5) <= half
    assert 0.91 <= inside / draws <= 1
    assert naive / draws < 0.85


def test_two_seeds_are_one_pair_and_say_so(llama: nn.Module) -> None:
    rows = _run(llama, [_seed(1), _seed(2)], ["pw_mcc"])
    group = rows["seed1", "pw_mcc", "group"]
    assert group.value == rows["seed2", "pw_mcc", ""].value and group.stderr is None
    assert any("one pair" in note for note in group.warnings)


def test_codes_correlate_as_numpy_says(llama: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against np.corrcoef on dense codes of the same tokens, in batches of any size."""
    monkeypatch.setattr(execute, "token_budget", lambda *_: 27)
    one, two = ToySAE(seed=1), ToySAE(seed=2, d_sae=30)
    with torch.no_grad():
        one.b_enc[:3] = -1e6
    saes = [sb.load_sae(one, name="one"), sb.load_sae(two, name="two")]
    rows = _run(llama, saes, CODES)
    with torch.no_grad():
        x = llama(token_rows(30, 9), output_hidden_states=True).hidden_states[2][:, 1:].flatten(0, 1)
        f, g = (sae.encode(x).double().numpy() for sae in (one, two))
    alive, live = f.std(0) > 0, g.std(0) > 0
    partner = sb.match(*saes).partner
    rho = np.corrcoef(f.T, g.T)[: f.shape[1], f.shape[1] :]
    good = [i for i in range(24) if alive[i] and live[partner[i]]]
    weight = np.abs(f).sum(0)[alive]
    best = rho[alive][:, live].max(1)
    expected = {
        ("one", "matched_correlation"): np.mean([rho[i, partner[i]] for i in good]),
        ("two", "matched_correlation"): np.mean([rho[i, partner[i]] for i in good]),
        ("one", "matched_correlation_null"): rho[alive][:, live].mean(),
        ("one", "wmppc"): (weight * best).sum() / weight.sum(),
        ("two", "wmppc"): np.average(rho[alive][:, live].max(0), weights=np.abs(g).sum(0)[live]),
        ("one", "wmppc_null"): np.average(rho[alive][:, live].mean(1), weights=weight),
    }
    assert not alive[:3].any()
    for (sae, metric), value in expected.items():
        assert rows[sae, metric, ""].value == pytest.approx(value, abs=1e-6), (sae, metric)
    assert rows["one", "wmppc", ""].stderr > 0


def test_cross_products_do_not_grow_with_tokens_and_refuse_too_much(
    llama: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    from saebench.engine import agreement

    monkeypatch.setattr(agreement, "ROOM", 1000)
    rows = _run(llama, [_seed(1), _seed(2)], ["wmppc", "pw_mcc"])
    assert rows["seed1", "wmppc", ""].status == "not_applicable" and "GB" in rows["seed1", "wmppc", ""].reason
    assert rows["seed1", "pw_mcc", ""].status == "ok"


def test_a_resumed_run_still_sees_the_whole_group(llama: nn.Module, tmp_path: Path) -> None:
    """One member's rows are lost; its numbers come back the same though the others are cached."""
    saes = [_seed(i) for i in (1, 2, 3)]
    first = _run(llama, saes, out=tmp_path / "run")
    file = tmp_path / "run" / "rows.jsonl"
    kept = [line for line in file.read_text().splitlines() if Row.from_json(line).sae != "seed2"]
    file.write_text("\n".join(kept) + "\n")
    again = _run(llama, saes, out=tmp_path / "run")
    assert {k: r.value for k, r in again.items()} == pytest.approx({k: r.value for k, r in first.items()}, nan_ok=True)


def test_a_killed_pass_keeps_its_cross_products(
    llama: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from saebench.engine.checkpoint import Checkpoint

    monkeypatch.setattr(execute, "token_budget", lambda *_: 27)
    monkeypatch.setattr(execute, "Checkpoint", lambda folder, key: Checkpoint(folder, key, every=0.0))
    saes = [_seed(i) for i in (1, 2, 3)]
    whole = _run(llama, saes, CODES)

    class Stop(Progress):
        def advanced(self, data: str, share: float) -> None:
            if share >= 0.5:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _run(llama, saes, CODES, out=tmp_path / "run", progress=Stop())
    again = _run(llama, saes, CODES, out=tmp_path / "run")
    assert {k: r.value for k, r in again.items()} == pytest.approx({k: r.value for k, r in whole.items()}, rel=1e-9)


def test_another_partner_is_another_row(llama: nn.Module) -> None:
    one, two = ({_run(llama, [_seed(1), _seed(s)], ["pw_mcc"])["seed1", "pw_mcc", ""].signature} for s in (2, 3))
    assert one != two


def test_value_at_initialisation(llama: nn.Module) -> None:
    saes, init = [_seed(1), _seed(2)], [sb.load_sae(ToySAE(seed=9), name=f"init{i}") for i in (1, 2)]
    suite = {**SUITE, "metric": ["pw_mcc", "pw_mcc_init"]}
    with_init = sb.evaluate([], suite, model=llama, groups={"g": {"sae": saes, "init": init}})
    rows = {(row.sae, row.metric, row.slice): row for row in with_init.rows}
    assert rows["seed1", "pw_mcc_init", ""].value == pytest.approx(1), "both started from the same weights"
    assert rows["seed1", "pw_mcc", ""].value < 0.9
    without = _run(llama, saes, ["pw_mcc_init"])["seed1", "pw_mcc_init", ""]
    assert without.status == "not_applicable" and "init" in without.reason


def test_starts_that_are_drawn_differ_from_seed_to_seed() -> None:
    """Where no checkpoint was kept, `null:untrained@REF` redraws each member, and the value is that of chance."""
    saes = ["world:topk-mid", "world:topk-mid-seed1", "world:topk-mid-seed2"]
    group = {"sae": saes, "init": [f"null:untrained@{sae}" for sae in saes]}
    suite = {**SUITE, "metric": ["pw_mcc", "pw_mcc_init", "pw_mcc_null"]}
    rows = sb.evaluate([], suite, model="world", groups={"g": group}).rows
    value = {row.metric: row.value for row in rows if row.slice == "group"}
    assert value["pw_mcc_init"] == pytest.approx(value["pw_mcc_null"], abs=0.01)
    assert value["pw_mcc"] > value["pw_mcc_init"] + 0.2


def test_a_group_is_found_from_metadata_and_the_row_says_so(llama: nn.Module) -> None:
    saes = []
    for seed, more in ((1, {}), (2, {}), (3, {"steps": 7})):
        sae = sb.load_sae(ToySAE(seed=seed), name=f"seed{seed}")
        sae.metadata.update({"seed": seed, "recipe": {"lr": 1e-3, "seed": seed, "name": f"run{seed}"}, **more})
        saes.append(sae)
    suite = {**SUITE, "metric": ["pw_mcc"]}
    plan = prepare(saes, suite, model=llama)
    assert [group["saes"] for group in plan.describe()["groups"]] == [["seed1", "seed2"]]
    rows = {(row.sae, row.slice): row for row in sb.evaluate(saes, suite, model=llama).rows}
    assert rows["seed1", "with=seed2"].value == pytest.approx(sb.match(*saes[:2]).value)
    assert any("found, not declared" in note for note in rows["seed1", ""].warnings)
    assert rows["seed3", ""].status == "not_applicable" and "--group" in rows["seed3", ""].reason


def test_a_group_of_one_is_not_applicable(llama: nn.Module) -> None:
    rows = _run(llama, [_seed(1)])
    assert {row.status for row in rows.values()} == {"not_applicable"}
    assert all("alone" in row.reason for row in rows.values())


def test_a_missing_twin_is_named_and_the_others_are_scored(llama: nn.Module, tmp_path: Path) -> None:
    rows = _run(llama, [_seed(1), _seed(2), str(tmp_path / "seed3")], ["pw_mcc"])
    assert rows["seed1", "pw_mcc", "with=seed2"].status == "ok"
    assert any("without" in note and "seed3" in note for note in rows["seed1", "pw_mcc", ""].warnings)
    assert any(row.status == "error" and "seed3" in row.sae for row in rows.values())


def test_a_member_that_breaks_is_named_by_the_others(llama: nn.Module) -> None:
    class Broken(ToySAE):
        armed = False

        def encode(self, x: torch.Tensor) -> torch.Tensor:
            if self.armed:
                raise ValueError("no encoder today")
            return super().encode(x)

    broken = Broken(seed=3)
    saes = [_seed(1), _seed(2), sb.load_sae(broken, name="broken")]
    broken.armed = True
    rows = _run(llama, saes, ["wmppc"])
    assert rows["seed1", "wmppc", "with=seed2"].status == "ok" and ("seed1", "wmppc", "with=broken") not in rows
    assert any("without broken" in note for note in rows["seed1", "wmppc", ""].warnings)
    assert rows["broken", "wmppc", ""].status == "error"


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"hook": "blocks.0.hook_resid_post"}, ["different hook", "seed1", "blocks.0", HOOK]),
        ({"model_name": "gpt2"}, ["different model", "gpt2"]),
    ],
)
def test_unlike_saes_are_refused_by_name(llama: nn.Module, other: dict, said: list[str]) -> None:
    model = other.pop("model_name", None)
    saes = [_seed(1), sb.load_sae(ToySAE(seed=2, **other), name="odd")]
    if model:
        saes[0].metadata["model_name"], saes[1].metadata["model_name"] = "world", model
    with pytest.raises(sb.UserError) as error:
        _run(llama, saes, ["pw_mcc"])
    assert all(word in str(error.value) for word in [*said, "odd"])


def test_other_mistakes_are_one_sentence(llama: nn.Module) -> None:
    one, two = _seed(1), _seed(2)
    for groups, said in [
        ({"g": [one, two], "h": [one]}, "groups 'g' and 'h'"),
        ({"g": {"sae": [one], "innit": [two]}}, "Did you mean 'init'"),
        ({"g": []}, "groups.g"),
        ({"g": {"sae": [one, two], "init": [one]}}, "1 checkpoints at initialisation for 2 SAEs"),
    ]:
        with pytest.raises(sb.UserError, match=said):
            sb.evaluate([], {**SUITE, "metric": ["pw_mcc"]}, model=llama, groups=groups)


def test_zero_latents_and_unequal_sizes_are_told(llama: nn.Module) -> None:
    dead = ToySAE(seed=2, d_sae=30)
    with torch.no_grad():
        dead.W_dec[:4] = 0
    rows = _run(llama, [_seed(1), sb.load_sae(dead, name="dead")], ["pw_mcc"])
    notes = " ".join(rows["seed1", "pw_mcc", ""].warnings)
    assert "80.0%" in notes and "4 latents have no direction" in notes


def test_seeds_of_the_world_agree_above_chance() -> None:
    """TopK seeds well above their null, and ReLU and TopK differ; three seeds of each."""
    suite = {"extends": "consistency", "metric": []}
    run = sb.evaluate([], {**suite, "data": {"text": {"source": "world", "tokens": 4000}}})
    rows = {(row.sae, row.metric, row.slice): row for row in run.rows}
    assert not run.errors()
    for name in ("topk-mid", "relu-mid"):
        low = rows[name, "pw_mcc", "group"].ci_low
        assert low > rows[name, "pw_mcc_null", "group"].value + 0.1
        assert rows[name, "wmppc", ""].ci_low > rows[name, "wmppc_null", ""].ci_high + 0.1
        assert rows[name, "mean_max_cosine", ""].value >= rows[name, "pw_mcc", ""].value
    topk, relu = (rows[name, "pw_mcc", "group"] for name in ("topk-mid", "relu-mid"))
    assert topk.ci_high < relu.ci_low or relu.ci_high < topk.ci_low
