"""The base class of metrics, and how predictions are made for them."""

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
    """What a predictor may use before the first prediction."""

    #: What all samples of the data set share, as batches, or None.
    context: Iterable[Batch] | None
    #: This rank's batches of samples, a ``paddlevideo.loader.BatchLoader``.
    loader: Any
    #: Returns the objects that the ranks pass, in the order of ranks, on every rank.
    gather: Callable[[Any], list[Any]]
    #: ``Metric.start``, for what was computed from all samples.
    start: Callable[[Any, bool], None]
    #: Whether this is a validation, which may choose what is saved with the weights.
    validating: bool = False
    #: The data set's ground truth, if it is known.
    truth: Any = None


class Predictor:
    """Makes predictions for the batches of a test, by default with ``model.predict``."""

    def __init__(self, model: Any, data: EvaluationData) -> None:
        """Lets ``model``, a ``BaseFramework``, prepare what all samples share."""
        start = time.perf_counter()
        self.model, self.prepared = model, model.prepare(data.context)
        #: Seconds of each stage before the predictions, for the results.
        self.seconds: dict[str, float] = {"prepare_seconds": elapsed(start)}

    def progress_units(self) -> tuple[int, str]:
        """Returns the number of progress units per sample, and their name."""
        return self.model.progress_units(self.prepared)

    def batches(self, loader: Any) -> Iterable[Batch]:
        """Returns the batches of ``loader``, in any order."""
        return loader.epoch()

    def predict(self, batch: Batch) -> Any:
        """Returns one row per sample, for ``Metric.update``."""
        return self.model.predict(batch, self.prepared)


def elapsed(start: float) -> float:
    """Returns the seconds since ``start`` (``time.perf_counter``), rounded to a millisecond."""
    return round(time.perf_counter() - start, 3)


class Metric(ABC):
    """A metric for ``METRIC.name``: subclass it and register it in ``METRICS``.

    Only ``result`` is required. Every rank collects predictions by sample index; rank 0 then merges
    them, computes the result and writes the files.
    """

    #: Dotted key of the number in ``result`` that selects the best checkpoint.
    best: str = ""
    #: Whether a larger number is better.
    higher_is_better: bool = True

    @property
    def name(self) -> str:
        """The name of the class, for messages."""
        return type(self).__name__

    def predictor(self, model: Any, data: EvaluationData) -> Predictor:
        """Returns the predictor; called on all ranks before the first batch."""
        return Predictor(model, data)

    def start(self, first: Any, validating: bool = False) -> None:  # noqa: B027 - optional
        """Receives what a predictor computed from all samples before the first prediction."""

    @cached_property
    def collected(self) -> RowCollector:
        """The predictions so far."""
        return RowCollector()

    def update(self, index: np.ndarray, predictions: Any) -> None:
        """Adds the predictions of samples that were not added before.

        Args:
            index: (B,) integers, the sample of each row.
            predictions: B rows, an array or a list, collected as "predictions"; or a dict of
                these.
        """
        named = isinstance(predictions, Mapping)
        self.collected.add(index, predictions if named else {"predictions": predictions})

    def state(self) -> Any:
        """Returns the predictions so far, picklable, for ``merge`` in another process."""
        return self.collected.state()

    def merge(self, states: Iterable[Any]) -> None:
        """Adds the predictions of other processes; samples that are already known are ignored."""
        self.collected.merge(states)

    @abstractmethod
    def result(self, truth: Any) -> dict[str, Any]:
        """Returns the numbers, possibly nested; ``truth`` is that of the data set.

        It is tried on the first few samples before training.
        """

    def chance(self, truth: Any) -> dict[str, Any]:
        """Returns what random answers reach, in the structure of ``result``; {}: unknown."""
        return {}

    def yardsticks(self, truth: Any) -> dict[str, dict[str, Any]]:
        """Returns what simple rules reach, by their names, in the structure of ``result``.

        Such as always the most frequent answer.
        """
        return {}

    def counts(self) -> dict[str, int]:
        """Returns the amount of work, shown beside its seconds; called after ``result``."""
        return {}

    def protocol(self) -> dict[str, Any]:
        """Returns what is needed to compare the metric's numbers, such as a tie rule."""
        return {}

    def answers(self, dataset: Any) -> Sequence[Any] | None:
        """Returns an answer per sample, as a dictionary for JSON; None: none are kept."""
        return None

    def warnings(self, model: Any, score_matrix: bool) -> Iterator[str]:
        """Yields warnings about the model and the run's settings before the work begins."""
        if score_matrix:
            yield f"score_matrix: {self.name} has no scores of pairs to write"

    def files(
        self, dataset: Any, answers: Sequence[Any] | None, score_matrix: bool
    ) -> dict[str, Writer]:
        """Returns writers of the files beside ``results.json``: by default ``answers.jsonl``.

        All files appear together, or none.
        """
        if answers is None:
            return {}
        lines = (json.dumps(answer, allow_nan=False, default=plain) for answer in answers)
        text = "".join(line + "\n" for line in lines)
        return {"answers.jsonl": lambda path: path.write_text(text, encoding="utf-8")}

    def show(self, results: Mapping[str, Any]) -> None:
        """Shows the results: by default logs the plain numbers."""
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
    """Adapts a registered class that does not derive from ``Metric``."""

    NEEDED = ("update", "state", "merge", "result")
    OPTIONAL = ("best", "higher_is_better", "start", "chance", "yardsticks")
    name = ""

    def __init__(self, plain: Any, default: Metric) -> None:
        """Makes predictions as for ``default``. Raises ConfigError if a method is missing."""
        self.name, self.predictor = type(plain).__name__, default.predictor  # type: ignore[method-assign]
        if missing := [method for method in self.NEEDED if not hasattr(plain, method)]:
            raise ConfigError(
                f"METRIC.name: {self.name} has no {', '.join(missing)}. Derive it from "
                "paddlevideo.metrics.Metric, which defines all of them except result(truth)"
            )
        for name in (*self.NEEDED, *self.OPTIONAL):
            if hasattr(plain, name):
                setattr(self, name, getattr(plain, name))

    def result(self, truth: Any) -> dict[str, Any]:
        """Replaced by the method of the class."""
        raise NotImplementedError
