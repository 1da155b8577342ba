"""One number with its proof: a row of results, and its one-line JSON form."""

from __future__ import annotations

import base64
import dataclasses
import json
import math
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import cached_property
from typing import Any

import numpy as np

from saebench.results.schema import SCHEMA_VERSION, migrate

STATUSES = ("ok", "error", "not_applicable")
ROLES = ("sae", "null", "baseline")
NUMBERS = ("value", "stderr", "ci_low", "ci_high")
_ASK_AGAIN = re.compile(r"latents unscored, not (scored|explained): (budget|timed out|failed)")


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


@dataclass(frozen=True, kw_only=True)
class Row:
    """A metric's value for one SAE and one slice, with everything the number depends on.

    A value that is undefined is None with a `reason`; it is never -1 or 0. Equality leaves `sums` out.

    Attributes:
        slice: Name of the slice, "" for a metric without slices; `slices_total` says how many make a whole.
        status: "ok", "error" or "not_applicable"; the last two carry a `reason`.
        n: Number of resampling units; `units` says of what ("documents", "latents", "items", "saes", "none").
        signature: Names everything the number depends on; it is also the cache key.
        role: "sae", or what the SAEs are held against: "null" or "baseline".
        order: Place of the SAE (0 the best) in orders that are known by construction, by name; see `validity`.
        source: Of a row that another tool computed: what its file says beyond a row, so that it can be written back.
        sums: Float64 arrays `[units]` (or `[units, ...]`) by field, final (after the metric's `finish`).
    """

    sae: str
    metric: str
    signature: str = ""
    schema: int = SCHEMA_VERSION
    sae_ref: str = ""
    sae_hash: str = ""
    architecture: str = ""
    d_sae: int | None = None
    model: str = ""
    model_hash: str = ""
    hook_in: str = ""
    hook_out: str = ""
    corpus: str = ""
    corpus_hash: str = ""
    version: int = 1
    slice: str = ""
    slices_total: int = 1
    status: str = "ok"
    reason: str = ""
    value: float | None = None
    stderr: float | None = None
    ci_low: float | None = None
    ci_high: float | None = None
    n: int | None = None
    tokens: int | None = None
    units: str = "none"
    unit: str = ""
    better: str = "none"
    bounds: tuple[float | None, float | None] = (None, None)
    settings: dict[str, Any] = field(default_factory=dict)
    suite: str = ""
    seed: int | None = None
    dtype: str = ""
    context: int | None = None
    seconds: float | None = None
    role: str = "sae"
    order: dict[str, int] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    created: str = field(default_factory=_now)
    versions: dict[str, str] = field(default_factory=dict)
    git_commit: str | None = None
    git_dirty: bool | None = None
    source: dict[str, Any] = field(default_factory=dict)
    sums: dict[str, np.ndarray] | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        if self.status not in STATUSES:
            raise ValueError(f"status {self.status!r} is none of {', '.join(STATUSES)}")
        if self.role not in ROLES:
            raise ValueError(f"role {self.role!r} is none of {', '.join(ROLES)}")
        for name in NUMBERS:
            number = getattr(self, name)
            if number is None:
                continue
            number = float(number)
            if name == "value" and not math.isfinite(number) and not self.reason:
                object.__setattr__(self, "reason", f"undefined: the value is {number}")
            object.__setattr__(self, name, number if math.isfinite(number) else None)
        low, high = self.bounds
        object.__setattr__(self, "bounds", (low, high))

    @property
    def key(self) -> tuple[str, str]:
        """What makes two rows the same measurement: the signature and the slice."""
        if self.signature:
            return self.signature, self.slice
        parts = (self.sae, self.model, self.hook_out, self.corpus, self.metric, str(self.version))
        return "|".join(parts), self.slice

    @cached_property
    def settings_text(self) -> str:
        """The settings as JSON, the same for the same settings."""
        return json.dumps(plain(self.settings), sort_keys=True) if self.settings else "{}"

    @property
    def unanswered(self) -> bool:
        """Whether a judge left something unanswered that it may answer when it is asked again."""
        return any(_ASK_AGAIN.search(warning) for warning in self.warnings)

    def without_sums(self) -> Row:
        """The row without its per-unit sums: short enough to keep in git."""
        return dataclasses.replace(self, sums=None)

    def to_json(self) -> str:
        """The row as one line of strict JSON; NaN and infinities become null."""
        record = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        record["sums"] = None if self.sums is None else {k: encode_array(v) for k, v in self.sums.items()}
        return json.dumps(plain(record), ensure_ascii=False, allow_nan=False, separators=(",", ":"))

    @classmethod
    def from_json(cls, line: str) -> Row:
        """The row of one line.

        Raises:
            ValueError: The line is not a whole row: cut, not JSON, or without `sae` and `metric`.
            UserError: The row was written by a later version of saebench.
        """
        record = json.loads(line)
        if not isinstance(record, dict) or "sae" not in record or "metric" not in record:
            raise ValueError("not a row of results: it has no 'sae' and 'metric'")
        record = {"created": "", **migrate(record)}
        stored = record.get("sums")
        if stored is not None and not isinstance(stored, dict):
            raise ValueError("not a row of results: its sums are not fields by name")
        record["sums"] = None if stored is None else {k: decode_array(v) for k, v in stored.items()}
        try:
            return cls(**{k: v for k, v in record.items() if k in cls.__dataclass_fields__})
        except TypeError as error:
            raise ValueError(f"not a row of results: {error}") from error


def encode_array(array: Any) -> dict[str, Any]:
    """Shape and base64 of the little-endian float64 bytes: bit-exact, NaN and -0.0 included.

    Where it saves a quarter or more the bytes are kept deflated (`z8`), all first bytes of the numbers before all
    second ones: counts become a tenth as long.
    """
    values = np.asarray(array, dtype="<f8")
    plain_bytes = values.tobytes()
    planes = np.frombuffer(plain_bytes, np.uint8).reshape(-1, 8).T.tobytes()
    packed = zlib.compress(planes, 6)
    kind, kept = ("z8", packed) if len(packed) < 0.75 * len(plain_bytes) else ("f8", plain_bytes)
    return {"shape": list(values.shape), kind: base64.b64encode(kept).decode("ascii")}


def decode_array(stored: Any) -> np.ndarray:
    """The float64 array of `encode_array`; a plain list of numbers is read as well.

    Raises:
        ValueError: The bytes do not fill the shape.
    """
    if not isinstance(stored, Mapping):
        return np.asarray(stored, dtype=np.float64)
    try:
        if "z8" in stored:
            size = 8 * math.prod(stored["shape"])
            planes = zlib.decompressobj().decompress(base64.b64decode(stored["z8"], validate=True), size + 1)
            if len(planes) != size:
                raise ValueError(f"sums are damaged: {len(planes)} bytes do not fill the shape {stored['shape']}")
            data = np.frombuffer(planes, np.uint8).reshape(8, -1).T.tobytes()
        else:
            data = base64.b64decode(stored["f8"], validate=True)
        return np.frombuffer(data, dtype="<f8").reshape(stored["shape"]).astype(np.float64)
    except (KeyError, TypeError, zlib.error) as error:
        raise ValueError(f"sums are damaged: {error!r}") from error


def plain(value: Any) -> Any:
    """The value in JSON's own types, with null for numbers that are not finite."""
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (set, frozenset)):
        return sorted(plain(v) for v in value)
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, (np.generic, np.ndarray)):
        return plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, (str, int, bool)):
        return value
    return str(value)
