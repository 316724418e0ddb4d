"""Stopping and resuming in mixed precision, with an average of the weights."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gpu_checks.half_types import LEVELS, TYPES, amp_overrides, half_precision, lacks
from gpu_checks.result import Place, Result, at_most, holds, noted
from gpu_checks.training import ALONE, trainer_of, write_recipe

AVERAGE = "ema_decay=0.9"


def resume(place: Place) -> Iterator[Result]:
    """Stops halfway, compares what is loaded bit for bit, and trains to the end."""
    stop, end = (10, 20) if place.large else (3, 6)
    dtype = next(name for name in reversed(TYPES) if not lacks(name, place))
    with tempfile.TemporaryDirectory() as name, half_precision(place):
        folder = Path(name)
        recipe = write_recipe(folder, place)
        for level in LEVELS:
            title = f"{level} {dtype}"
            common = (f"device={place.device}", *ALONE, *amp_overrides(level, dtype))
            stopped, whole = folder / level, folder / f"{level}-whole"
            with trainer_of(recipe, stopped, *common, AVERAGE, f"max_iters={stop}") as trainer:
                trainer.fit()
                saved = state_of(trainer)
            changes = (*common, AVERAGE, f"max_iters={end}")
            with trainer_of(recipe, stopped, *changes, "resume=auto") as trainer:
                loaded = state_of(trainer)
                trainer.fit()
                resumed, steps = state_of(trainer), trainer.progress.step
            with trainer_of(recipe, whole, *changes) as trainer:
                trainer.fit()
                expected = state_of(trainer)
            masters = sum(key.endswith("/master_weight") for key in loaded)
            wanted = "> 0" if level == "O2" else "0"
            fits = (level == "O2") == (masters > 0)
            yield holds(f"float32 masters, {title}", str(masters), wanted, fits)
            yield at_most(f"arrays that differ when loaded, {title}", unequal(loaded, saved), 0)
            yield holds(f"last step, {title}", str(steps), str(end), steps == end)
            apart = unequal(resumed, expected)
            shown = f"{apart} of {len(expected)}"
            yield noted(f"arrays that differ without a stop, {title}", shown)


def state_of(trainer: Any) -> dict[str, np.ndarray]:
    """Returns copies of weights, the optimizer's arrays, masters among them, and averages."""
    from paddlevideo.solver.state import state_by_structured_name

    optimizer = state_by_structured_name(trainer.updater.optimizer, trainer.model)
    arrays = {key: array for key, array in optimizer.items() if isinstance(array, np.ndarray)}
    weights = {name: tensor.numpy().copy() for name, tensor in trainer.model.state_dict().items()}
    averages = trainer.average.state()["weights"]
    return {**arrays, **weights, **{f"{name}/average": x for name, x in averages.items()}}


def unequal(ours: Mapping[str, np.ndarray], theirs: Mapping[str, np.ndarray]) -> int:
    """Returns the number of arrays that are not bit for bit the same, or missing in one map."""
    return sum(
        name not in ours or name not in theirs or ours[name].tobytes() != theirs[name].tobytes()
        for name in ours.keys() | theirs.keys()
    )
