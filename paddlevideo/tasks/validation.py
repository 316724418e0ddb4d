"""Validations of a training run: tried once at its start, then run and logged."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from numbers import Real
from typing import Any

from paddlevideo.metrics.base import Metric
from paddlevideo.modeling import BaseFramework
from paddlevideo.runtime import Amp
from paddlevideo.tasks.evaluate import evaluate
from paddlevideo.tasks.meters import Meters
from paddlevideo.tasks.rehearsal import rehearse
from paddlevideo.tasks.setup import Run, build_metric, flatten, lookup, test_loader
from paddlevideo.utils.stopping import StopRequest

log = logging.getLogger("paddlevideo")

#: Width of a log line, and of the prefix of each message.
COLUMNS, PREFIX = 120, len("[12/31 23:59:59] INFO: ")


class Validation:
    """Tests on DATASET.valid during training."""

    def __init__(self, run: Run, amp: Amp) -> None:
        self.run, self.amp = run, amp
        self.dataset, self.loader = test_loader(run, "valid")

    def rehearse(self, model: BaseFramework) -> None:
        """Tries a validation on a few samples. Raises the errors that it would raise."""
        rehearse(self.run, "valid", model, self.dataset, self.loader, self.amp)

    def test(
        self, model: BaseFramework, meters: Meters, epoch: int, step: int, stop: StopRequest
    ) -> tuple[float, Metric]:
        """Returns the number that selects the best weights, and its metric, on all ranks.

        ``model`` keeps the settings that the validation chose. Raises Stopped after a signal.
        """
        metric, world = build_metric(self.run, self.dataset), self.run.world
        results = evaluate(model, self.dataset, self.loader, metric, world, self.amp, stop=stop)
        results = world.gather(results)[0]
        model.apply_validation_choice(results)
        if world.is_main:
            results.pop("stages")
            results.pop("yardsticks", None)
            chance = results.pop("chance", {})
            scalars = flatten(results, "valid.")
            # The first line has all numbers in JSON.
            fields = {"event": "validation", "epoch": epoch, "step_total": step, **scalars}
            for line in short_lines(f"valid epoch:{epoch}", results, chance):
                log.info("%s", line, extra={"fields": fields})
                fields = {}
            meters.write_scalars(step, scalars)
        return lookup(results, metric.best), metric


def short_lines(title: str, results: Mapping[str, Any], chance: Mapping[str, Any]) -> list[str]:
    """Returns at most two log lines with the first groups of numbers.

    ``chance``: what random answers reach, in the structure of ``results``; shown beside them.
    """
    plain = numbers_of(results)
    groups = {title: (plain, chance)} if plain else {}
    for name, group in results.items():
        if isinstance(group, Mapping) and (numbers := numbers_of(group)):
            groups[f"{title} {name}"] = numbers, chance.get(name, {})
    # Groups with a known chance come first.
    order = sorted(groups, key=lambda name: not numbers_of(groups[name][1]))
    return [fitting_line(name, *groups[name]) for name in order[:2]]


def numbers_of(results: Mapping[str, Any]) -> dict[str, float]:
    """Returns the entries that are numbers themselves."""
    return {name: float(v) for name, v in results.items() if isinstance(v, Real)}


def fitting_line(title: str, numbers: Mapping[str, float], chance: Mapping[str, Any]) -> str:
    """Returns ``title`` with as many numbers, and their chance, as fit into a line."""
    names = list(numbers)
    line = title[: COLUMNS - PREFIX]
    for count in range(1, len(names) + 1):
        shown = " ".join(f"{name} {rounded(numbers[name])}" for name in names[:count])
        random = " ".join(rounded(chance[name], 1) for name in names[:count] if name in chance)
        longer = f"{title} {shown}" + (f"; chance {random}" if random else "")
        if len(longer) > COLUMNS - PREFIX:
            break
        line = longer
    return line


def rounded(value: float, small: int = 3) -> str:
    """Formats to three significant digits, or ``small`` below 1; whole numbers in full."""
    if math.isfinite(value) and (abs(value) >= 1000 or value == int(value)):
        return f"{value:.0f}"
    return f"{value:.{3 if abs(value) >= 1 else small}g}"
