"""The one loop behind validation and testing."""

from __future__ import annotations

from typing import Any

import paddle

from paddlevideo.loader.build import BatchLoader
from paddlevideo.loader.dataset.base import Dataset
from paddlevideo.modeling import BaseFramework
from paddlevideo.runtime import World
from paddlevideo.utils.progress import track


@paddle.no_grad()
def evaluate(
    model: BaseFramework, dataset: Dataset, loader: BatchLoader, metric: Any, world: World
) -> dict[str, Any]:
    """Runs ``model`` over this rank's batches and returns what ``metric`` makes of all ranks'.

    Batches are cut at the same places whatever the number of ranks, so the result is too. Rank 0
    alone computes and returns it; the others return an empty dict.
    """
    training = model.training
    model.eval()
    prepared = model.prepare(dataset.context())
    units, unit = model.work(prepared)
    batches = loader.epoch()
    if world.is_main:
        batches = track(batches, "test", len(loader), unit, units * loader.sampler.batch_size)
    for batch in batches:
        metric.update(batch["index"], model.predict(batch, prepared))
    if training:
        model.train()
    states = world.gather(metric.state())
    if not world.is_main:
        return {}
    metric.merge(states)
    return metric.result(dataset.truth())
