"""Scores of all captions with all videos, in float32 and in half precision."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from gpu_checks.half_types import LEVELS, TYPES, amp_overrides, half_precision, lacks
from gpu_checks.result import Place, Result, at_most, noted
from gpu_checks.training import first_batch, save_weights, trainer_of, write_recipe


def retrieval(place: Place) -> Iterator[Result]:
    """Counts videos with equal margins, which half precision must not add to."""
    dtype = next(name for name in reversed(TYPES) if not lacks(name, place))
    clips = 512 if place.large else 16
    changes = (f"device={place.device}", f"DATASET.batch_size={clips}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        recipe = write_recipe(folder, place)
        with trainer_of(recipe, folder / "float32", *changes) as trainer:
            batch = first_batch(trainer)
            weights = save_weights(trainer, folder / "weights.pdparams")
            exact = margins(trainer, batch)
        ties = tied(exact)
        yield noted(f"ties among {exact.size:,} margins, float32", str(ties))
        for level in LEVELS:
            amp = amp_overrides(level, dtype)
            with (
                half_precision(place),
                trainer_of(recipe, folder / level, *changes, *amp, weights=weights) as trainer,
            ):
                yield at_most(f"ties, {level} {dtype}", tied(margins(trainer, batch)), ties)


def margins(trainer: Any, batch: dict[str, np.ndarray]) -> np.ndarray:
    """Returns the margins of all captions with all videos of a batch."""
    import paddle

    trainer.model.eval()
    with trainer.amp.autocast(), paddle.no_grad():
        captions = trainer.model.encode_captions(batch)
        videos = trainer.model.encode_videos(batch)
        return trainer.model.margins(captions, videos).numpy()


def tied(scores: np.ndarray) -> int:
    """Returns the number of videos whose score equals an earlier one's, over all captions."""
    return sum(len(row) - len(np.unique(row)) for row in scores)
