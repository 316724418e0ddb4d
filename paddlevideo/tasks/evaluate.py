"""The loop over batches that validation and testing share."""

from __future__ import annotations

import time
from typing import Any

import paddle

from paddlevideo.loader.build import BatchLoader
from paddlevideo.loader.dataset.base import Dataset
from paddlevideo.loader.sampler import GridSampler
from paddlevideo.metrics.base import EvaluationData, Metric, elapsed
from paddlevideo.modeling import BaseFramework
from paddlevideo.runtime import Amp, World
from paddlevideo.tasks.saved_rows import SavedRows
from paddlevideo.utils.errors import Stopped
from paddlevideo.utils.progress import track
from paddlevideo.utils.stopping import StopRequest


@paddle.no_grad()
def evaluate(
    model: BaseFramework,
    dataset: Dataset,
    loader: BatchLoader,
    metric: Metric,
    world: World,
    amp: Amp,
    saved: SavedRows | None = None,
    stop: StopRequest | None = None,
) -> dict[str, Any]:
    """Predicts this rank's batches and returns the metric's results over all ranks.

    The grid of batches does not depend on the number of ranks, so the results do not either. Only
    rank 0 computes and returns them, with its times as "stages" and, where they are known, "chance"
    and "yardsticks"; the other ranks return an empty dict. ``saved`` stores the predictions and
    supplies those of an interrupted test; without it this is a validation, which may choose what is
    saved with the weights. Raises Stopped on all ranks once ``stop`` has received a signal on any
    of them.
    """
    stop = stop or StopRequest()  # a request that is never triggered
    training = model.training
    model.eval()
    truth = dataset.truth()  # before the predictions: files with mistakes cost no time
    data = EvaluationData(
        dataset.context(), loader, world.gather, metric.start, saved is None, truth
    )
    with amp.autocast():
        predictor = metric.predictor(model, data)
    start = time.perf_counter()
    if saved is not None and (done := saved.restore(metric)):
        assert isinstance(loader.sampler, GridSampler)
        loader = loader.with_sampler(loader.sampler.without(done))
    batches = predictor.batches(loader)
    if world.is_main:
        units, unit = predictor.progress_units()
        batches = track(batches, "test", len(loader), unit, units * loader.sampler.batch_size)
    for batch in batches:
        with amp.autocast():
            predictions = predictor.predict(batch)
        metric.update(batch["index"], predictions)
        if saved is not None:
            saved.add(batch["index"], predictions)
        if stop.received is not None:
            break
    if world.any(stop.received is not None):
        raise Stopped(stop.received)
    if training:
        model.train()
    states = world.gather(metric.state())
    if not world.is_main:
        return {}
    seconds = {**predictor.seconds, "scoring_seconds": elapsed(start)}
    metric.merge(states)
    results = {**metric.result(truth), "stages": {**seconds, **metric.counts()}}
    beside = {"chance": metric.chance(truth), "yardsticks": metric.yardsticks(truth)}
    return {**results, **{name: numbers for name, numbers in beside.items() if numbers}}
