"""The metric of action segmentation: a label for every second of every video.

T seconds of a video.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from paddlevideo.metrics import segments
from paddlevideo.metrics.base import EvaluationData, Metric, Predictor, Writer
from paddlevideo.metrics.segments import OVERLAPS, mean_over_videos, overlap_name, pooled
from paddlevideo.registry import METRICS, InputPath, did_you_mean
from paddlevideo.timelines.tables import print_rows
from paddlevideo.utils.errors import ConfigError, DataError
from paddlevideo.utils.ranges import Count, Probability

log = logging.getLogger("paddlevideo")
ACCURACIES = ("accuracy", "foreground_accuracy")
POOLED = "pooled"


@METRICS.register()
class SegmentationMetric(Metric):
    """Frame accuracy, accuracy without background, edit score, and F1 at several overlaps.

    ``best``: the number that selects the best checkpoint. ``overlap``: the overlaps of F1.
    ``actions_map_file_path`` and ``log_interval`` are accepted for PaddleVideo's files: the names
    of the classes are those of the data set.

    Numbers are means over the videos; under "pooled" all seconds and segments count equally.
    """

    def __init__(
        self,
        best: str = "accuracy",
        overlap: Sequence[Probability] = OVERLAPS,
        actions_map_file_path: InputPath | None = None,
        log_interval: Count = 1,
    ) -> None:
        names = [*ACCURACIES, "edit", *map(overlap_name, overlap)]
        known = [*names, *(f"{POOLED}.{name}" for name in names if name != "edit")]
        if best not in known:
            raise ConfigError(
                f'METRIC.best is "{best}".{did_you_mean(best, known)} Known: {", ".join(known)}'
            )
        self.best, self.overlaps = best, tuple(overlap)

    def predictor(self, model: Any, data: EvaluationData) -> Predictor:
        """Returns the predictor. Raises WeightsError if model and data have other classes."""
        model.set_up_from(data.loader.reader.dataset)
        return super().predictor(model, data)

    def predicted(self, truth: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Returns the predicted class of each second of every video, (T,) each.

        Raises DataError if a video has other seconds than ``truth``.
        """
        rows = self.collected.in_order(len(truth))
        if "labels" not in rows:
            raise ConfigError(
                f"METRIC.name: {self.name} needs labels of seconds, but the model returns "
                f"{', '.join(rows)}. Use MODEL.framework: ActBertTask with the head FrameHead"
            )
        for index, (guess, true) in enumerate(zip(rows["labels"], truth, strict=True)):
            if len(guess) != len(true):
                raise DataError(
                    f"video {index}: {len(guess)} labels were predicted for {len(true)} seconds"
                )
        return [np.asarray(guess) for guess in rows["labels"]]

    def result(self, truth: Sequence[np.ndarray]) -> dict[str, Any]:
        """Returns the scores in percent. ``truth``: the class of each second, (T,) each."""
        return self.scores(self.predicted(truth), truth)

    def scores(
        self, predicted: Sequence[np.ndarray], truth: Sequence[np.ndarray]
    ) -> dict[str, Any]:
        """Returns the means over the videos and, under "pooled", the scores of all together.

        A number for which there is nothing to count is left out.
        """
        means = mean_over_videos(predicted, truth, self.overlaps)
        together = pooled(predicted, truth, self.overlaps)
        return {**finite(means), POOLED: finite(together)}

    def yardsticks(self, truth: Sequence[np.ndarray]) -> dict[str, dict[str, Any]]:
        """Returns the scores of always the background, and of always the commonest class."""
        commonest = int(np.bincount(np.concatenate(truth)).argmax())
        constants = {"always background": segments.BACKGROUND, "majority": commonest}
        return {
            name: self.scores([np.full_like(true, label) for true in truth], truth)
            for name, label in constants.items()
        }

    def counts(self) -> dict[str, int]:
        """Returns the number of seconds that were labelled."""
        return {"seconds": sum(map(len, self.collected.in_order()["labels"]))}

    def protocol(self) -> dict[str, Any]:
        """Returns what is counted, and how the numbers are averaged."""
        return {
            "background": "class 0; left out of edit score and F1",
            "average": "mean over the videos; pooled: over all seconds and segments",
        }

    def answers(self, dataset: Any) -> list[dict[str, Any]] | None:
        """Returns the segments of each video: their start, end and label, and its scores."""
        if not all(hasattr(dataset, name) for name in ("videos", "classes")):
            return None
        truth = dataset.truth()
        return [
            {
                "video": video,
                "seconds": len(true),
                "segments": named_segments(guess, dataset.classes),
                "truth": named_segments(true, dataset.classes),
                **finite(segments.video_scores(guess, true, self.overlaps)),
            }
            for video, guess, true in zip(dataset.videos, self.predicted(truth), truth, strict=True)
        ]

    def files(
        self, dataset: Any, answers: Sequence[Any] | None, score_matrix: bool
    ) -> dict[str, Writer]:
        """Returns writers of ``predictions.jsonl``, ``coin.json`` and a ``<video>.txt`` each.

        The text files have a class name a second, as MS-TCN's ``groundTruth``; ``coin.json`` has
        COIN's form.
        """
        if answers is None:
            return {}
        rows = [{name: x for name, x in each.items() if name != "truth"} for each in answers]
        texts = {
            "predictions.jsonl": "".join(json.dumps(row) + "\n" for row in rows),
            "coin.json": json.dumps(coin_form(rows, dataset.classes), indent=1) + "\n",
        }
        labels = self.collected.in_order()["labels"]
        for video, seconds in zip(dataset.videos, labels, strict=True):
            texts[f"{video}.txt"] = "".join(dataset.classes[label] + "\n" for label in seconds)
        return {
            name: partial(Path.write_text, data=text, encoding="utf-8")
            for name, text in texts.items()
        }

    def show(self, results: Mapping[str, Any]) -> None:
        """Prints the numbers as a table, with those of the yardsticks."""
        names = [name for name, x in results.items() if isinstance(x, float)]
        beside = {POOLED: results.get(POOLED, {}), **results.get("yardsticks", {})}
        print_rows(names, {"model": results, **beside})

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
        from paddlevideo.timelines.page import write_segment_page

        write_segment_page(path, results, answers)
        log.info("wrote %s", path)


def finite(scores: Mapping[str, float]) -> dict[str, float]:
    """Returns the scores that are not NaN."""
    return {name: value for name, value in scores.items() if not np.isnan(value)}


def named_segments(labels: np.ndarray, classes: Sequence[str]) -> list[dict[str, Any]]:
    """Returns the segments other than the background: "start", "end" in seconds, and "label"."""
    found = segments.segments_of(labels).without(segments.BACKGROUND)
    return [
        {"start": int(start), "end": int(end), "label": classes[label]}
        for label, start, end in zip(*found, strict=True)
    ]


def coin_form(rows: Sequence[Mapping[str, Any]], classes: Sequence[str]) -> dict[str, Any]:
    """Returns the segments of videos as COIN's file has them."""
    numbers = {name: str(number) for number, name in enumerate(classes)}
    return {
        "database": {
            row["video"]: {
                "duration": float(row["seconds"]),
                "annotation": [
                    {
                        "id": numbers[one["label"]],
                        "segment": [float(one["start"]), float(one["end"])],
                        "label": one["label"],
                    }
                    for one in row["segments"]
                ],
            }
            for row in rows
        }
    }
