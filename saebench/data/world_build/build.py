"""The stages of the build, each of which reads what the one before wrote."""

from __future__ import annotations

import json
import logging
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from saebench.data.world_build.sae_recipes import SaeRecipe

FORMAT = "%(asctime)s %(name)s %(message)s"


def build_lm(work: Path, out: Path, device: str = "cpu", **changes: int | None) -> None:
    """Train the model (or go on from the checkpoint under `work`) and export it."""
    from saebench.data.world_build.lm import Recipe, train
    from saebench.data.world_build.subject import export_model

    given: dict[str, Any] = {k: v for k, v in changes.items() if v is not None}
    compiled = device == "cpu"  # on a GPU such small steps wait for Python, not for the kernels
    export_model(train(Recipe(**given), work, device, compiled).cpu(), out / "model")


def _one_sae(recipe: SaeRecipe, work: Path, out: Path) -> dict[str, Any]:
    """Train, reload and measure one SAE; its line of the index. Runs in a process of its own."""
    import warnings

    from saebench.data.world_build.measure import measure, yardstick
    from saebench.data.world_build.saes import load_sae, train_sae
    from saebench.data.world_build.subject import HOOK, HOOK_MLP_IN, HOOK_MLP_OUT

    warnings.filterwarnings("ignore")
    (out / "logs").mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(out / "logs" / f"{recipe.name}.log", mode="w")
    handler.setFormatter(logging.Formatter(FORMAT))
    logger = logging.getLogger("saebench")
    logger.setLevel(logging.INFO)
    logger.handlers = [handler]
    folder = out / "saes" / recipe.name
    train_sae(recipe, work, folder)
    figures = measure(load_sae(folder), yardstick(out / "model"))
    logger.info("%s", figures)
    transcoder = recipe.architecture == "transcoder"
    return {
        "architecture": recipe.architecture,
        "level": recipe.level,
        "seed": recipe.seed,
        "steps": recipe.steps,
        "damage": recipe.damage,
        "parent": recipe.parent,
        "hook": HOOK_MLP_IN if transcoder else HOOK,
        "hook_out": HOOK_MLP_OUT if transcoder else HOOK,
        "measured": {k: round(v, 5) for k, v in figures.items()},
    }


def build_saes(work: Path, out: Path, steps: int | None, names: list[str], reuse: bool) -> None:
    """Train and measure every SAE (or those named), two at a time, one thread each; write the index."""
    from saebench.data.world_build.sae_recipes import known_order, recipes
    from saebench.data.world_build.saes import store_activations

    if not reuse:
        store_activations(out / "model", work)
    todo = [r for r in (recipes(steps) if steps else recipes()) if not names or r.name in names]
    path = out / "saes" / "index.json"
    index: dict[str, Any] = json.loads(path.read_text()) if path.exists() and names else {}
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        for of_parents in (True, False):
            batch = [r for r in todo if (r.damage in ("shuffled", "half-dead")) != of_parents]
            running = {r.name: pool.submit(_one_sae, r, work, out) for r in batch}
            for name, future in running.items():
                index[name] = future.result()
                logging.getLogger(__name__).info("%s %s", name, index[name]["measured"])
    for name, order in known_order(index).items():
        index[name]["order"] = order
    path.write_text(json.dumps(index, indent=1) + "\n")


def accept(out: Path) -> None:
    """Measure the exported model and write acceptance.json."""
    from saebench.data.world_build.accept import accept_model
    from saebench.data.world_build.subject import load_model

    figures = accept_model(load_model(out / "model"))
    (out / "acceptance.json").write_text(json.dumps(figures, indent=1) + "\n")
