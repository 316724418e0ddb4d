"""Training steps of a recipe, taken by the trainer itself, as sides of a comparison."""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from benchmarks.sides import Side, run_side, serve

#: Keeps denormal numbers, as ``paddlevideo.utils.cpu`` reads it.
KEEP_DENORMALS = "PADDLEVIDEO_KEEP_DENORMALS"


def add_recipe(parser: argparse.ArgumentParser) -> None:
    """Adds the options of a recipe, and of turns in which its steps are taken."""
    from paddlevideo.utils.options import add_override, as_path_text
    from paddlevideo.utils.ranges import count

    parser.add_argument(
        "-c", "--config", type=as_path_text, required=True, help="a recipe, with its data"
    )
    add_override(parser)
    parser.add_argument("--steps", type=count, default=4, help="in a turn (default 4)")
    parser.add_argument("--rounds", type=count, default=5, help="turns of each side (default 5)")
    parser.add_argument("--threads", type=count, default=1, help="of each side (default 1)")


def recipe_side(
    options: argparse.Namespace,
    overrides: Sequence[str] = (),
    weights: Path | None = None,
    keep_denormals: bool = False,
) -> Side:
    """Starts a process that trains the recipe with further overrides, from ``weights`` if given.

    Its turns report ``milliseconds``, the CPU time of a step in all threads, and the ``losses``.
    """
    return Side(
        "benchmarks.recipe",
        "steps",
        options,
        override=[*options.override, *overrides],
        weights=weights,
        keep_denormals=keep_denormals,
        started_in=Path.cwd(),
    )


def serve_steps(options: argparse.Namespace) -> None:
    """Takes the steps of ``options.steps`` batches, the same ones in every turn."""
    os.environ[KEEP_DENORMALS] = str(int(options.keep_denormals))
    os.chdir(options.started_in)  # where the paths of the recipe start
    from paddlevideo.tasks.accumulation import in_windows

    with tempfile.TemporaryDirectory() as folder:
        weights = Path(options.weights) if options.weights else None
        overrides = [*options.override, f"num_threads={options.threads}"]
        trainer = quiet_trainer(options.config, overrides, Path(folder), weights)
        if weights is not None:
            load_moments(trainer, weights.with_suffix(".pdopt"))
        trainer.model.train()
        backward, losses = trainer.updater.backward, []

        def noted_backward(loss: Any) -> None:
            losses.append(loss)
            backward(loss)

        trainer.updater.backward = noted_backward
        windows = list(
            islice(in_windows(trainer.loader.epoch(0), trainer.sizes.window), options.steps)
        )

        def work() -> dict[str, Any]:
            losses.clear()
            start = time.process_time()
            for window in windows:
                trainer.train_step(window)
            seconds = time.process_time() - start
            return {
                "milliseconds": 1e3 * seconds / len(windows),
                "losses": [float(loss) for loss in losses],
            }

        serve(work)


def quiet_trainer(
    recipe: str, overrides: Sequence[str], folder: Path, weights: Path | None = None
) -> Any:
    """Returns the trainer of a recipe that shows no progress and saves nothing by itself."""
    import paddlevideo as pv
    from paddlevideo.config import import_parts
    from paddlevideo.tasks.setup import start_run
    from paddlevideo.tasks.train import Trainer

    import_parts()
    quiet = [f"log_interval={1 << 30}", "log_level=ERROR", "save_minutes=0", "save_steps=0"]
    start = [f"weights={weights}"] if weights else []
    config = pv.load_config(recipe, [*overrides, *quiet, *start])
    return Trainer(start_run(config, "train", folder=folder), None)


def load_moments(trainer: Any, path: Path) -> None:
    """Restores the optimizer's arrays beside weights; the schedule stays at its start."""
    from paddlevideo.safe_pickle import load_state
    from paddlevideo.solver.state import SCHEDULE_KEY, load_state_by_structured_name

    if path.is_file():
        saved = load_state(path)["optimizer"]
        arrays = {key: array for key, array in saved.items() if key != SCHEDULE_KEY}
        load_state_by_structured_name(trainer.updater.optimizer, trainer.model, arrays)


if __name__ == "__main__":
    run_side(steps=serve_steps)
