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
        """Has ``model`` prepare what it shares between all samples.

        Args:
            model: a ``paddlevideo.modeling.BaseFramework``.
            data: of the test.
        """
        start = time.perf_counter()
        self.model, self.prepared = model, model.prepare(data.context)
        #: How long each stage took before the predictions, for the results.
        self.seconds: dict[str, float] = {"prepare_seconds": elapsed(start)}

    def progress_units(self) -> tuple[int, str]:
        """How many units a sample counts on the progress bar, and what they are called."""
        return self.model.progress_units(self.prepared)

    def batches(self, loader: Any) -> Iterable[Batch]:
        """The batches of ``loader``, a ``paddlevideo.loader.BatchLoader``, in any order."""
        return loader.epoch()

    def predict(self, batch: Batch) -> Any:
        """One row a sample, for ``Metric.update``."""
        return self.model.predict(batch, self.prepared)


def elapsed(start: float) -> float:
    """Seconds since ``start``, of ``time.perf_counter``, to a millisecond."""
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

    # ------------------------------------------------------------------ collecting

    @cached_property
    def collected(self) -> RowCollector:
        """The predictions so far."""
        return RowCollector()

    def update(self, index: np.ndarray, predictions: Any) -> None:
        """Keeps the predictions of samples that were not seen before.

        Args:
            index: (B,) integers, the sample of each row.
            predictions: rows by name, or rows, which are then called "predictions": arrays of B
                rows, or lists of B entries.
        """
        named = isinstance(predictions, Mapping)
        self.collected.add(index, predictions if named else {"predictions": predictions})

    def state(self) -> Any:
        """Returns what was collected so far, picklable, for ``merge`` in another process."""
        return self.collected.state()

    def merge(self, states: Iterable[Any]) -> None:
        """Adds what other processes collected; samples that are known already are left out."""
        self.collected.merge(states)

    # --------------------------------------------------------------------- results

    @abstractmethod
    def result(self, truth: Any) -> dict[str, Any]:
        """Returns the numbers, which may be nested.

        A validation's first samples are scored before training, so a few may be all there are.

        Args:
            truth: ``Dataset.truth()``.
        """

    def chance(self, truth: Any) -> dict[str, Any]:
        """Returns what random answers would reach, in the shape of ``result``; {}: not known."""
        return {}

    def counts(self) -> dict[str, int]:
        """Returns what the test's work amounted to, to stand beside its seconds."""
        return {}

    def protocol(self) -> dict[str, Any]:
        """Returns what one must know of the metric to compare its numbers, as a tie rule."""
        return {}

    def answers(self, dataset: Any) -> Sequence[Any] | None:
        """Returns what is kept of each sample, as a dictionary for JSON; None: nothing is."""
        return None

    # ---------------------------------------------------------------------- output

    def warnings(self, model: Any, score_matrix: bool) -> Iterator[str]:
        """Yields what the user should know before the work begins.

        Args:
            model: the framework under test.
            score_matrix: the run setting of this name.
        """
        if score_matrix:
            yield f"score_matrix: {self.name} has no scores of pairs to write"

    def files(
        self, dataset: Any, answers: Sequence[Any] | None, score_matrix: bool
    ) -> dict[str, Writer]:
        """Returns what writes the files that belong beside ``results.json``, by name.

        They appear together with it or not at all. By default answers are lines of
        ``answers.jsonl``.
        """
        if answers is None:
            return {}
        text = "".join(json.dumps(answer, allow_nan=False) + "\n" for answer in answers)
        return {"answers.jsonl": lambda path: path.write_text(text, encoding="utf-8")}

    def show(self, results: Mapping[str, Any]) -> None:
        """Prints the results: by default the plain numbers, to the log."""
        self.log_numbers(results)

    @staticmethod
    def log_numbers(results: Mapping[str, Any]) -> None:
        """Logs those of the results that are numbers themselves."""
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

    def __init__(self, plain: Any, default: Metric) -> None:
        """Makes predictions as for ``default``, the data set's own metric.

        Raises:
            ConfigError: a method is missing.
        """
        self._name, self._default = type(plain).__name__, default
        if missing := [method for method in self.NEEDED if not hasattr(plain, method)]:
            raise ConfigError(
                f"METRIC.name: {self._name} has no {', '.join(missing)}. Derive it from "
                "paddlevideo.metrics.Metric, which has all but result(truth)"
            )
        for name in (*self.NEEDED, *self.OPTIONAL):
            if hasattr(plain, name):
                setattr(self, name, getattr(plain, name))

    @property
    def name(self) -> str:
        """The class, for messages."""
        return self._name

    def predictor(self, model: Any, data: EvaluationData) -> Predictor:
        """Returns the predictor of the data set's own metric."""
        return self._default.predictor(model, data)

    def result(self, truth: Any) -> dict[str, Any]:
        """Is replaced by the method of the class."""
        raise NotImplementedError
