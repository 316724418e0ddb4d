"""Losses and gradients on the device against a CPU, and in half precision against float32."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, islice, product
from pathlib import Path
from typing import Any

import numpy as np

from gpu_checks.half_types import LEVELS, TYPES, amp_overrides, half_precision, lacks, set_tf32
from gpu_checks.result import Place, Result, above, at_most, noted, skipped
from gpu_checks.training import (
    ALONE,
    Gradients,
    cosine,
    difference,
    first_batch,
    losses_and_gradients,
    save_weights,
    trainer_of,
    write_recipe,
)

LOSSES, COSINE, HALF_COSINE = 1e-4, 0.99999, 0.999
FIRST = 5  # steps in which float16 may lower the loss scale


def float32(place: Place) -> Iterator[Result]:
    """Compares losses and gradients with a CPU's, from the same weights and batch.

    Paddle multiplies float32 matrices in TF32 on cards that have it, with ten bits of mantissa: it
    is switched off here, and the difference that it makes is shown. On a CPU, the dense layers of
    GPUs are compared with those of CPUs.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        recipe = write_recipe(folder, place)
        with trainer_of(recipe, folder / "cpu", "device=cpu") as trainer:
            weights = save_weights(trainer, folder / "weights.pdparams")
            batch = first_batch(trainer)
            losses, gradients = losses_and_gradients(trainer, batch)
        device, other = f"device={place.device}", "GPU" if place.is_gpu else "emulated GPU"
        with (
            half_precision(place),
            trainer_of(recipe, folder / "device", device, weights=weights) as trainer,
        ):
            can_switch = set_tf32(False) and place.is_gpu
            for tf32 in (False, True) if can_switch else (False,):
                set_tf32(tf32)
                ours, our_gradients = losses_and_gradients(trainer, batch)
                wrong, aligned = difference(ours, losses), cosine(our_gradients, gradients)
                if tf32:
                    shown = f"losses {wrong:.2g}, gradients 1 - {1 - aligned:.2g}"
                    yield noted("the same with TF32, Paddle's default", shown)
                else:
                    yield at_most(f"losses, CPU against {other}", wrong, LOSSES)
                    yield above(f"gradients, CPU against {other}", aligned, COSINE)


def half(place: Place) -> Iterator[Result]:
    """Trains in half precision; compares gradients with float32 before and after.

    The cosine is the median over clips: the poolers' ReLU has a kink, and where a sum is close to
    0, rounding turns a clip's gradient on or off, which is no error.
    """
    set_tf32(False)
    steps, count = (30, 16) if place.large else (6, 3)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        recipe, common = write_recipe(folder, place), (f"device={place.device}", *ALONE)
        with trainer_of(recipe, folder / "float32", *common) as trainer:
            weights = save_weights(trainer, folder / "weights.pdparams")
            clips = single_clips(first_batch(trainer), count)
            start = gradients_of(trainer, clips)
        for level, dtype in product(LEVELS, TYPES):
            title = f"{level} {dtype}"
            if why := lacks(dtype, place):
                yield skipped(title, why)
                continue
            changes = (*common, *amp_overrides(level, dtype))
            with (
                half_precision(place),
                trainer_of(recipe, folder / title, *changes, weights=weights) as trainer,
            ):
                before = gradients_of(trainer, clips)
                late = sum(step > FIRST for step in skipped_steps(trainer, steps))
                after = gradients_of(trainer, clips)
                trained = save_weights(trainer, folder / f"{title}.pdparams")
            with trainer_of(recipe, folder / f"{title}32", *common, weights=trained) as trainer:
                end = gradients_of(trainer, clips)
            yield above(f"gradients, {title}, at first", median_cosine(before, start), HALF_COSINE)
            yield above(f"gradients, {title}, step {steps}", median_cosine(after, end), HALF_COSINE)
            yield at_most(f"skipped after step {FIRST} of {steps}, {title}", late, 0)


def single_clips(batch: Mapping[str, Any], count: int) -> list[dict[str, Any]]:
    """Returns batches of one clip each, for the first ``count`` clips."""
    rows = [slice(index, index + 1) for index in range(count)]
    return [{key: array[row] for key, array in batch.items()} for row in rows]


def gradients_of(trainer: Any, batches: Sequence[Mapping[str, Any]]) -> list[Gradients]:
    """Returns the gradients of each batch."""
    return [losses_and_gradients(trainer, batch)[1] for batch in batches]


def median_cosine(ours: Sequence[Gradients], theirs: Sequence[Gradients]) -> float:
    """Returns the median cosine; NaN if one of them is."""
    return float(np.median([cosine(*pair) for pair in zip(ours, theirs, strict=True)]))


def skipped_steps(trainer: Any, steps: int) -> list[int]:
    """Takes some steps, and returns those that were skipped, counted from 1."""
    skips, skip = [], trainer.updater.skip

    def note() -> None:
        skips.append(trainer.progress.step + 1)
        skip()

    trainer.updater.skip = note
    batches = chain.from_iterable(map(trainer.loader.epoch, range(steps)))
    for batch in islice(batches, steps):
        trainer.train_step([batch])
    return skips
