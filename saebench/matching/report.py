"""What `saebench match` prints, draws and writes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from saebench.errors import UserError
from saebench.matching.api import loaded, quietly
from saebench.matching.result import Agreement, Match


@dataclass(frozen=True)
class Report:
    """A matching with what its encoders say of it.

    Attributes:
        match: By the side that was asked for.
        agreement: Of the matchings by decoder and by encoder; None where a SAE has no encoder matrix.
        threshold: Cosine above which a pair is shared.
    """

    match: Match
    agreement: Agreement | None
    threshold: float

    @cached_property
    def facts(self) -> dict[str, Any]:
        """Everything but the latents, as plain data."""
        both = self.agreement
        return {
            **self.match.summary(),
            "threshold": self.threshold,
            "shared": self.match.shared(self.threshold),
            "same_partner": both.same if both else None,
            "shared_both": both.shared if both else None,
        }

    def text(self) -> str:
        """One fact a line."""
        m, facts = self.match, self.facts
        kind = "cosine" if m.signed else "absolute cosine"
        both = "there is no encoder to ask"
        if self.agreement:
            both = f"{self.agreement.same:.1%}; shared on both sides {self.agreement.shared:.1%}"
        curve = ", ".join(f"{share:.1%} above {t:g}" for t, share in m.curve().items())
        zero = f"; without a direction: {m.zero[0]} and {m.zero[1]}, at cosine 0" if any(m.zero) else ""
        lines = {
            "match": f"{m.names[0]} and {m.names[1]}, {m.side}, {kind}",
            "latents": f"{m.sizes[0]:,} and {m.sizes[1]:,}{zero}",
            "value": f"{m.value:.6f}",
            "null": f"{m.null:.6f} ± {m.chance.stderr:.6f} (random dictionaries of the same shapes)",
            "adjusted": f"{m.adjusted:.6f}",
            "gap": f"{m.gap:.1e} ({'exact solver' if m.method == 'dense' else 'certified'})",
            "coverage": f"{m.coverage:.1%}",
            "shared": f"{facts['shared']:.1%} above {self.threshold:g}",
            "curve": curve,
            "same partner by encoder and decoder": both,
            "mean max cosine": f"{m.mean_max_cosine:.6f} (several latents may choose the same)",
            "seconds": f"{m.seconds:.2f}",
        }
        return "\n".join([*(f"{name}: {value}" for name, value in lines.items()), *(f"note: {n}" for n in m.notes)])

    def write(self, folder: Path) -> list[Path]:
        """Write the table of latents, the figure and the facts; returns their paths.

        Raises:
            UserError: A file cannot be written.
        """
        from saebench.matching.figure import draw

        paths = [folder / name for name in ("latents.parquet", "match.png", "match.json")]
        self.match.to_parquet(paths[0])
        draw(self.match, paths[1])
        paths[2].write_text(json.dumps(self.facts, indent=2) + "\n", encoding="utf-8")
        return paths


def compared(a: str, b: str, *, signed: bool, side: str, threshold: float, device: str | None) -> Report:
    """Match two SAEs by the side asked for, and by decoder and encoder to see whether those agree.

    Raises:
        UserError: As `match`, or a threshold that is no cosine.
    """
    if not -1 <= threshold <= 1:
        raise UserError(f"--threshold {threshold:g} is no cosine: give a number from -1 to 1.")
    saes = loaded(a, device), loaded(b, device)
    found = {side: quietly(*saes, signed, side)}
    both = None
    if all(getattr(sae, name, None) is not None for sae in saes for name in ("W_enc", "W_dec")):
        for other in ("decoder", "encoder"):
            if other not in found:
                found[other] = quietly(*saes, signed, other)
        both = found["decoder"].agreement(found["encoder"], threshold)
    return Report(found[side], both, threshold)
