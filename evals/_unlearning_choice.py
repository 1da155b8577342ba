"""Which setting is chosen, as a function of sums over questions, so that intervals include the choice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from saebench.metric import Sums, Totals

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from saebench.inputs import QuestionRuns

    from ._unlearning_runs import Outcomes

ROUNDING = 1e-9


def curve(o: Outcomes, counted: Tensor) -> Sums:
    """Accuracy of each setting on the questions that count, as sums over questions."""
    n = counted.double()[:, None].expand(-1, len(o.settings))
    return Sums(right=o.right.T * n, n=n, slices=tuple(x.name for x in o.settings), notes=o.notes)


def halves(q: QuestionRuns, o: Outcomes, least: float) -> Sums:
    import torch

    held_out = torch.as_tensor(q.questions.held_out)
    choosing = sides(o, o.known & ~held_out, least, "choose_")
    return Sums(**choosing, **sides(o, o.known & held_out, least, "score_"), slices=grids(o), notes=o.notes)


def grids(o: Outcomes) -> tuple[str, ...]:
    """Slices of a score: settings in code units, and in units of each latent's maximum."""
    return tuple(f"m={'maximum' if relative else 'codes'}" for relative in sorted({x.relative for x in o.settings}))


def sides(o: Outcomes, counted: Tensor, least: float, prefix: str) -> dict[str, Any]:
    """Fields `[questions, grids]` of each setting by number, so that the choice is a function of sums.

    The shorter grid repeats its first setting, which changes no minimum.
    """
    import torch

    both = [[i for i, x in enumerate(o.settings) if x.relative == kind] for kind in (False, True)]
    both = [grid for grid in both if grid]
    forget, retain = ((counted & side).double()[:, None].expand(-1, len(both)) for side in (o.forget, ~o.forget))
    fields: dict[str, Any] = {
        f"{prefix}forget_n": forget,
        f"{prefix}retain_n": retain,
        f"{prefix}needed": least * retain,
    }
    for number in range(max(map(len, both))):
        right = torch.stack([o.right[grid[number if number < len(grid) else 0]] for grid in both], dim=1)
        fields[f"{prefix}forget_{number}"] = right * forget
        fields[f"{prefix}retain_{number}"] = right * retain
    return fields


def _all(s: Totals, name: str) -> np.ndarray:
    """The fields `name_0`, `name_1` ... in a last axis."""
    import numpy as np

    found = []
    while hasattr(s, f"{name}_{len(found)}"):
        found.append(np.asarray(getattr(s, f"{name}_{len(found)}"), np.float64))
    return np.stack(found, axis=-1)


def _count(s: Totals, name: str) -> np.ndarray:
    """A field that is the same for every setting, `[..., 1]`."""
    import numpy as np

    return np.asarray(getattr(s, name), np.float64)[..., None]


def accuracies(s: Totals, prefix: str) -> tuple[np.ndarray, np.ndarray]:
    """Forget accuracy of each setting, and whether it retains enough, `[..., settings]`; NaN without questions."""
    import numpy as np

    forget, retain = _all(s, f"{prefix}forget"), _all(s, f"{prefix}retain")
    accuracy = forget / _count(s, f"{prefix}forget_n")
    accuracy = np.where(_count(s, f"{prefix}retain_n") > 0, accuracy, np.nan)
    return accuracy, retain >= _count(s, f"{prefix}needed") - ROUNDING


def chosen(s: Totals, side: str) -> np.ndarray:
    """Accuracy on one half under the setting that the other half chooses; 1 where it chooses none.

    Of settings that differ by the rounding of sums alone the first is chosen.
    """
    import numpy as np

    forget, allowed = accuracies(s, "choose_")
    best = np.where(allowed, forget.round(9), np.inf).argmin(-1)[..., None]
    there = _all(s, f"score_{side}")
    accuracy = np.take_along_axis(there / _count(s, f"score_{side}_n"), best, -1)[..., 0]
    unasked = np.isnan(forget).any(-1) | np.isnan(accuracy)
    return np.where(unasked, np.nan, np.where(allowed.any(-1), accuracy, 1.0))
