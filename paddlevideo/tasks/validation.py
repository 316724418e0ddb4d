"""Validations of a training run: rehearsed at its start, logged when they come."""

from __future__ import annotations

import logging

from paddlevideo.metrics.base import Metric
from paddlevideo.modeling import BaseFramework
from paddlevideo.runtime import Amp
from paddlevideo.tasks.evaluate import evaluate
from paddlevideo.tasks.meters import Meters
from paddlevideo.tasks.rehearsal import rehearse
from paddlevideo.tasks.setup import Run, build_metric, flatten, lookup, test_loader
from paddlevideo.tasks.tables import short_lines
from paddlevideo.utils.stopping import StopRequest

log = logging.getLogger("paddlevideo")


class Validation:
    """Tests on DATASET.valid during training."""

    def __init__(self, run: Run, amp: Amp) -> None:
        self.run, self.amp = run, amp
        self.dataset, self.loader = test_loader(run, "valid")

    def rehearse(self, model: BaseFramework) -> None:
        """Tries a validation on a few samples. Raises what it would raise."""
        rehearse(self.run, "valid", model, self.dataset, self.loader, self.amp)

    def test(
        self, model: BaseFramework, meters: Meters, epoch: int, step: int, stop: StopRequest
    ) -> tuple[float, Metric]:
        """Returns the number that selects the best weights, and its metric, on all ranks.

        ``model`` keeps what the validation chose. Raises Stopped.
        """
        metric, world = build_metric(self.run, self.dataset), self.run.world
        results = evaluate(model, self.dataset, self.loader, metric, world, self.amp, stop=stop)
        results = world.gather(results)[0]
        model.apply_validation_choice(results)
        if world.is_main:
            results.pop("stages")
            chance = results.pop("chance", {})
            for line in short_lines(f"valid epoch:{epoch}", results, chance):
                log.info("%s", line)
            meters.write_scalars(step, flatten(results, "valid."))
        return lookup(results, metric.best), metric
