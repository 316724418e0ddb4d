"""What the metrics of questions share: files, the log, the page."""

from __future__ import annotations

import json
import logging
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from paddlevideo.files.whole import plain
from paddlevideo.metrics.answers import by_kind, percent, standard_error
from paddlevideo.metrics.base import Metric, Writer
from paddlevideo.registry import did_you_mean
from paddlevideo.utils.errors import ConfigError

log = logging.getLogger("paddlevideo")

#: A line of predictions.jsonl.
Row = dict[str, Any]


class QuestionMetric(Metric):
    """Accuracy in percent, in all and of each type of question.

    The truth of the data set is its list of questions. A test writes ``predictions.jsonl``, a line
    a question, and ``answers.json``, which official evaluations read.
    """

    best = "accuracy"

    def __init__(self, best: str = "accuracy") -> None:
        """Raises ConfigError if ``best`` is not reported."""
        if best != "accuracy" and not best.startswith("by_type."):
            near = did_you_mean(best, ["accuracy"])
            raise ConfigError(
                f'METRIC.best is "{best}".{near} Known: accuracy, or by_type. and a type'
            )
        self.best = best

    @abstractmethod
    def right(self, truth: Sequence[Any]) -> np.ndarray:
        """Returns (N,) bool: which questions are answered correctly."""

    @abstractmethod
    def rows(self, truth: Sequence[Any]) -> list[Row]:
        """Returns a line of ``predictions.jsonl`` for each question."""

    @abstractmethod
    def submission(self, answers: Sequence[Row]) -> Any:
        """Returns the content of ``answers.json``."""

    def result(self, truth: Sequence[Any]) -> dict[str, Any]:
        """Returns the accuracy, its standard error, the number of questions, and "by_type"."""
        return self.numbers(self.right(truth), truth)

    def numbers(self, right: np.ndarray, truth: Sequence[Any]) -> dict[str, Any]:
        """Returns the numbers of ``result`` for the questions that were answered correctly."""
        numbers: dict[str, Any] = {
            "accuracy": percent(right),
            "standard_error": standard_error(right),
            "questions": len(right),
        }
        kinds = [item.kind for item in truth]
        return {**numbers, "by_type": by_kind(right, kinds)} if any(kinds) else numbers

    def answers(self, dataset: Any) -> list[Row]:
        """Returns a line for each question: what was asked, answered, and correct."""
        return self.rows(dataset.truth())

    def files(
        self, dataset: Any, answers: Sequence[Any] | None, score_matrix: bool
    ) -> dict[str, Writer]:
        """Returns writers of ``predictions.jsonl`` and ``answers.json``."""
        written = super().files(dataset, answers, score_matrix)
        submission = json.dumps(self.submission(answers or []), ensure_ascii=False, default=plain)
        return {
            "predictions.jsonl": written["answers.jsonl"],
            "answers.json": lambda path: path.write_text(submission + "\n", encoding="utf-8"),
        }

    def show(self, results: Mapping[str, Any]) -> None:
        """Logs the accuracy with chance and yardsticks, and that of each type."""
        count = results["questions"]
        error = f"+- {results['standard_error']:.1f}, {count:,} questions"
        log.info("accuracy: %.2f %% (%s)", results["accuracy"], error)
        for name, value in results.get("by_type", {}).items():
            log.info("  of type %s: %.2f %%", name, value)
        beside = {"chance": results.get("chance"), **results.get("yardsticks", {})}
        for name, numbers in beside.items():
            if numbers:
                log.info("%s: %.2f %%", name.replace("_", " "), numbers["accuracy"])

    def write_page(
        self,
        path: Path,
        results: Mapping[str, Any],
        answers: Sequence[Any] | None,
        videos: Path | None,
    ) -> None:
        """Writes the page of a test with answers beside pictures of their clips."""
        from paddlevideo.questions.page import write_questions_page

        write_questions_page(path, results, answers or [], videos)
