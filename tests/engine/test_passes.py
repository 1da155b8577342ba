"""The passes: how often the model and the SAEs run, what a kill or a lack of memory leaves, and who may fail."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import saebench as sb
from saebench.engine import execute, stream
from saebench.engine.checkpoint import Checkpoint
from saebench.progress import Progress
from saebench.results import Row
from tests.helpers.toys import HOOK, ToySAE, token_rows

QUICK = {
    "name": "q",
    "metric": ["l0", "explained_variance", "loss_recovered"],
    "references": {"null": None, "baseline": None},
}


def _named(seed: int, **options: object) -> object:
    return sb.load_sae(ToySAE(seed=seed, **options), name=f"toy{seed}")


def _numbers(rows: list[Row]) -> set[tuple]:
    return {(r.sae, r.metric, r.slice, r.status, r.value, r.stderr, r.n) for r in rows}


class _Counted(nn.Module):
    """Counts its calls and the tokens it was given."""

    def __init__(self, sae: ToySAE) -> None:
        super().__init__()
        self.sae, self.calls, self.tokens = sae, 0, 0
        self.hook_name, self.W_dec = sae.hook_name, sae.W_dec

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        self.calls, self.tokens = self.calls + 1, self.tokens + len(x)
        return self.sae.encode(x)

    def decode(self, codes: torch.Tensor) -> torch.Tensor:
        return self.sae.decode(codes)


def _rows_run(model: nn.Module, saes: list, suite: object, rows: torch.Tensor) -> int:
    """Rows that went through the first layer."""
    counted: list[int] = []
    watch = model.model.layers[0].register_forward_hook(lambda _m, i, _o: counted.append(i[0].shape[0]))
    sb.evaluate(saes, suite, model=model, data={"text": rows})
    watch.remove()
    return sum(counted)


def test_one_forward_whatever_the_number_of_saes_and_metrics(llama: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first layer sees each row once, and once more to fit errors to, whatever the number of SAEs."""
    rows = token_rows(40, 9)
    monkeypatch.setattr(execute, "token_budget", lambda *_: 45)
    few = _rows_run(llama, [_named(1)], QUICK, rows)
    many = _rows_run(llama, [_named(i) for i in range(5)], {**QUICK, "metric": sb.load_suite("core").metric}, rows)
    assert many == few + len(rows)
    assert few <= 40 + 7, "each row once, and seven that show the blocks, causality, resume and the ablation's shortcut"


def test_each_token_is_encoded_once_and_no_padding_ever(llama: nn.Module) -> None:
    """Rows of unequal length: the SAE sees the valid tokens and nothing else."""
    texts = [tuple(row[: 3 + i % 6].tolist()) for i, row in enumerate(token_rows(14, 9))]
    from saebench.data.texts import Text

    counted = _Counted(ToySAE())
    sae = sb.load_sae(counted, name="counted")
    counted.calls = counted.tokens = 0
    sb.evaluate(sae, QUICK, model=llama, data={"text": [Text(ids=ids) for ids in texts]})
    assert counted.tokens == sum(len(ids) - 1 for ids in texts)
    assert counted.calls == 1


def test_a_mapping_names_its_saes_and_those_that_fail(llama: nn.Module) -> None:
    given = {"first": ToySAE(seed=1), "second": ToySAE(seed=2), "third": "no/such/sae"}
    results = sb.evaluate(given, QUICK, model=llama, data={"text": token_rows(6)}, metrics=["l0"])
    assert {row.sae: row.status for row in results.rows} == {"first": "ok", "second": "ok", "third": "error"}


def test_texts_of_one_token_predict_nothing_and_stop_nothing(llama: nn.Module) -> None:
    from saebench.data.texts import Text

    texts = [Text(ids=(1, 3 + i)) for i in range(12)]
    found = {row.metric: row for row in sb.evaluate(_named(1), QUICK, model=llama, data={"text": texts}).rows}
    assert found["explained_variance"].value is not None
    assert (found["loss_recovered"].value, found["loss_recovered"].status) == (None, "ok")


def test_out_of_memory_halves_the_batch_and_moves_nothing(llama: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = token_rows(20, 9)
    whole = sb.evaluate(_named(1), QUICK, model=llama, data={"text": rows}).rows
    model = sb.load_model(llama)
    forward, refused = type(model).forward, []

    def small_only(self: object, tokens: torch.Tensor, *args: object, **options: object) -> object:
        if tokens.numel() > 40 and tokens.shape[0] > 2:
            refused.append(tokens.numel())
            raise torch.OutOfMemoryError("not enough")
        return forward(self, tokens, *args, **options)

    monkeypatch.setattr(type(model), "forward", small_only)
    halved = sb.evaluate(_named(1), QUICK, model=model, data={"text": rows}).rows
    assert refused
    for one, two in zip(whole, halved, strict=True):
        assert two.value == pytest.approx(one.value, rel=1e-5)


def test_out_of_memory_on_a_single_row_is_raised(llama: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    model = sb.load_model(llama)

    def never(*_: object, **__: object) -> object:
        raise torch.OutOfMemoryError("not enough")

    monkeypatch.setattr(stream.Pass, "_batch", never)
    with pytest.raises(torch.OutOfMemoryError):
        sb.evaluate(_named(1), QUICK, model=model, data={"text": token_rows(4)})


class _Stop(Progress):
    def __init__(self, at: float) -> None:
        self.at = at

    def advanced(self, data: str, share: float) -> None:
        if share >= self.at:
            raise KeyboardInterrupt


@pytest.mark.parametrize("at", [0.2, 0.5, 0.9])
def test_a_killed_pass_goes_on_where_it_was(
    llama: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: float
) -> None:
    """Stopped in the middle of a pass and started again: the same rows, and only the rest of the corpus is run."""
    rows = token_rows(30, 9)
    monkeypatch.setattr(execute, "token_budget", lambda *_: 27)
    monkeypatch.setattr(execute, "Checkpoint", lambda folder, key: Checkpoint(folder, key, every=0.0))
    run = {"model": llama, "data": {"text": rows}}
    suite = {**QUICK, "metric": [*QUICK["metric"], "dead_fraction", "kl", "loss_recovered_mean"]}
    whole = sb.evaluate([_named(1), _named(2)], suite, **run).rows
    out = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        sb.evaluate([_named(1), _named(2)], suite, out=out, progress=_Stop(at), **run)
    assert list((out / "partial").iterdir())
    counted = []
    watch = llama.model.layers[0].register_forward_hook(lambda _m, i, _o: counted.append(i[0].shape[0]))
    again = sb.evaluate([_named(1), _named(2)], suite, out=out, **run).rows
    watch.remove()
    assert _numbers(again) == _numbers(whole)
    assert sum(counted) <= 30 * (1 - at) + 8
    assert not list((out / "partial").iterdir())


def test_a_finished_run_runs_nothing_again(llama: nn.Module, tmp_path: Path) -> None:
    run = {"model": llama, "data": {"text": token_rows(10)}, "out": tmp_path / "run"}
    first = sb.evaluate(_named(1), QUICK, **run).rows
    seen: list[int] = []
    watch = llama.model.layers[0].register_forward_hook(lambda _m, i, _o: seen.append(i[0].shape[0]))
    again = sb.evaluate(_named(1), QUICK, **run).rows
    watch.remove()
    assert sum(seen) <= 3, "none of the ten rows of text: three of eight tokens show how a newly loaded model is built"
    assert _numbers(first) == _numbers(again)


def test_a_new_metric_or_sae_runs_only_itself(llama: nn.Module, tmp_path: Path) -> None:
    run = {"model": llama, "data": {"text": token_rows(10)}, "out": tmp_path / "run"}
    sb.evaluate(_named(1), QUICK, metrics=["l0"], **run)
    before = (tmp_path / "run" / "rows.jsonl").read_text().count("\n")
    both = sb.evaluate([_named(1), _named(2)], QUICK, metrics=["l0", "mse"], **run)
    after = (tmp_path / "run" / "rows.jsonl").read_text().count("\n")
    assert (before, after) == (1, 4) and len(both) == 4


def test_a_row_cut_in_the_middle_is_run_again(llama: nn.Module, tmp_path: Path) -> None:
    run = {"model": llama, "data": {"text": token_rows(10)}, "out": tmp_path / "run"}
    whole = sb.evaluate(_named(1), QUICK, **run).rows
    file = tmp_path / "run" / "rows.jsonl"
    file.write_bytes(file.read_bytes()[:-40])
    with pytest.warns(UserWarning):
        again = sb.evaluate(_named(1), QUICK, **run).rows
    assert _numbers(again) == _numbers(whole)


def test_another_model_text_or_weight_is_another_row(llama: nn.Module) -> None:
    from tests.helpers.toys import tiny_llama

    def signature(model: nn.Module, rows: torch.Tensor, sae: object) -> str:
        return sb.evaluate(sae, QUICK, metrics=["l0"], model=model, data={"text": rows}).rows[0].signature

    base = signature(llama, token_rows(5), _named(1))
    assert signature(llama, token_rows(5), _named(1)) == base
    moved = sb.load_sae(ToySAE(seed=9), name="toy1")
    assert (
        len(
            {
                base,
                signature(tiny_llama(1), token_rows(5), _named(1)),
                signature(llama, token_rows(6), _named(1)),
                signature(llama, token_rows(5), moved),
            }
        )
        == 4
    )


def test_a_sae_that_breaks_does_not_stop_the_others(llama: nn.Module) -> None:
    class Broken(ToySAE):
        def encode(self, x: torch.Tensor) -> torch.Tensor:
            if self.armed:
                raise ValueError("no encoder today")
            return super().encode(x)

    broken = Broken(seed=3)
    broken.armed = False
    sae = sb.load_sae(broken, name="broken")
    broken.armed = True
    results = sb.evaluate([_named(1), sae], QUICK, model=llama, data={"text": token_rows(6)})
    status = {(r.sae, r.status) for r in results.rows}
    assert ("toy1", "ok") in status and ("broken", "error") in status
    assert all("no encoder today" in r.reason for r in results.errors())


def test_pooled_codes_are_the_mean_over_each_document(llama: nn.Module, tmp_path: Path) -> None:
    """An items metric from a file of its own sees every document's mean code, from the same encode."""
    from saebench import registry

    plugin = tmp_path / "mine.py"
    plugin.write_text(
        "from saebench import Sums, Totals, metric\n"
        "from saebench.inputs import PooledCodes\n\n\n"
        "@metric(version=1, unit='code', better='none', units='items')\n"
        "def mean_code_of_latent(p: PooledCodes, *, latent: int = 3) -> Sums:\n"
        "    '''Mean over documents of the mean code of one latent.'''\n"
        "    return Sums(code=p.codes.dense()[:, latent], documents=1)\n\n\n"
        "@mean_code_of_latent.value\n"
        "def _(s: Totals):\n"
        "    return s.code / s.documents\n"
    )
    registry.include(plugin)
    rows, toy = token_rows(7, 9), ToySAE(seed=1)
    suite = {"name": "mine", "metric": ["mean_code_of_latent", "l0"], "references": {"null": None, "baseline": None}}
    got = sb.evaluate(toy, suite, model=llama, data={"text": rows}).rows[0]
    with torch.no_grad():
        codes = toy.encode(llama(rows, output_hidden_states=True).hidden_states[2])[:, 1:, 3]
    assert got.value == pytest.approx(float(codes.mean()), rel=1e-5)
    assert got.n == 7 and got.hook_in == HOOK
