"""Auto-interp in a pass: contexts collected for each sampling, and the latents drawn from them afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from saebench.data.draws import uniforms
from saebench.data.pieces import Pieces
from saebench.engine.contexts import Contexts, candidates, neighbours, ranks
from saebench.engine.contexts_windows import Windows
from saebench.errors import UserError
from saebench.inputs import DrawnLatents, Half, JudgedLatents, Kept, LatentContexts, SampledLatents, Sampling
from saebench.judges.ngram import NGramJudge
from saebench.judges.protocol import Context, Judge
from saebench.metric import Metric, NotApplicable

if TYPE_CHECKING:
    from saebench.data.datasets import Dataset
    from saebench.engine.stream import Task
    from saebench.models import Subject
    from saebench.saes import SparseCoder

GROUPS = 10
"""Groups of equal size by density, from each of which an equal share of the latents is drawn."""
_TEXTS = 2**16
_LENS_ROWS = 256


def chosen_judge(given: str | Mapping[str, Mapping[str, Any] | None] | Judge) -> Judge:
    """The judge that is meant: by reference, by reference with settings (`{"openai:MODEL": {...}}`), or as it is.

    Raises:
        UserError: There is no such judge or setting, or it cannot be asked as things are (no key, no address).
    """
    from saebench.judges.select import judge

    if isinstance(given, Mapping):
        if len(given) != 1:
            raise UserError(f"The judge is one reference with its settings, such as ngram: {{}} (got {dict(given)!r}).")
        ((name, settings),) = given.items()
        return judge(name, **(settings or {}))
    return judge(given) if isinstance(given, str) else given


def refuse_remote(judge: Judge, metrics: Iterable[Metric]) -> None:
    """Prove, where no network is to be used, that no metric asks a judge on another machine.

    Raises:
        UserError: One does.
    """
    asked = any(JudgedLatents in metric.inputs.values() for metric in metrics)
    if asked and (host := getattr(judge, "remote", "")):
        raise UserError(
            f"The judge {judge.name!r} is asked at {host} over a network, and --offline was given: set its base_url "
            "(or OPENAI_BASE_URL) to an endpoint on this machine, or use the judge 'ngram'."
        )


def sampling(metric: Metric) -> Sampling | None:
    """The sampling among a metric's settings, if it asks for judged latents."""
    if not any(issubclass(kind, SampledLatents) for kind in metric.inputs.values()):
        return None
    return Sampling(**{field.name: metric.settings[field.name] for field in fields(Sampling)})


def collectors(task: Task, data: Dataset, seed: int) -> dict[str, Contexts]:
    """A collector for each sampling that a SAE's metrics ask for."""
    wanted = list(dict.fromkeys(s for metric in task.metrics if (s := sampling(metric))))
    return {f"contexts {i}": collector(task.sae, data, s, seed) for i, s in enumerate(wanted)}


def collector(
    sae: SparseCoder, data: Dataset, s: Sampling, seed: int, latents: Sequence[int] | None = None
) -> Contexts:
    """A collector of one sampling's candidates, or of the latents given."""
    own = candidates(s, sae.d_sae, seed) if latents is None else np.array(latents, dtype=np.int64)
    return Contexts(windows_of(data, s, seed), s, own, neighbours(sae, own, s.near), sae.d_sae)


def all_drawn(task: Task, model: Subject, data: Dataset, judge: Judge, seed: int) -> dict[Sampling, DrawnLatents]:
    """The latents of every sampling of a SAE's metrics, with the run's judge and the one of n-grams."""
    return {
        kept.sampling: drawn_latents(kept, task.sae, model, data, judge, seed)
        for kept in task.collectors.values()
        if isinstance(kept, Contexts)
    }


def drawn_latents(
    kept: Contexts, sae: SparseCoder, model: Subject, data: Dataset, judge: Judge, seed: int, *, every: bool = False
) -> DrawnLatents:
    """The latents drawn from what was collected.

    Args:
        every: All candidates, dead ones too.
    """
    s = kept.sampling
    slots, notes = (np.arange(len(kept.candidates)), []) if every else draw(kept, s, seed)
    builder = _Builder(kept, model, data)
    return DrawnLatents(
        s,
        builder.latents(slots),
        {"": judge, "ngram": judge if isinstance(judge, NGramJudge) else NGramJudge()},
        lambda numbers, *names: uniforms(numbers, seed, *names),
        held_out_windows=int(kept.windows.half.sum()),
        notes=notes,
        pool=builder.pool,
        logit_lens=partial(logit_lens, sae, model),
    )


def draw(kept: Contexts, s: Sampling, seed: int) -> tuple[np.ndarray, list[str]]:
    """Slots of the latents drawn, ordered by latent: equal shares of groups by density, first those first by hash."""
    fires = kept.counts[:, :, 0].sum(1)
    rank = ranks(kept.candidates, seed)
    alive = np.flatnonzero(fires >= s.dead)
    ordered = alive[np.lexsort((rank[alive], fires[alive]))]
    turn = np.zeros(len(kept.candidates))
    for group in np.array_split(ordered, GROUPS):
        turn[group[np.argsort(rank[group])]] = (np.arange(len(group)) + 0.5) / max(1, len(group))
    most = s.latents or len(alive)
    chosen = alive[np.lexsort((rank[alive], turn[alive]))[:most]]
    notes = []
    if len(alive) < len(fires):
        notes.append(f"{len(fires) - len(alive)} of {len(fires)} candidate latents fire on fewer than {s.dead} tokens")
    if len(chosen) < (s.latents or len(fires)):
        notes.append(f"{len(chosen)} latents instead of {s.latents or len(fires)}")
    return chosen[np.argsort(kept.candidates[chosen])], notes


class _Builder:
    """Contexts of the latents of one collector."""

    def __init__(self, kept: Contexts, model: Subject, data: Dataset) -> None:
        self._kept, self._windows = kept, kept.windows
        self._pool = kept.pooled()
        self._text: Callable[[int], tuple[str, ...]] = lru_cache(_TEXTS)(self._pieces)
        self._reader: Pieces = data.memo.setdefault("pieces", Pieces(model.tokenizer))

    def latents(self, slots: np.ndarray) -> list[LatentContexts]:
        """One for each slot."""
        kept = self._kept
        return [
            LatentContexts(
                latent=int(kept.candidates[slot]),
                density=float(kept.counts[slot, :, 0].sum() / max(1, kept.tokens)),
                firing=(int(kept.counts[slot, 0, 1]), int(kept.counts[slot, 1, 1])),
                shown=self._half(int(slot), 0),
                held_out=self._half(int(slot), 1),
            )
            for slot in slots
        ]

    def pool(self) -> tuple[np.ndarray, list[tuple[str, ...]]]:
        """Token ids and texts of the held-out pool."""
        windows = self._windows.pool[1]
        ids = np.full((len(windows), self._windows.size), -1, dtype=np.int64)
        for row, window in zip(ids, windows, strict=True):
            mine = self._windows.ids(int(window))
            row[: len(mine)] = mine
        return ids, [self._text(int(window)) for window in windows]

    def _half(self, slot: int, half: int) -> Half:
        top, weighted, spread = (
            self._some(*self._kept.held(slot, half, kind), name) for kind, name in enumerate(("top", "mid", "mid"))
        )
        missed = self._kept.near_misses(slot, half)
        silent = np.zeros((len(missed), self._windows.size), dtype=np.float32)
        return Half(top, weighted, spread, self._some(missed, silent, "near_miss"), partial(self._drawn, slot, half))

    def _drawn(self, slot: int, half: int) -> Kept:
        return self._some(self._windows.pool[half], self._pool(slot, half), "random")

    def _some(self, windows: np.ndarray, acts: np.ndarray, stratum: str) -> Kept:
        return Kept(windows, acts, stratum, self._windows.ids, self._context)

    def _pieces(self, window: int) -> tuple[str, ...]:
        return self._reader.of(self._windows.ids(window).tolist())

    def _context(self, window: int, acts: np.ndarray, stratum: str) -> Context:
        tokens = self._text(window)
        return Context(tokens, tuple(acts[: len(tokens)].tolist()), int(self._windows.document[window]), stratum)


def windows_of(data: Dataset, s: Sampling, seed: int) -> Windows:
    """The windows of a corpus, made once a run."""
    key = f"windows {s.window} {s.pool} {seed}"
    if key not in data.memo:
        data.memo[key] = Windows(data.corpus, s.window, seed, s.pool)
    return data.memo[key]


def logit_lens(sae: SparseCoder, model: Subject, latents: Sequence[int], count: int) -> np.ndarray:
    """Ids of the tokens whose logits each latent's direction raises most, through the final norm, `[latents, count]`.

    Raises:
        NotApplicable: The SAE has no decoder rows, or does not write to the residual stream.
    """
    if sae.W_dec is None or sae.d_out != model.d_model:
        raise NotApplicable("its latents have no direction in the residual stream")
    last = f"blocks.{model.n_layers - 1}.hook_resid_post"
    rows = torch.nn.functional.normalize(sae.W_dec.detach()[list(latents)].float(), dim=-1) * model.d_model**0.5
    found = []
    with torch.no_grad():
        for block in rows.to(model.device).split(_LENS_ROWS):
            tokens = torch.ones(len(block), 1, dtype=torch.long, device=model.device)
            run = model.forward(tokens, [last])
            hidden = model.resume(run, last, block[:, None].to(run.acts[last].dtype))
            found.append(model.logits(hidden[:, 0]).float().topk(min(count, model.vocab_size), dim=-1).indices.cpu())
    return torch.cat(found).numpy()
