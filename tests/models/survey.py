"""What can be read and changed in each family of transformers, tried on a tiny model of each.

`python -m tests.models.survey [FAMILY ...]` prints it; `--write docs/models.md` puts the tables into the page.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import Any, NamedTuple

import torch
import transformers as hf
from torch import Tensor

from saebench.errors import UserError
from saebench.models import Run, Subject, load_model
from saebench.models import sites as at
from saebench.models.surgery import Point
from tests.models.families import VOCABULARY, edited
from tests.models.tiny import FAMILIES, tiny

TOLERANCE = 2e-5
NORMALIZED = (at.ATTN_NORMALIZED, at.NORMALIZED)


class Finding(NamedTuple):
    """What came out for one family.

    Attributes:
        family: Its `model_type`.
        missing: By kind of hook, the layers that lack it and why.
        refused: Why the whole model is refused, in our words; empty where it is not.
        unread: Why there was no tiny model to try.
        faults: What is wrong: values that differ from an independent computation.
        layers: Number of blocks.
    """

    family: str
    missing: dict[str, tuple[list[int], str]] = {}
    refused: str = ""
    unread: str = ""
    faults: list[str] = []
    layers: int = 0


def survey(family: str) -> Finding:
    """Try one family."""
    try:
        model = tiny(family)
    except Exception as error:
        return Finding(family, unread=f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")
    try:
        return examined(family, model)
    except Exception as error:
        return Finding(family, faults=[f"{type(error).__name__}: {str(error).splitlines()[0]}"])


def examined(family: str, model: Any) -> Finding:
    """Compare every hook of a model with independent computations.

    Activations with `hidden_states` and with sums of each other, up to a constant on a branch; resuming with the
    plain logits, bit for bit, and with those of a plain forward that a hand-written torch hook edits.
    """
    tokens = torch.randint(3, VOCABULARY, (2, 9), generator=torch.Generator().manual_seed(1))
    try:
        subject = load_model(model)
        run = subject.forward(tokens, subject.sites())
        missing = _missing(subject)
    except UserError as error:
        return Finding(family, refused=str(error))
    with torch.no_grad():
        plain = model(input_ids=tokens, use_cache=False, output_hidden_states=True)
    faults = [*_wrong_values(subject, run, plain), *_wrong_sums(run, subject.n_layers)]
    for hook in subject.sites():
        faults += _wrong_resumption(subject, run, hook)
    return Finding(family, missing, faults=faults, layers=subject.n_layers)


def _missing(subject: Subject) -> dict[str, tuple[list[int], str]]:
    found: dict[str, tuple[list[int], str]] = {}
    for kind in at.KINDS:
        without = [i for i in range(subject.n_layers) if f"blocks.{i}.{kind}" not in subject.sites()]
        if without:
            try:
                subject.site(f"blocks.{without[0]}.{kind}")
            except UserError as error:
                found[kind] = (without, str(error).rpartition("): ")[2].rstrip("."))
    return found


def _wrong_values(subject: Subject, run: Run, plain: Any) -> list[str]:
    assert run.final is not None
    faults = [] if torch.equal(subject.logits(run.final), plain.logits) else ["logits"]
    states = getattr(plain, "hidden_states", None) or ()
    known = [i for i in range(subject.n_layers) if f"blocks.{i}.hook_resid_pre" in run.acts]
    for kind in ("hook_resid_pre", "hook_resid_post"):  # Mamba and RWKV give the states after the blocks
        pairs = [(run.acts[f"blocks.{i}.{kind}"], state) for i, state in zip(known, states, strict=False)]
        if all(close(act, state) for act, state in pairs[:-1]):
            return faults
    return [*faults, "residual stream"]


def _wrong_sums(run: Run, layers: int) -> list[str]:
    faults = []
    for layer in range(layers):
        acts = {kind: run.acts.get(f"blocks.{layer}.{kind}") for kind in at.KINDS}
        steps = [(at.RESID_PRE, at.ATTN_OUT, at.RESID_MID), (at.RESID_MID, at.MLP_OUT, at.RESID_POST)]
        for before, branch, after in steps:
            start, part, end = acts[before], acts[branch], acts[after]
            if start is not None and part is not None and end is not None:
                factor = ((end - start) * part).sum() / part.square().sum()
                faults += [] if close(start + factor * part, end) else [f"{branch} of layer {layer}"]
        for kind in NORMALIZED:
            normed = acts[kind]
            if normed is not None and not 0.5 < float(normed.square().mean()) < 1.01:  # less than 1 by its epsilon
                faults.append(f"{kind} of layer {layer}")
        pre, attn, mlp, post = (acts[k] for k in (at.RESID_PRE, at.ATTN_OUT, at.MLP_OUT, at.RESID_POST))
        if acts[at.RESID_MID] is None and pre is not None and attn is not None and mlp is not None and post is not None:
            faults += [] if close(pre + attn + mlp, post) else [f"branches of layer {layer}"]
    return faults


def _wrong_resumption(subject: Subject, run: Run, hook: str) -> list[str]:
    try:
        again = subject.resume(run, hook, run.acts[hook])
    except UserError as error:
        return [f"{hook}: {error}"]
    value = edited(run.acts[hook])
    got = subject.logits(subject.resume(run, hook, value))
    site = subject.site(hook)
    faults = [] if torch.equal(again, run.final) else [f"{hook} resumed with its own value"]
    if site.kind not in (at.RESID_MID, *NORMALIZED) and not close(got, _by_hand(subject, run.tokens, site, value)):
        faults.append(f"{hook} edited")
    return faults


def _by_hand(subject: Any, tokens: Tensor, site: at.Site, value: Tensor) -> Tensor:
    """Logits of the whole model, a plain torch hook putting the value in its place."""
    point: Point = subject._point(site.kind, site.layer)
    module = subject.model.get_submodule(point.path)

    def after(_: Any, args: Any, output: Any) -> Any:
        if isinstance(output, (tuple, list)):
            return type(output)([value.reshape(output[0].shape), *output[1:]])
        return value.reshape(output.shape)

    def before(_: Any, args: Any, kwargs: Any) -> Any:
        if args:
            return (value.reshape(args[0].shape), *args[1:]), kwargs
        name = "hidden_states" if "hidden_states" in kwargs else next(iter(kwargs))
        return args, {**kwargs, name: value.reshape(kwargs[name].shape)}

    if point.side == "out":
        handle = module.register_forward_hook(after)
    else:
        handle = module.register_forward_pre_hook(before, with_kwargs=True)
    try:
        with torch.no_grad():
            return subject.model(input_ids=tokens, use_cache=False).logits
    finally:
        handle.remove()


def close(a: Tensor, b: Tensor, tolerance: float = TOLERANCE) -> bool:
    """Equal up to rounding of sums taken in another order."""
    return a.shape == b.shape and float((a - b).abs().max()) <= tolerance * (1 + float(b.abs().max()))


# the page


def page(findings: list[Finding]) -> str:
    """Markdown: families with every hook, those that lack some, those that are refused, those not tried."""
    fine = [f for f in findings if not (f.refused or f.unread or f.faults)]
    lines = ["Every hook: " + ", ".join(f"`{f.family}`" for f in fine if not f.missing) + ".", ""]
    lines += ["| families | lack | why |", "|---|---|---|"]
    alike: dict[str, list[str]] = {}
    for found in fine:
        for reason in dict.fromkeys(why for _, why in found.missing.values()):
            kinds = [k for k, (_, why) in found.missing.items() if why == reason]
            some = any(len(found.missing[k][0]) < found.layers for k in kinds)
            names = "every hook" if len(kinds) == len(at.KINDS) else ", ".join(f"`{k}`" for k in kinds)
            alike.setdefault(f"{names}{' in some layers' if some else ''} | {reason}", []).append(f"`{found.family}`")
    lines += [f"| {', '.join(families)} | {what} |" for what, families in alike.items()]
    lines += ["", "| family | what is said |", "|---|---|"]
    for found in findings:
        said = found.refused or (found.faults[0] if found.faults else "")
        if said:
            said = re.sub(r"^(\S+) \(\1\)", r"\1", said).replace("|", "\\|")
            lines.append(f"| `{found.family}` | {said} |")
    untried = [f for f in findings if f.unread]
    if untried:
        lines += [
            "",
            "Not tried, as no tiny model of them could be made: " + ", ".join(f"`{f.family}`" for f in untried) + ".",
        ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Try families and print, or write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("families", nargs="*", metavar="FAMILY")
    parser.add_argument("--write", type=Path)
    args = parser.parse_args()
    hf.logging.set_verbosity_error()
    torch.set_num_threads(1)
    findings = []
    for family in args.families or sorted(FAMILIES):
        findings.append(survey(family))
        sys.stderr.write(f"{findings[-1]}\n")
    if args.write:
        marks = "<!-- families -->\n", "<!-- end of families -->"
        before, _, rest = args.write.read_text(encoding="utf-8").partition(marks[0])
        after = rest.partition(marks[1])[2]
        args.write.write_text(before + marks[0] + page(findings) + marks[1] + after, encoding="utf-8")
    else:
        sys.stdout.write(page(findings))


if __name__ == "__main__":
    main()
