"""The metric of step localisation: one second for each step of a video's task.

T seconds of a video, K steps of its task.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from paddlevideo.metrics import steps
from paddlevideo.metrics.base import EvaluationData, Metric, Predictor, Writer
from paddlevideo.metrics.steps import StepOrder
from paddlevideo.registry import METRICS, did_you_mean
from paddlevideo.timelines.tables import print_rows
from paddlevideo.utils.errors import ConfigError, DataError
from paddlevideo.utils.ranges import Count

log = logging.getLogger("paddlevideo")
NUMBERS = ("recall", "recall_of_videos")


@METRICS.register()
class StepMetric(Metric):
    """Recall of steps, as CrossTask counts: per task, and their mean.

    Every step is put on the second with the best scores. ``order``: "listed", the steps follow each
    other in the order of the task's list, CrossTask's own rule; "free": each step takes its best
    second. ``normalize``: compare log-probabilities, a log-softmax of a second's scores over the
    steps and the background, if it has a text, as CrossTask's own code does with the scores of its
    classifier. ``best``: "recall", the mean
    over tasks, or "recall_of_videos".
    """

    def __init__(
        self,
        order: StepOrder = "listed",
        normalize: bool = False,
        best: str = "recall",
        log_interval: Count = 1,
    ) -> None:
        if best not in NUMBERS:
            raise ConfigError(
                f'METRIC.best is "{best}".{did_you_mean(best, NUMBERS)} Known: {", ".join(NUMBERS)}'
            )
        self.order, self.normalize, self.best = order, normalize, best

    def predictor(self, model: Any, data: EvaluationData) -> Predictor:
        """Returns a predictor of the scores of seconds for steps."""
        from paddlevideo.timelines.matching import StepPredictor

        return StepPredictor(model, data)

    def predicted(self, truth: Sequence[Any]) -> list[np.ndarray]:
        """Returns the second of each step of every video, (K,) int64 each.

        Raises DataError for scores of other sizes, and for fewer seconds than ordered steps.
        """
        rows = self.collected.in_order(len(truth))["scores"]
        found = []
        for scores, true in zip(rows, truth, strict=True):
            seconds, count = true.seconds.shape
            if scores.shape not in ((seconds, count), (seconds, count + 1)):
                raise DataError(
                    f"{true.name}: scores (seconds, steps) have the shape {scores.shape}; "
                    f"expected {true.seconds.shape}, or one more for the background"
                )
            if not np.isfinite(scores).all():
                raise DataError(f"{true.name}: a score is not finite. Check weights and features")
            try:
                found.append(self.seconds_of(scores, count))
            except DataError as error:
                raise DataError(f"{true.name}: {error}") from None
        return found

    def seconds_of(self, scores: np.ndarray, count: int) -> np.ndarray:
        """Returns the second (K,) int64 of each of ``count`` steps, from their scores of a video.

        ``scores`` (T, K), or (T, K + 1) with the background. Raises DataError for fewer seconds
        than ordered steps.
        """
        used = steps.log_softmax(scores) if self.normalize else scores
        return steps.align(used[:, :count], self.order)

    def result(self, truth: Sequence[Any]) -> dict[str, Any]:
        """Returns the recall in percent: "by_task", their mean, and the mean over videos.

        ``truth``: a task and the seconds of its steps (T, K) bool for each video.
        """
        pairs = zip(self.predicted(truth), truth, strict=True)
        return summary(truth, [int(steps.hits(x, true.seconds).sum()) for x, true in pairs])

    def yardsticks(self, truth: Sequence[Any]) -> dict[str, dict[str, Any]]:
        """Returns what evenly spaced steps reach, and what perfect scores do with this order."""
        spaced = [steps.evenly_spaced(*true.seconds.shape) for true in truth]
        perfect = [steps.align(true.seconds.astype(np.float32), self.order) for true in truth]
        return {
            name: summary(
                truth,
                [int(steps.hits(x, t.seconds).sum()) for x, t in zip(found, truth, strict=True)],
            )
            for name, found in (("evenly spaced", spaced), ("perfect scores", perfect))
        }

    def chance(self, truth: Sequence[Any]) -> dict[str, Any]:
        """Returns what a random second for each step reaches on average."""
        return summary(truth, [steps.chance_hits(true.seconds) for true in truth])

    def counts(self) -> dict[str, int]:
        """Returns the number of pairs of a second and a step that were scored."""
        return {"pairs_scored": sum(x.size for x in self.collected.in_order()["scores"])}

    def protocol(self) -> dict[str, Any]:
        """Returns the order of the steps and what counts."""
        return {
            "order": self.order,
            "normalize": self.normalize,
            "recall": "steps on one of their seconds over steps that occur, by task; then the mean",
            "ties": "the earliest seconds",
        }

    def answers(self, dataset: Any) -> list[dict[str, Any]] | None:
        """Returns the second of each step of each video, its score, and where the step is."""
        if not all(hasattr(dataset, name) for name in ("pairs", "cards")):
            return None
        truth = dataset.truth()
        rows = zip(
            dataset.pairs,
            self.predicted(truth),
            self.collected.in_order()["scores"],
            truth,
            strict=True,
        )
        return [
            answer(task, video, dataset.cards[task].steps, found, scores, true.seconds)
            for (task, video), found, scores, true in rows
        ]

    def files(
        self, dataset: Any, answers: Sequence[Any] | None, score_matrix: bool
    ) -> dict[str, Writer]:
        """Returns writers of ``predictions.jsonl`` and a ``<task>_<video>.csv`` for each video.

        The latter have lines ``step,start,end``, as CrossTask's annotations: a second for each
        step.
        """
        if answers is None:
            return {}
        rows = [{name: x for name, x in each.items() if name != "truth"} for each in answers]
        texts = {"predictions.jsonl": "".join(json.dumps(row) + "\n" for row in rows)}
        for row in rows:
            lines = (f"{s['step']},{s['second']},{s['second'] + 1}\n" for s in row["steps"])
            texts[f"{row['task']}_{row['video']}.csv"] = "".join(lines)
        return {
            name: partial(Path.write_text, data=text, encoding="utf-8")
            for name, text in texts.items()
        }

    def show(self, results: Mapping[str, Any]) -> None:
        """Prints the numbers as a table, with those of simple rules and by task."""
        beside = {"chance": results.get("chance", {}), **results.get("yardsticks", {})}
        print_rows(NUMBERS, {"model": results, **beside})
        for task, value in results["by_task"].items():
            log.info("task %s: recall %.2f", task, value)

    def write_page(
        self,
        path: Path,
        results: Mapping[str, Any],
        answers: Sequence[Any] | None,
        videos: Path | None,
    ) -> None:
        """Writes the page of a test: the numbers, and videos as bars in time."""
        if answers is None:
            super().write_page(path, results, answers, videos)
            return
        from paddlevideo.timelines.page import write_step_page

        write_step_page(path, results, answers)
        log.info("wrote %s", path)


def summary(truth: Sequence[Any], found: Sequence[float]) -> dict[str, Any]:
    """Returns "recall", "recall_of_videos" and "by_task" for the number of hits of each video."""
    counts = [int(true.seconds.any(axis=0).sum()) for true in truth]
    by_task = steps.recalls([true.task for true in truth], found, counts)
    by_video = steps.recalls([str(index) for index in range(len(truth))], found, counts)
    means = (steps.mean_recall(by_task), steps.mean_recall(by_video))
    numbers = {name: x for name, x in zip(NUMBERS, means, strict=True) if not np.isnan(x)}
    return {**numbers, "by_task": by_task}


def answer(
    task: str,
    video: str,
    names: Sequence[str],
    found: np.ndarray,
    scores: np.ndarray,
    true: np.ndarray,
) -> dict[str, Any]:
    """Returns a video's steps with their seconds and scores, and the segments of the truth."""
    rows = []
    for index, second in enumerate(found.tolist()):
        occurs = bool(true[:, index].any())
        rows.append(
            {
                "step": index + 1,
                "text": names[index],
                "second": second,
                "score": round(float(scores[second, index]), 4),
                "right": bool(true[second, index]) if occurs else None,
            }
        )
    return {
        "task": task,
        "video": video,
        "seconds": len(true),
        "steps": rows,
        "truth": [span for index, name in enumerate(names) for span in spans(true[:, index], name)],
    }


def spans(present: np.ndarray, label: str) -> list[dict[str, Any]]:
    """Returns the runs of True in ``present`` (T,): "start", "end" in seconds, and "label"."""
    edges = np.flatnonzero(np.diff(np.pad(present.astype(np.int8), 1)))
    return [
        {"start": int(start), "end": int(end), "label": label}
        for start, end in edges.reshape(-1, 2)
    ]
