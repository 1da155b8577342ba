"""A run with a language model as judge: it is asked about true contexts, and a second run asks nothing anew."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from torch import Tensor

import saebench as sb
from saebench.progress import Progress
from tests.helpers.toys import tiny_llama, token_rows
from tests.judges.conftest import Make
from tests.judges.scripted import questions
from tests.judges.server import JudgeServer, Request

IDS = (12, 17)


class IdDetectors:
    """A coder at the embedding with a latent for each of a few token ids."""

    hook_name = "hook_embed"

    def __init__(self, table: Tensor) -> None:
        self._table = table.detach()
        self.W_dec = torch.nn.functional.normalize(self._table[list(IDS)], dim=-1)

    def encode(self, x: Tensor) -> Tensor:
        """Codes `[tokens, ids]`."""
        near = torch.cdist(x.float(), self._table).argmin(-1)
        return (near[:, None] == torch.tensor(IDS)).float()

    def decode(self, codes: Tensor) -> Tensor:
        """A sum of embeddings."""
        return codes @ self.W_dec


def _reader(request: Request) -> str:
    """Explains by the number that is marked most often, and scores by whether the number is there or marked."""
    text = request.body["messages"][-1]["content"]
    if "explanation" in json.dumps(request.body.get("response_format", "")):
        marked = re.findall(r"<<(\d+)>>", text)
        return json.dumps({"explanation": f"the number {max(set(marked), key=marked.count)}"})
    found = re.search(r"the number (\d+)", text)
    assert found
    number, answers = found[1], []
    for place, line in questions(request).items():
        inside = " ".join(re.findall(r"<<([^>]*)>>", line)) if "<<" in line else line
        answers.append({"context": place, "answer": number in inside.split(), "probability": 0.9})
    return json.dumps({"answers": answers})


def test_a_judge_that_reads_scores_one_and_is_paid_once(make: Make) -> None:
    model = tiny_llama()
    settings = {"latents": 0, "window": 10}
    suite = {
        "metric": [{name: settings} for name in ("detection", "fuzzing", "detection_unscored")],
        "references": {"null": None, "baseline": None},
    }
    given = {"model": model, "data": {"text": token_rows(400, 12)}}
    with JudgeServer(_reader) as server:
        sae = IdDetectors(model.get_input_embeddings().weight)
        first = sb.evaluate(sae, suite, judge=make(server), **given)
        asked = len(server.requests)
        again = sb.evaluate(sae, suite, judge=make(server), **given)
        assert len(server.requests) == asked == 2 * 3
    assert not first.errors()
    rows = {row.metric: row for row in first.rows if not row.slice}
    assert rows["detection"].value == rows["fuzzing"].value == 1.0
    assert rows["detection_unscored"].value == 0.0
    assert rows["detection"].settings["judge"] == "openai:judge" and "model=judge" in rows["detection"].signature
    assert [row.value for row in again.rows] == [row.value for row in first.rows]


def test_what_a_budget_left_unanswered_is_asked_by_the_same_command_later(make: Make, tmp_path: Path) -> None:
    model = tiny_llama()
    suite = {
        "metric": [{"detection": {"latents": 0, "window": 10}}],
        "references": {"null": None, "baseline": None},
    }
    heard = Heard()
    given = {"model": model, "data": {"text": token_rows(400, 12)}, "out": tmp_path / "run", "progress": heard}
    with JudgeServer(_reader) as server:
        sae = IdDetectors(model.get_input_embeddings().weight)
        short = sb.evaluate(sae, suite, judge=make(server, budget_calls=3), **given)
        assert len(server.requests) == 3
        assert "1 of 2 latents unscored, not scored: budget" in " ".join(short.rows[0].warnings)
        whole = sb.evaluate(sae, suite, judge=make(server), **given)
        assert len(server.requests) == 4
        sb.evaluate(sae, suite, judge=make(server), **given)
        assert len(server.requests) == 4
    assert not any(row.unanswered for row in whole.rows) and whole.rows[0].value == 1.0
    assert [told.split(" (")[0] for told in heard.accounts] == ["3 calls", "1 calls"]
    assert "3 answers from the cache" in heard.accounts[1]


def test_a_budget_holds_for_all_saes_metrics_and_seeds_of_a_run(make: Make, tmp_path: Path) -> None:
    model = tiny_llama()
    settings = {"latents": 0, "window": 10}
    suite = {
        "metric": [{name: settings} for name in ("detection", "fuzzing")],
        "references": {"null": None, "baseline": None},
    }
    heard = Heard()
    with JudgeServer(_reader) as server:
        table = model.get_input_embeddings().weight
        saes = [sb.load_sae(IdDetectors(table), name=name) for name in ("a", "b")]
        judge = {"openai:judge": {"base_url": server.url, "cache": tmp_path / "judge.sqlite", "budget_calls": 7}}
        given = {"model": model, "data": {"text": token_rows(400, 12)}, "repeats": 2, "progress": heard}
        rows = sb.evaluate(saes, suite, judge=judge, **given).rows
        assert len(server.requests) == 7
    assert {row.seed for row in rows} == {0, 1} and not any(row.status == "error" for row in rows)
    assert [told.split(" (")[0] for told in heard.accounts] == ["7 calls"]
    assert any("not scored: budget" in " ".join(row.warnings) for row in rows)


@pytest.mark.parametrize("address", [None, "http://10.0.0.7:8000/v1"])
def test_a_judge_elsewhere_is_refused_offline_before_anything_is_loaded(
    address: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    suite, judge = {"metric": ["detection"]}, {"openai:judge": {"base_url": address}}
    monkeypatch.setenv("OPENAI_API_KEY", "a-key-of-no-use")
    for sae in ("no-such-sae", "world:topk-mid"):
        with pytest.raises(sb.UserError, match=r"'openai:judge' is asked at .* over a network, and --offline") as told:
            sb.evaluate(sae, suite, judge=judge, offline=True)
        assert "\n" not in str(told.value) and "key" not in str(told.value)


def test_a_judge_on_this_machine_may_be_asked_offline(make: Make) -> None:
    model = tiny_llama()
    suite = {"metric": [{"detection": {"latents": 0, "window": 10}}], "references": {"null": None, "baseline": None}}
    with JudgeServer(_reader) as server:
        sae = IdDetectors(model.get_input_embeddings().weight)
        given = {"model": model, "data": {"text": token_rows(400, 12)}}
        rows = sb.evaluate(sae, suite, judge=make(server), offline=True, **given).rows
    assert rows[0].value == 1.0


class Heard(Progress):
    """Keeps what a run says of its judge."""

    def __init__(self) -> None:
        self.accounts: list[str] = []

    def judged(self, name: str, account: str) -> None:
        """Keep the account."""
        assert name == "openai:judge"
        self.accounts.append(account)
