"""The one loop behind validation and testing."""

from __future__ import annotations

import time
from typing import Any

import paddle

from paddlevideo.loader.build import BatchLoader
from paddlevideo.loader.dataset.base import Dataset
from paddlevideo.metrics.collector import RowCollector
from paddlevideo.modeling import BaseFramework
from paddlevideo.runtime import Amp, World
from paddlevideo.tasks.saved_rows import SavedRows
from paddlevideo.tasks.setup import remaining
from paddlevideo.utils.progress import track
from paddlevideo.utils.stopping import Stopped, StopRequest


@paddle.no_grad()
def evaluate(
    model: BaseFramework,
    dataset: Dataset,
    loader: BatchLoader,
    metric: Any,
    world: World,
    amp: Amp,
    saved: SavedRows | None = None,
    stop: StopRequest | None = None,
) -> dict[str, Any]:
    """Runs ``model`` over this rank's batches and returns what ``metric`` makes of all ranks'.

    Batches are cut at the same places whatever the number of ranks, so the result is too. Rank 0
    alone computes and returns it; the others return an empty dict. ``"stages"`` tells rank 0's
    seconds. ``saved``: predictions are kept there too, and what it holds already is not computed
    again; without it this is a validation, whose data may choose what the model then adopts.
    Raises Stopped on all ranks once ``stop`` has received a signal on any.
    """
    stop = stop or StopRequest()  # one that no signal reaches
    training = model.training
    model.eval()
    clock = Stages()
    with amp.autocast():
        prepared = model.prepare(dataset.context())
        clock.end("gallery_seconds")
        if model.has_first_stage(prepared):
            first_stage(model, loader, metric, prepared, world, validating=saved is None)
        clock.end("first_stage_seconds")
    if saved is not None:
        loader = remaining(loader, saved.restore(metric))
    units, unit = model.work(prepared)
    batches = loader.epoch()
    if world.is_main:
        batches = track(batches, "test", len(loader), unit, units * loader.sampler.batch_size)
    for batch in batches:
        with amp.autocast():
            predictions = model.predict(batch, prepared)
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
    clock.end("scoring_seconds")
    metric.merge(states)
    return {**metric.result(dataset.truth()), "stages": clock.seconds}


def first_stage(
    model: BaseFramework,
    loader: BatchLoader,
    metric: Any,
    prepared: Any,
    world: World,
    validating: bool,
) -> None:
    """Collects what every rank must know of all samples before any is predicted."""
    collector = RowCollector()
    for batch in loader.epoch():
        collector.add(batch["index"], model.first_stage(batch, prepared))
    states = world.gather(collector.state())
    everything = RowCollector()
    everything.merge(states)
    metric.start(model.shortlist(prepared, everything.in_order()), validating)


class Stages:
    """Seconds of one stage after the other."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._since = time.perf_counter()

    def end(self, name: str) -> None:
        """The stage called ``name`` ends here, and the next one begins."""
        now = time.perf_counter()
        self.seconds[name] = round(now - self._since, 3)
        self._since = now
