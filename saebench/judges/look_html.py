"""Latents as pages of HTML that need nothing else: everything escaped, in light and dark."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from html import escape
from pathlib import Path

from saebench.judges.judged import Judged
from saebench.judges.look import Look, verdict, wrong_first
from saebench.judges.marks import seen
from saebench.judges.protocol import Context

_STYLE = """
:root {
  color-scheme: light dark; --ink: #1d2430; --soft: #667085; --page: #ffffff; --card: #f6f7f9; --line: #dfe3e8;
  --hot: 235, 120, 20; --cold: 45, 110, 220; --good: #18794e; --bad: #c4321c;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ink: #e6e9ee; --soft: #98a2b3; --page: #14171c; --card: #1d2128; --line: #323842;
    --hot: 245, 140, 50; --cold: 100, 150, 250; --good: #4cc38a; --bad: #ff8266;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; max-width: 62rem; padding: 1.5rem 1rem 4rem;
  background: var(--page); color: var(--ink); font: 15px/1.5 system-ui, sans-serif;
}
h1 { font-size: 1.35rem; margin: 0 0 .25rem; }
h2 { font-size: 1.1rem; margin: 0; display: inline; }
h3 { font-size: .95rem; margin: 1.2rem 0 .4rem; }
p { margin: .3rem 0; }
a { color: inherit; }
ul { margin: .3rem 0; padding-left: 1.2rem; }
.soft { color: var(--soft); }
.latent { border: 1px solid var(--line); border-radius: .6rem; padding: .8rem 1rem; margin: 1rem 0; }
.latent > summary { cursor: pointer; }
.told { font-size: 1.02rem; }
.number { font-variant-numeric: tabular-nums; }
.context {
  background: var(--card); border-left: 3px solid var(--line); border-radius: .3rem;
  padding: .35rem .6rem; margin: .35rem 0;
}
.context.right { border-left-color: var(--good); }
.context.wrong { border-left-color: var(--bad); }
.context .soft { font-size: .8rem; }
.context.wrong b { color: var(--bad); }
.context.right b { color: var(--good); }
.text { white-space: pre-wrap; overflow-wrap: anywhere; font: 13.5px/1.65 ui-monospace, monospace; }
.text span { border-radius: .2rem; padding: .05rem 0; }
.hot { background: rgba(var(--hot), var(--a)); }
.cold { background: rgba(var(--cold), var(--a)); }
.mark { outline: 1.5px dashed var(--ink); }
"""


def page(title: str, looks: Sequence[Look], *, lead: str = "") -> str:
    """A page of some latents, those with the lowest score first."""
    ordered = sorted(looks, key=lambda look: _order(look.detection))
    body = "\n".join(_latent(look, unfolded=len(looks) == 1) for look in ordered)
    return _document(title, f"<h1>{escape(title)}</h1>\n<p class='soft'>{escape(lead)}</p>\n{body}")


def write_run(folder: Path, sae: str, seed: int, looks: Sequence[Look], drawn: int) -> Path:
    """Write the page of a SAE, as drawn by a seed, into `autointerp/` of a run's folder.

    Beside it `autointerp.html` lists all there are.
    """
    place = folder / "autointerp"
    place.mkdir(parents=True, exist_ok=True)
    lead = f"{len(looks)} of the {drawn} latents drawn, evenly from the lowest to the highest score."
    text = page(f"Latents of {sae}, seed {seed}", looks, lead=lead)
    (place / f"{file_name(sae)}-seed{seed}.html").write_text(text, encoding="utf-8")
    names = [escape(file.stem) for file in sorted(place.glob("*.html"))]
    links = [f"<li><a href='autointerp/{name}.html'>{name}</a></li>" for name in names]
    index = folder / "autointerp.html"
    body = f"<h1>Latents and their explanations</h1>\n<ul>{''.join(links)}</ul>"
    index.write_text(_document("Latents and their explanations", body), encoding="utf-8")
    return index


def file_name(sae: str) -> str:
    """The name of a SAE as one of a file: letters, digits, dashes and underscores alone.

    A name that is changed by that ends in four digits of its hash, so that no two fall together.
    """
    plain = re.sub(r"[^A-Za-z0-9_-]+", "-", sae).strip("-")
    return plain if plain == sae else f"{plain or 'sae'}-{hashlib.sha256(sae.encode()).hexdigest()[:4]}"


def _order(judged: Judged) -> float:
    score = judged.balanced_accuracy
    return 2.0 if score is None else score


def _document(title: str, body: str) -> str:
    return (
        "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>\n<body>\n{body}\n</body></html>\n"
    )


def _latent(look: Look, *, unfolded: bool) -> str:
    one, top = look.detection, look.strongest
    head = (
        f"<h2>latent {one.latent}</h2> <span class='soft number'>{escape('; '.join(look.scores))}; fires on "
        f"{one.density:.4%} of tokens; judge {escape(look.judge)}</span>\n<p class='told'>{escape(look.sentence)}</p>"
    )
    parts = []
    if look.patterns:
        parts.append("<ul class='soft'>" + "".join(f"<li>{escape(line)}</li>" for line in look.patterns[:12]) + "</ul>")
    for judged in (one, look.fuzzing):
        if judged is not None and judged.contexts:
            right = sum(r is True for r in judged.right)
            title = f"{judged.kind}: {right} of {len(judged.contexts)} right, wrong ones first"
            parts += [f"<h3>{escape(title)}</h3>", *(_judged(judged, place, top) for place in wrong_first(judged))]
    if look.examples:
        parts.append("<h3>shown to the judge, which explained it from these</h3>")
        parts += [_example(context, top) for context in look.examples]
    opened = " open" if unfolded else ""
    return f"<details class='latent'{opened}><summary>{head}</summary>\n" + "\n".join(parts) + "\n</details>"


def _judged(judged: Judged, place: int, top: float) -> str:
    state = {True: "right", False: "wrong", None: ""}[judged.right[place]]
    sign, rest = verdict(judged, place).split("  ", 1)
    marks = judged.marked[place] if judged.marked else frozenset()
    context = judged.contexts[place]
    line = f"<b>{escape(sign.strip())}</b> {escape(' '.join(rest.split()))}, document {context.document}"
    return f"<div class='context {state}'><span class='soft'>{line}</span>{_tokens(context, top, marks)}</div>"


def _example(context: Context, top: float) -> str:
    line = f"<span class='soft'>{escape(context.stratum)}, document {context.document}</span>"
    return f"<div class='context'>{line}{_tokens(context, top)}</div>"


def _tokens(context: Context, top: float, marks: frozenset[int] = frozenset()) -> str:
    """The window with each firing token in a colour as strong as its activation."""
    parts = []
    for token, places, activation in seen(context):
        lead = token[: len(token) - len(token.lstrip(" "))]
        body = escape(token[len(lead) :]).replace("\n", "\u21b5\n")
        classes = (["hot" if activation > 0 else "cold"] if activation else []) + (
            ["mark"] if marks & {*places} else []
        )
        if classes:
            share = 0.15 + 0.75 * min(1.0, abs(activation) / top) if activation and top else 0.0
            style = f" style='--a:{share:.2f}' title='{activation:.4g}'" if activation else ""
            body = f"<span class='{' '.join(classes)}'{style}>{body}</span>"
        parts.append(lead + body)
    return f"<div class='text'>{''.join(parts)}</div>"
