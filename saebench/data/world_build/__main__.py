"""Command line of the build: `lm` and `saes` train, `accept` measures the model, `describe` writes the README."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path


def main() -> None:
    """Run one stage of the build."""
    from saebench.data.world import WORLD_DIR
    from saebench.data.world_build import build
    from saebench.data.world_build.describe import describe

    parser = argparse.ArgumentParser(prog="python -m saebench.data.world_build", description=__doc__)
    parser.add_argument("stage", choices=["lm", "saes", "accept", "describe"])
    parser.add_argument("--work", type=Path, help="folder for checkpoints and activations")
    parser.add_argument("--out", type=Path, default=WORLD_DIR, help="where the artefacts go")
    parser.add_argument("--steps", type=int, help="training steps, if not the recipe's")
    parser.add_argument("--threads", type=int, help="of the model's training")
    parser.add_argument("--device", default="cpu", help="of the model's training")
    parser.add_argument("--reuse", action="store_true", help="take the activations that --work holds already")
    parser.add_argument("--only", nargs="*", default=[], help="names of SAEs to make, if not all")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format=build.FORMAT)
    if args.stage == "accept":
        return build.accept(args.out)
    if args.stage == "describe":
        return describe(args.out)
    if args.work is None:
        parser.error("--work is needed to train")
    args.work.mkdir(parents=True, exist_ok=True)
    if args.stage == "lm":
        build.build_lm(args.work, args.out, args.device, steps=args.steps, threads=args.threads)
    else:
        build.build_saes(args.work, args.out, args.steps, args.only, args.reuse)


if __name__ == "__main__":
    main()
