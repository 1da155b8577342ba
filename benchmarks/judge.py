"""Calls to a judge at a time, against what the endpoint's latency allows.

    python -m benchmarks.judge [--latents 1001] [--latency 0.2] [--concurrency 64] [--out FILE.md]

A server on this machine, in a process of its own, answers every call after a fixed latency. Each latent is explained
and scored, two calls, with contexts of the usual size. The floor is calls x latency / concurrency, which no client can
beat; beside it the official client alone, asked as often with messages as long and nothing kept. Replies go through
the cache on disk and the transcript, as in a run. The client is busy all the while: on a machine whose cores are taken,
both rows are slow.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import random
import re
import sys
import tempfile
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from saebench.judges import prompts
from saebench.judges.endpoint import Endpoint
from saebench.judges.openai_judge import OpenAIJudge
from saebench.judges.protocol import Answers, Context, ExplainTask, Explanation, ScoreTask
from tests.judges.server import JudgeServer, Request

WORDS = [a + b + c for a in ("ba", "ke", "mi", "to") for b in ("n", "r", "s") for c in ("a", "el", "on", "ing")]
BEST = 1.3
"""What the ratio to the floor may be at most."""


@dataclass(frozen=True)
class Timing:
    """Seconds on the wall and on the processor, and the answers that were usable."""

    wall: float
    processor: float
    answered: int


def main() -> None:
    """Time both and print the ratios as Markdown."""
    options = _options()
    here, there = multiprocessing.Pipe()
    server = multiprocessing.get_context("fork").Process(target=_serve, args=(there, options.latency), daemon=True)
    server.start()
    url = here.recv()
    explain, score = _tasks(options.latents)
    with tempfile.TemporaryDirectory() as folder:
        judge = OpenAIJudge(
            "judge",
            base_url=url,
            concurrency=options.concurrency,
            cache=Path(folder) / "judge.sqlite",
            transcript=Path(folder) / "judge.jsonl",
        )
        judge.explain(explain[:1])
        ours = _timed_judge(judge, explain[1:], score[1:])
    alone = _timed_client(url, 2 * (options.latents - 1), options.concurrency)
    here.send("end")
    text = _table(options, ours, alone)
    sys.stdout.write(text)
    if options.out:
        Path(options.out).write_text(text, encoding="utf-8")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--latents", type=int, default=1001, help="one of them to warm up")
    parser.add_argument("--latency", type=float, default=0.2, help="seconds before every answer")
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--out")
    return parser.parse_args()


def _serve(pipe: Connection, latency: float) -> None:
    with JudgeServer(_brain, latency=latency) as server:
        pipe.send(server.url)
        pipe.recv()


def _brain(request: Request) -> str:
    text = request.body["messages"][0]["content"]
    if "in one sentence" in text:
        return json.dumps({"explanation": "words that end as this one does"})
    numbers = re.findall(r"^\[(\d+)\]", text, flags=re.MULTILINE)
    return json.dumps({"answers": [{"context": int(n), "answer": True, "probability": 0.9} for n in numbers]})


def _tasks(latents: int) -> tuple[list[ExplainTask], list[ScoreTask]]:
    """Ten contexts to explain and twenty to score, of 32 tokens."""
    draw = random.Random(0)

    def context(fires: bool) -> Context:
        tokens = tuple(" " + draw.choice(WORDS) for _ in range(32))
        return Context(tokens, tuple(float(fires and place == 20) for place in range(32)), 0, "top")

    explain = [ExplainTask(n, tuple(context(True) for _ in range(10))) for n in range(latents)]
    said = Explanation("words that end as this one does")
    score = [ScoreTask("detection", n, said, tuple(context(i < 10) for i in range(20))) for n in range(latents)]
    return explain, score


def _timed_judge(judge: OpenAIJudge, explain: list[ExplainTask], score: list[ScoreTask]) -> Timing:
    wall, processor = time.perf_counter(), time.process_time()
    answers = [*judge.explain(explain), *judge.score(score)]
    usable = sum(isinstance(answer, (Explanation, Answers)) for answer in answers)
    return Timing(time.perf_counter() - wall, time.process_time() - processor, usable)


def _timed_client(url: str, calls: int, concurrency: int) -> Timing:
    explain, score = _tasks(2)
    asks = [prompts.PlainPrompt().explain(explain[0]), prompts.PlainPrompt().score(score[0], range(20))]

    async def worker(queue: list[int]) -> None:
        while queue:
            ask = asks[queue.pop() % 2]
            await client.chat.completions.create(model="judge", messages=list(ask.messages), max_tokens=ask.max_tokens)  # pyright: ignore[reportArgumentType, reportCallIssue]

    async def everything() -> None:
        queue = list(range(calls))
        await asyncio.gather(*(worker(queue) for _ in range(concurrency)))

    client = Endpoint.found(url).client(60.0)
    wall, processor = time.perf_counter(), time.process_time()
    asyncio.run(everything())
    return Timing(time.perf_counter() - wall, time.process_time() - processor, calls)


def _table(options: argparse.Namespace, ours: Timing, alone: Timing) -> str:
    calls = 2 * (options.latents - 1)
    floor = calls * options.latency / options.concurrency
    lines = [
        f"{calls} calls of {1000 * options.latency:.0f} ms, {options.concurrency} at a time: floor {floor:.2f} s.\n",
        "| | seconds | to the floor | processor, ms a call | answered |",
        "|---|---|---|---|---|",
    ]
    for name, timing in (("judge", ours), ("official client alone", alone)):
        busy = 1000 * timing.processor / calls
        lines.append(f"| {name} | {timing.wall:.2f} | {timing.wall / floor:.2f} | {busy:.2f} | {timing.answered} |")
    verdict = "within" if ours.wall <= BEST * floor else "above"
    return "\n".join([*lines, "", f"The judge is {verdict} {BEST} times the floor."]) + "\n"


if __name__ == "__main__":
    main()
