"""Contexts collected in a pass equal what a slow loop over the whole corpus finds, whatever the batches."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import saebench as sb
from saebench.data.corpus import item_corpus
from saebench.data.datasets import Dataset
from saebench.engine.checkpoint import Checkpoint
from saebench.engine.contexts import Contexts, candidates, ranks, rounded
from saebench.engine.contexts_windows import Windows
from saebench.engine.judged import collector, draw, drawn_latents
from saebench.engine.stream import Pass, Task
from saebench.inputs import DrawnLatents, Sampling
from saebench.judges.ngram import NGramJudge
from saebench.saes import SparseCoder, resolve
from tests.helpers.toys import HOOK, ToySAE, tiny_llama, token_rows

SMALL = Sampling(latents=0, window=6, top=4, weighted=3, spread=5, silent=4, stratum=2, random=4, near=2, pool=20)


@pytest.fixture(scope="module")
def setting() -> tuple[Any, SparseCoder, Dataset]:
    """A model, a SAE, and rows of different lengths."""
    model = sb.load_model(tiny_llama())
    rows = [row[: 7 + i % 14] for i, row in enumerate(token_rows(90, 20, seed=3).numpy())]
    corpus = item_corpus("text", rows, model.special_ids, source="hand")
    corpus = replace(corpus, documents=np.arange(90) // 2)
    return model, resolve([ToySAE(seed=2)], hook=HOOK)[0], Dataset("text", corpus)


def _collected(setting: tuple[Any, SparseCoder, Dataset], *, budget: int = 200, s: Sampling = SMALL) -> Contexts:
    model, sae, data = setting
    kept = collector(sae, data, s, 0)
    task = Task(sae, [])
    task.collectors = {"contexts": kept}
    Pass(model, data.corpus, [task], budget=budget).run()
    return kept


def _drawn(setting: tuple[Any, SparseCoder, Dataset], kept: Contexts) -> DrawnLatents:
    model, sae, data = setting
    return drawn_latents(kept, sae, model, data, NGramJudge(), 0)


def _by_hand(setting: tuple[Any, SparseCoder, Dataset], windows: Windows) -> np.ndarray:
    """Activations in every window of the corpus, `[windows, size, d_sae]`, row by row."""
    model, sae, data = setting
    found = np.zeros((len(windows), windows.size, sae.d_sae), dtype=np.float32)
    number = 0
    for row in range(data.corpus.rows):
        ids = data.corpus.row(row)
        acts = model.forward(torch.from_numpy(ids)[None].long(), [HOOK]).acts[HOOK][0, 1:]  # BOS is not content
        codes = sae.encode(acts).dense().detach().numpy()
        runs = -(-len(codes) // windows.size)
        edges = [-(-run * len(codes) // runs) for run in range(runs + 1)]
        for start, end in zip(edges[:-1], edges[1:], strict=True):
            assert windows.ids(number).tolist() == ids[1:][start:end].tolist()
            found[number, : end - start] = codes[start:end]
            number += 1
    assert number == len(windows)
    return found


def test_reservoirs_equal_a_search_of_the_whole_corpus(setting: tuple[Any, SparseCoder, Dataset]) -> None:
    kept = _collected(setting)
    table = kept.windows
    acts = _by_hand(setting, table)
    strength = rounded(acts).max(1)
    fires = (acts != 0).any(1)
    for slot, latent in enumerate(kept.candidates):
        assert kept.counts[slot, :, 0].sum() == (acts[:, :, latent] != 0).sum()
        for half in (0, 1):
            mine = [w for w in range(len(table)) if table.half[w] == half and fires[w, latent]]
            assert kept.counts[slot, half, 1] == len(mine)
            by_key = (
                sorted(mine, key=lambda w, i=latent: (-strength[w, i], table.chance[w])),
                sorted(mine, key=lambda w, i=latent: -np.log(table.chance[w]) / float(strength[w, i]) ** 2),
                sorted(mine, key=lambda w: table.chance[w]),
            )
            for kind, order in enumerate(by_key):
                windows, values = kept.held(slot, half, kind)
                assert windows.tolist()[:4] == order[: len(windows)][:4]
                assert set(windows.tolist()) == set(order[: len(windows)])
                np.testing.assert_allclose(values, acts[windows, :, latent], rtol=1e-4, atol=1e-5)


def test_near_misses_and_the_pool_equal_a_search_of_the_whole_corpus(
    setting: tuple[Any, SparseCoder, Dataset],
) -> None:
    kept = _collected(setting)
    table, sae = kept.windows, setting[1]
    acts = _by_hand(setting, table)
    fires = (acts != 0).any(1)
    unit = torch.nn.functional.normalize(sae.W_dec, dim=-1)
    cosine = (unit @ unit.T).fill_diagonal_(-2)
    dense = kept.pooled()
    for slot, latent in enumerate(kept.candidates):
        near = cosine[latent].topk(SMALL.near).indices.numpy()
        for half in (0, 1):
            missed = fires[:, near].any(1) & ~fires[:, latent] & (table.half == half)
            order = sorted(np.flatnonzero(missed), key=lambda w: table.other[w])
            found = kept.near_misses(slot, half).tolist()
            assert found == order[: len(found)] and len(found) == min(len(order), 2)
            pool = table.pool[half]
            np.testing.assert_allclose(dense(slot, half), acts[pool][:, :, latent], rtol=1e-4, atol=1e-5)


def test_batches_move_nothing(setting: tuple[Any, SparseCoder, Dataset]) -> None:
    one, other = _collected(setting, budget=30), _collected(setting, budget=4000)
    assert one.windows is other.windows or len(one.windows) == len(other.windows)
    for slot in range(len(one.candidates)):
        for half in (0, 1):
            for kind in range(3):
                assert one.held(slot, half, kind)[0].tolist() == other.held(slot, half, kind)[0].tolist()
            assert one.near_misses(slot, half).tolist() == other.near_misses(slot, half).tolist()


def test_what_else_runs_moves_nothing(setting: tuple[Any, SparseCoder, Dataset]) -> None:
    model, sae, data = setting
    alone = _collected(setting)
    kept, other = collector(sae, data, SMALL, 0), resolve([ToySAE(seed=9)], hook=HOOK)[0]
    tasks = [Task(other, list(sb.load_suite({"metric": ["l0", "loss_recovered"]}).metrics())), Task(sae, [])]
    tasks[1].collectors = {"contexts": kept}
    Pass(model, data.corpus, tasks, budget=200).run()
    for slot in range(len(alone.candidates)):
        assert alone.held(slot, 0, 1)[0].tolist() == kept.held(slot, 0, 1)[0].tolist()


def test_a_pass_goes_on_from_its_checkpoint(setting: tuple[Any, SparseCoder, Dataset], tmp_path: Path) -> None:
    model, sae, data = setting
    whole = _collected(setting, budget=100)
    tasks = []
    for last in (3, None):
        task = Task(sae, [])
        task.collectors = {"contexts 0": collector(sae, data, SMALL, 0)}
        tasks.append(task)
        checkpoint = Checkpoint(tmp_path, "key", every=0)
        run = Pass(model, data.corpus, [task], budget=100, checkpoint=checkpoint)
        if last:
            run._progress = _stop_after(last)  # noqa: SLF001
            with pytest.raises(KeyboardInterrupt):
                run.run()
        else:
            assert checkpoint.file.exists()
            run.run()
    again = tasks[1].collectors["contexts 0"]
    assert isinstance(again, Contexts) and again.tokens == whole.tokens == data.corpus.content
    one, other = (_drawn(setting, kept).detection() for kept in (whole, again))
    assert [a.contexts for a in one] == [b.contexts for b in other]


def _stop_after(batches: int) -> Any:
    seen = []

    def stop(share: float) -> None:
        seen.append(share)
        if len(seen) == batches:
            raise KeyboardInterrupt

    return stop


def test_scoring_contexts_come_from_documents_that_were_not_shown(setting: tuple[Any, SparseCoder, Dataset]) -> None:
    drawn = _drawn(setting, _collected(setting))
    judged = drawn.detection()
    shown = {c.document for i, one in enumerate(judged) if not one.problem for c in drawn.examples(i)}
    held_out = {c.document for one in judged for c in one.contexts}
    assert shown and held_out and not shown & held_out
    for one in judged:
        assert [c.fires for c in one.contexts] == list(one.truth)
        assert all(c.fires == (c.stratum in ("top", "mid", "low")) for c in one.contexts)
        assert len({(c.document, c.tokens, c.activations) for c in one.contexts}) == len(one.contexts)


def test_latents_are_drawn_in_equal_shares_by_density(setting: tuple[Any, SparseCoder, Dataset]) -> None:
    s = Sampling(latents=20, dead=15)
    kept = Contexts.__new__(Contexts)
    kept.candidates = candidates(s, 1000, 0)
    assert len(kept.candidates) == 40 and (np.diff(ranks(kept.candidates, 0)) > 0).all()
    kept.counts = np.zeros((40, 2, 2), dtype=np.int64)
    kept.counts[:, 0, 0] = np.arange(40)
    chosen, notes = draw(kept, s, 0)
    fires = np.sort(kept.counts[chosen, 0, 0])
    assert len(fires) == 20 and fires.min() >= 15
    # 25 are alive, so that each group of two or three gives one, and the other half comes from any of them.
    assert all(((fires >= low) & (fires < low + 5)).sum() >= 3 for low in (15, 20, 25, 30, 35))
    assert any("15 of 40 candidate latents fire on fewer than 15 tokens" in note for note in notes)
    assert draw(kept, s, 1)[0].tolist() != chosen.tolist()
