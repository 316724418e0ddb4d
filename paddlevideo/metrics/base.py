"""What a test asks of a metric, and how predictions are made for it."""

from __future__ import annotations

import json
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from paddlevideo.files.whole import plain
from paddlevideo.metrics.collector import RowCollector
from paddlevideo.utils.errors import ConfigError

log = logging.getLogger("paddlevideo")

Batch = Mapping[str, Any]
#: Writes a file at the path it is given.
Writer = Callable[[Path], object]


@dataclass(frozen=True)
class EvaluationData:
    """What a predictor may look at before the first prediction."""

    #: What the data set shares between all its samples, as batches, or None.
    context: Iterable[Batch] | None
    #: This rank's batches of samples, a ``paddlevideo.loader.BatchLoader``.
    loader: Any
    #: The objects that all ranks pass in, in their order, on every rank.
    gather: Callable[[Any], list[Any]]
    #: ``Metric.start``, for what was computed of all samples.
    start: Callable[[Any, bool], None]
    #: A validation, whose data may choose what is saved with the weights.
    validating: bool = False


class Predictor:
    """Predictions for the batches of a test: by default those of ``model.predict``."""

    def __init__(self, model: Any, data: EvaluationData) -> None:
        """Has ``model``, a ``BaseFramework``, prepare what it shares between all samples."""
        start = time.perf_counter()
        self.model, self.prepared = model, model.prepare(data.context)
        #: How long each stage took before the predictions, for the results.
        self.seconds: dict[str, float] = {"prepare_seconds": elapsed(start)}

    def progress_units(self) -> tuple[int, str]:
        """Returns how many units a sample counts on the progress bar, and their name."""
        return self.model.progress_units(self.prepared)

    def batches(self, loader: Any) -> Iterable[Batch]:
        """Returns the batches of ``loader``, in any order."""
        return loader.epoch()

    def predict(self, batch: Batch) -> Any:
        """Returns one row a sample, for ``Metric.update``."""
        return self.model.predict(batch, self.prepared)


def elapsed(start: float) -> float:
    """Returns the seconds since ``start``, of ``time.perf_counter``, to a millisecond."""
    return round(time.perf_counter() - start, 3)


class Metric(ABC):
    """A metric of ``METRIC.name``: subclass it, register it in ``METRICS``.

    Only ``result`` must be written. Predictions are collected by sample index, on every rank; rank
    0 then merges what the others collected, computes the result and writes the files.
    """

    #: Dotted key of the number in ``result`` that selects the best checkpoint.
    best: str = ""
    #: Whether more of that number is better.
    higher_is_better: bool = True

    @property
    def name(self) -> str:
        """The class, for messages."""
        return type(self).__name__

    def predictor(self, model: Any, data: EvaluationData) -> Predictor:
        """Returns what makes the predictions; created on all ranks before the first batch."""
        return Predictor(model, data)

    def start(self, first: Any, validating: bool = False) -> None:  # noqa: B027 - may be left out
        """Takes what a predictor computed of all samples before any prediction, if it did."""

    @cached_property
    def collected(self) -> RowCollector:
        """The predictions so far."""
        return RowCollector()

    def update(self, index: np.ndarray, predictions: Any) -> None:
        """Keeps the predictions of samples that were not seen before.

        Args:
            index: (B,) integers, the sample of each row.
            predictions: B rows, an array or a list, which are called "predictions"; or several
                by name.
        """
        named = isinstance(predictions, Mapping)
        self.collected.add(index, predictions if named else {"predictions": predictions})

    def state(self) -> Any:
        """Returns what was collected so far, picklable, for ``merge`` in another process."""
        return self.collected.state()

    def merge(self, states: Iterable[Any]) -> None:
        """Adds what other processes collected; samples that are known already are left out."""
        self.collected.merge(states)

    @abstractmethod
    def result(self, truth: Any) -> dict[str, Any]:
        """Returns the numbers, which may be nested; ``truth`` is that of the data set.

        A validation's first samples are scored before training, so a few may be all there are.
        """

    def chance(self, truth: Any) -> dict[str, Any]:
        """Returns what random answers would reach, in the shape of ``result``; {}: not known."""
        return {}

    def counts(self) -> dict[str, int]:
        """Returns what the work amounted to, beside its seconds, once there is a result."""
        return {}

    def protocol(self) -> dict[str, Any]:
        """Returns what one must know of the metric to compare its numbers, as a tie rule."""
        return {}

    def answers(self, dataset: Any) -> Sequence[Any] | None:
        """Returns what is kept of each sample, as a dictionary for JSON; None: nothing."""
        return None

    def warnings(self, model: Any, score_matrix: bool) -> Iterator[str]:
        """Yields what the user should know before the work begins, of the run's settings too."""
        if score_matrix:
            yield f"score_matrix: {self.name} has no scores of pairs to write"

    def files(
        self, dataset: Any, answers: Sequence[Any] | None, score_matrix: bool
    ) -> dict[str, Writer]:
        """Returns what writes the files beside ``results.json``: by default ``answers.jsonl``.

        All of them appear together with it, or none does.
        """
        if answers is None:
            return {}
        lines = (json.dumps(answer, allow_nan=False, default=plain) for answer in answers)
        text = "".join(line + "\n" for line in lines)
        return {"answers.jsonl": lambda path: path.write_text(text, encoding="utf-8")}

    def show(self, results: Mapping[str, Any]) -> None:
        """Prints the results: by default the plain numbers, to the log."""
        for name, value in results.items():
            if isinstance(value, (int, float)):
                log.info("%s: %.5f", name.replace("_", " "), value)

    def write_page(
        self,
        path: Path,
        results: Mapping[str, Any],
        answers: Sequence[Any] | None,
        videos: Path | None,
    ) -> None:
        """Writes the page of ``--report`` with pictures from the folder ``videos``."""
        log.warning("--report: %s has no page, so none was written", self.name)


class PlainMetric(Metric):
    """A registered class that does not derive from ``Metric``; what it lacks is a ``Metric``'s."""

    NEEDED = ("update", "state", "merge", "result")
    OPTIONAL = ("best", "higher_is_better", "start", "chance")
    name = ""

    def __init__(self, plain: Any, default: Metric) -> None:
        """Has predictions made as for ``default``. Raises ConfigError if a method is missing."""
        self.name, self.predictor = type(plain).__name__, default.predictor  # type: ignore[method-assign]
        if missing := [method for method in self.NEEDED if not hasattr(plain, method)]:
            raise ConfigError(
                f"METRIC.name: {self.name} has no {', '.join(missing)}. Derive it from "
                "paddlevideo.metrics.Metric, which has all but result(truth)"
            )
        for name in (*self.NEEDED, *self.OPTIONAL):
            if hasattr(plain, name):
                setattr(self, name, getattr(plain, name))

    def result(self, truth: Any) -> dict[str, Any]:
        """Is replaced by the method of the class."""
        raise NotImplementedError
