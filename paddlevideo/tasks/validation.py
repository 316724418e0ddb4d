"""Validations of a training run: what they need is tried at its start, what they give is told."""

from __future__ import annotations

import logging
from typing import Any

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
        """Tries on a few samples what a validation needs. Raises what that would raise."""
        rehearse(self.run, "valid", model, self.dataset, self.loader, self.amp)

    def test(
        self, model: BaseFramework, meters: Meters, epoch: int, step: int, stop: StopRequest
    ) -> tuple[float, Any]:
        """The number that chooses the best weights, and the metric that gave it; on all ranks.

        ``model`` adopts what the validation chooses. Raises Stopped.
        """
        metric, world = build_metric(self.run, self.dataset), self.run.world
        results = evaluate(model, self.dataset, self.loader, metric, world, self.amp, stop=stop)
        results = world.gather(results)[0]
        model.adopt(results)
        if world.is_main:
            results.pop("stages", None)
            chance = metric.chance(self.dataset.truth()) if hasattr(metric, "chance") else {}
            for line in short_lines(f"valid epoch:{epoch}", results, chance):
                log.info("%s", line)
            meters.write_scalars(step, flatten(results, "valid."))
        return lookup(results, metric.best), metric
