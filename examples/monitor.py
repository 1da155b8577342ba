"""Train a small TopK SAE on the world's activations and watch it: python examples/monitor.py --steps 3000."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor, nn

import saebench as sb
from saebench.data.world import documents
from saebench.models import Subject

HOOK = "blocks.1.hook_resid_post"


class TopK(nn.Module):
    """A TopK SAE in a few lines; anything with encode and decode can be watched."""

    def __init__(self, d_in: int, d_sae: int, k: int) -> None:
        super().__init__()
        self.k = k
        self.b_dec = nn.Parameter(torch.zeros(d_in))
        self.W_dec = nn.Parameter(nn.functional.normalize(torch.randn(d_sae, d_in), dim=-1))
        self.W_enc = nn.Parameter(self.W_dec.detach().T.clone())

    def encode(self, x: Tensor) -> Tensor:
        """Codes `[..., d_sae]` of activations `[..., d_in]`."""
        values, places = ((x - self.b_dec) @ self.W_enc).relu().topk(self.k, dim=-1)
        return torch.zeros(*x.shape[:-1], len(self.W_dec)).scatter(-1, places, values)

    def decode(self, codes: Tensor) -> Tensor:
        """Activations `[..., d_in]` of codes `[..., d_sae]`."""
        return codes @ self.W_dec + self.b_dec


def activations(model: Subject, count: int, hook: str = HOOK) -> Tensor:
    """Activations of the world's documents at a hook, without padding and BOS, `[tokens, d_in]`."""
    tokenizer, parts = model.tokenizer, []
    texts = [document.text for document in documents(count, seed=2)]
    for start in range(0, count, 64):
        ids = [[model.bos_id, *tokenizer(text)["input_ids"][:127]] for text in texts[start : start + 64]]
        longest = max(map(len, ids))
        tokens = torch.tensor([row + [0] * (longest - len(row)) for row in ids])
        valid = torch.tensor([[0 < place < len(row) for place in range(longest)] for row in ids])
        with torch.no_grad():
            parts.append(model.forward(tokens, [hook], final=False).acts[hook][valid])
    return torch.cat(parts)


def train(sae: TopK, x: Tensor, steps: int, batch: int, monitor: sb.Monitor) -> int:
    """Train until the monitor sees no more improvement; the number of steps that were taken."""
    optimizer = torch.optim.Adam(sae.parameters(), lr=2e-3)
    for step in range(1, steps + 1):
        rows = x[torch.randint(len(x), (batch,))]
        loss = (rows - sae.decode(sae.encode(rows))).square().sum(-1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            sae.W_dec.div_(sae.W_dec.norm(dim=-1, keepdim=True))
        if monitor(step, sae) is not None:
            numbers = monitor.numbers(step)
            print(f"{step}: " + ", ".join(f"{name} {value:.4g}" for name, value in numbers.items()))  # noqa: T201
        if monitor.should_stop("explained_variance", patience=3, least=1e-3):
            return step
    return steps


def main() -> None:
    """Read the arguments, train and say what the last score was."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--every", type=int, default=500)
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--documents", type=int, default=4000)
    parser.add_argument("--tokens", type=int, default=10_000, help="Tokens that each score is taken on.")
    parser.add_argument("--out", type=Path, default=Path("runs/monitored"))
    options = parser.parse_args()
    torch.manual_seed(0)
    model = sb.load_model("world")
    text = {"text": {"source": "world", "tokens": options.tokens, "context": 128}}
    suite = {"extends": "quick", "name": "quick", "metric": [], "data": text}
    monitor = sb.Monitor(model, suite=suite, every=options.every, hook=HOOK, out=options.out, name="topk")
    x = activations(model, options.documents)
    sae = TopK(x.shape[1], 1024, 20)
    with torch.no_grad():
        sae.b_dec.copy_(x.mean(0))
    steps = train(sae, x, options.steps, options.batch, monitor)
    print(f"{steps} steps on {len(x):,} tokens; rows: {options.out}/rows.jsonl")  # noqa: T201


if __name__ == "__main__":
    main()
