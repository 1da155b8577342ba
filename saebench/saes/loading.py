"""One door for every SAE: references, paths and objects become coders with names, hooks and checks."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import torch

from saebench.devices import default_device, host_of, resolve_device, resolve_dtype
from saebench.errors import UserError, unknown
from saebench.saes.coder import Coder
from saebench.saes.layered import Layered
from saebench.saes.protocol import SparseCoder
from saebench.saes.recipes import DERIVED, Recipe, parse

SCHEMES = ("world", "saelens", "hf", "baseline", "null", "prefix", "topk", "at")
"""What may stand before the colon of a reference."""

_GENERIC = ("sae_weights", "ae", "sae", "params", "final", "pruned", "weights", "model", "saebench")
"""Names of files that are the same for every SAE."""

_SAYS_LITTLE = re.compile(r"average_l0_\d+|trainer_\d+|width_\w+|canonical")
"""Names of folders that recur below others."""


def load_sae(
    ref: Any,
    *,
    hook: str | None = None,
    device: str | torch.device = "auto",
    dtype: torch.dtype | str | None = None,
    offline: bool = False,
    name: str | None = None,
    seed: int = 0,
) -> Any:
    """Load a SAE, check it, and say where it belongs.

    Args:
        ref: `world:NAME`, a local file or directory, `saelens:RELEASE/ID`,
            `hf:OWNER/REPO[/PATH][@REV]`, `baseline:identity`, `baseline:pca[-K]`, `null:random[-K]`,
            `null:untrained@REF`, `null:shuffled@REF`, `prefix:M@REF` (the first M latents of a
            Matryoshka SAE), `topk:K@REF` (a top-k SAE at another k), `at:HOOK@REF` (one hook of several), or an object
            with encode and decode.
        hook: Hook it reads and reconstructs, `IN -> OUT` for a transcoder; overrides what it declares.
        device: `auto` is CUDA where there is one, else the CPU.
        dtype: Precision of its products, single if None.
        offline: Never use the network.
        name: Label on rows and boards, the reference's last part if None.
        seed: Seed of a null that is drawn.

    Returns:
        A `SparseCoder`; a `Recipe`, which has `fit(activations)`, for what is fitted to activations. A checkpoint that
        is scored at several hooks gives the coder at `hook`; `resolve`, and a run, give one at each.

    Raises:
        UserError: Nothing there, not readable, damaged, unknown, without a hook, or scored at several and none named.
    """
    opened = _open(ref, hook=hook, offline=offline, name=name, seed=seed)
    return _placed(opened, ref, hook=hook, device=device, dtype=dtype, name=name)


def _open(ref: Any, *, hook: str | None, offline: bool, name: str | None, seed: int) -> Any:
    """What a reference stands for, labelled: a coder, a recipe, or one for each of several hooks."""
    if isinstance(ref, Recipe):
        return dataclasses.replace(ref, name=name or ref.name, hook=hook or ref.hook)
    if not isinstance(ref, (str, Path)):
        coder = _load_object(ref, name)
        return _label(coder, name=name) if name else coder
    scheme, rest = _split(str(ref))
    if scheme in ("baseline", "null") and rest.partition("@")[0] not in DERIVED:
        return parse(str(ref), hook=hook or "", name=name, seed=seed)
    coder = _load_reference(scheme, rest, str(ref), hook=hook, offline=offline, seed=seed)
    own = coder.name if scheme in ("at", "prefix", "topk") else _short(scheme, rest)
    return _label(coder, ref=str(ref), name=name or own)


def _placed(
    opened: Any, ref: Any, *, hook: str | None, device: str | torch.device, dtype: Any, name: str | None = None
) -> Any:
    """The coder of what was opened, at its hook, on a device and in a dtype."""
    if isinstance(opened, Recipe):
        return opened
    where = resolve_device(device) or host_of(default_device())
    precision = (None if dtype is None else resolve_dtype(dtype)) or torch.float32
    if isinstance(opened, Layered):
        coder: Any = opened.at(hook)
        coder = _label(coder, name=name) if name else coder
    else:
        coder = _hooked(opened, hook)
    if not isinstance(ref, (str, Path)):  # an object stays as it is unless told otherwise
        return coder.to(device=None if str(device) == "auto" else where, dtype=precision if dtype else None)
    return coder.to(device=where, dtype=precision)


def load_each(ref: Any, **options: Any) -> list[Any]:
    """As `load_sae`, but one coder at each hook of a checkpoint that is scored at several."""
    return list(_each(ref, **options)[1])


def load_first(ref: Any, **options: Any) -> tuple[Any, tuple[str, ...]]:
    """The first coder of `load_each`, the others not made, and the hooks of a checkpoint that is scored at several."""
    hooks, coders = _each(ref, **options)
    return next(coders), hooks


def _each(ref: Any, **options: Any) -> tuple[tuple[str, ...], Iterator[Any]]:
    how = {"hook": None, "device": "auto", "dtype": None, "offline": False, "name": None, "seed": 0, **options}
    opened = _open(ref, **{key: how[key] for key in ("hook", "offline", "name", "seed")})
    moved = {key: how[key] for key in ("device", "dtype")}
    if not isinstance(opened, Layered):
        return (), iter([_placed(opened, ref, hook=how["hook"], **moved)])
    hooks = [how["hook"]] if how["hook"] else opened.hooks
    return opened.hooks, (_placed(opened, ref, hook=hook, **moved) for hook in hooks)


def resolve(refs: Any, **options: Any) -> list[Any]:
    """Coders (and recipes) of several references, under unique names.

    Args:
        refs: A reference or object, a sequence of them, or a mapping from names to them. A string
            `NAME=REF` gives a name too.
        **options: What `load_sae` takes.

    Raises:
        UserError: Two different SAEs of one name. The same SAE given twice is kept once.
    """
    if isinstance(refs, Mapping):
        wanted = [(name, ref) for name, ref in refs.items()]
    else:
        wanted = [_named(ref) for ref in (refs if _is_sequence(refs) else [refs])]
    found: dict[str, Any] = {}
    for name, ref in wanted:
        for coder in load_each(ref, **{**options, "name": name or options.get("name")}):
            other = found.get(coder.name)
            if other is None:
                found[coder.name] = coder
            elif _identity(other) != _identity(coder):
                raise UserError(
                    f"Two different SAEs are named {coder.name!r}: {other.ref} and {coder.ref}. "
                    "Give one of them another name: NAME=REF, or load_sae(ref, name=...)."
                )
    return list(found.values())


def _identity(coder: Any) -> Any:
    return coder if isinstance(coder, Recipe) else (coder.fingerprint, coder.hook_in, coder.hook_out)


def _is_sequence(refs: Any) -> bool:
    return isinstance(refs, (list, tuple, set, frozenset)) or (
        isinstance(refs, Iterable) and not isinstance(refs, (str, Path)) and not hasattr(refs, "encode")
    )


def _named(ref: Any) -> tuple[str | None, Any]:
    if isinstance(ref, str) and "=" in ref and not Path(ref).exists():
        name, _, rest = ref.partition("=")
        if name and rest and "/" not in name and ":" not in name:
            return name, rest
    return None, ref


def _split(ref: str) -> tuple[str, str]:
    scheme, colon, rest = ref.partition(":")
    if colon and not Path(ref).exists() and len(scheme) > 1:
        if scheme not in SCHEMES:
            raise unknown("kind of SAE reference", scheme, SCHEMES)
        return scheme, rest
    return "path", ref


def _load_reference(
    scheme: str, rest: str, ref: str, *, hook: str | None, offline: bool, seed: int
) -> SparseCoder | Layered:
    from saebench.saes import formats, hub, saelens

    if scheme == "path":
        return formats.load_path(Path(rest).expanduser())
    if scheme == "world":
        return _from_world(rest)
    if scheme == "hf":
        path, commit = hub.fetch(rest, offline=offline)
        coder = formats.load_path(path)
        coder.metadata["revision"] = commit
        return coder
    if scheme in ("prefix", "topk"):
        return _nested(scheme, rest, hook=hook, offline=offline)
    if scheme == "at":
        return _at(rest, offline=offline)
    if scheme == "saelens":
        release, slash, sae_id = rest.partition("/")
        if not slash or not sae_id:
            raise UserError(
                f"{ref}: write saelens:RELEASE/ID, such as saelens:gpt2-small-res-jb/blocks.8.hook_resid_pre."
            )
        return _load_object(saelens.from_release(release, sae_id, offline=offline), rest)
    return _derived(rest, hook=hook, offline=offline, seed=seed)


def _derived(rest: str, *, hook: str | None, offline: bool, seed: int) -> Coder:
    from saebench.saes import nulls

    kind, at, base = rest.partition("@")
    if not at or not base:
        raise UserError(f"null:{rest} needs the SAE it is made of: null:{kind}@REF.")
    coder = nulls.native(load_sae(base, hook=hook, device="cpu", offline=offline), kind)
    return (nulls.untrained if kind == "untrained" else nulls.shuffled)(coder, seed=seed)


def _nested(scheme: str, rest: str, *, hook: str | None, offline: bool) -> SparseCoder:
    from saebench.saes.prefixes import at_k, prefix

    size, at, base = rest.partition("@")
    if not at or not base or not size.isdecimal():
        what = "prefix:M@REF, the first M latents" if scheme == "prefix" else "topk:K@REF, the K largest codes"
        raise UserError(f"{scheme}:{rest}: write {what} of the SAE REF.")
    coder = load_sae(base, hook=hook, device="cpu", offline=offline)
    return cast("SparseCoder", prefix(coder, int(size)) if scheme == "prefix" else at_k(coder, int(size)))


def _at(rest: str, *, offline: bool) -> SparseCoder:
    place, at, base = rest.partition("@")
    if not at or not base or not place:
        raise UserError(f"at:{rest}: write at:HOOK@REF, what the SAE REF reconstructs at HOOK.")
    return load_sae(base, hook=place, device="cpu", offline=offline)


def _from_world(name: str) -> SparseCoder | Layered:
    """A shipped SAE, with what the world's index knows of it among its metadata."""
    from saebench.data.world import SAES_DIR, sae_index, sae_names
    from saebench.saes import formats

    known = list(sae_names())
    if name not in known:
        raise unknown("SAE of the world", name, known)
    coder = formats.load_path(Path(SAES_DIR) / name)
    for key, value in sae_index().get(name, {}).items():
        coder.metadata.setdefault(key, value)
    return coder


def _load_object(obj: Any, name: str | None) -> SparseCoder | Layered:
    from saebench.saes import probing, saelens

    if isinstance(obj, (Coder, SparseCoder, Layered)):
        return obj
    label = name or type(obj).__name__
    coder = saelens.from_object(obj, label)
    if coder is None:
        return probing.wrap(obj, name=label)
    return coder.replace(ref=f"object:{type(obj).__name__}", name=label)


def _hooked(coder: SparseCoder, hook: str | None) -> SparseCoder:
    """The coder at the hooks that were asked for, or at those it declares."""
    metadata = coder.metadata
    hook_in = coder.hook_in or metadata.get("hook_name") or ""
    hook_out = coder.hook_out or metadata.get("hook_name_out") or hook_in
    if hook:
        asked_in, arrow, asked_out = (part.strip() for part in hook.partition("->"))
        moved = hook_out if hook_out != hook_in and asked_in == hook_in else asked_in
        hook_in, hook_out = asked_in, asked_out if arrow else moved
    if not hook_in or not hook_out:
        raise UserError(
            f"SAE {coder.name!r} does not say which hook it belongs to. "
            "Pass it, such as hook='blocks.8.hook_resid_post' (or 'IN -> OUT' for a transcoder)."
        )
    if (hook_in, hook_out) == (coder.hook_in, coder.hook_out):
        return coder
    return _label(coder, hook_in=hook_in, hook_out=hook_out)


def _label(coder: Any, **labels: Any) -> Any:
    """The coder with other labels; a foreign one that is no dataclass is labelled in place."""
    if hasattr(coder, "replace"):
        return coder.replace(**labels)
    for key, value in labels.items():
        setattr(coder, key, value)
    return coder


def _short(scheme: str, rest: str) -> str:
    """A name from the path: the folder's, those above it where it says little, and the file's where it says more."""
    if scheme != "path":
        return rest
    path = Path(rest).expanduser().resolve()
    parts = []
    if path.is_file():
        stem = path.name.partition(".")[0]
        parts = [] if stem in _GENERIC else [stem]
        path = path.parent
    if path.name == "checkpoints":
        path = path.parent
    parts.insert(0, path.name)
    while _SAYS_LITTLE.fullmatch(path.name) and path.parent.name:
        path = path.parent
        parts.insert(0, path.name)
    return "-".join(parts)
