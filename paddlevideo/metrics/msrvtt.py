"""Text-video retrieval on MSR-VTT and every other data set of captions and a gallery of videos."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from paddlevideo.metrics.collector import RowCollector
from paddlevideo.metrics.retrieval import (
    DIRECTIONS,
    HIGHER_IS_BETTER,
    TIE_RULE,
    chance_metrics,
    retrieval_metrics,
)
from paddlevideo.registry import METRICS, did_you_mean
from paddlevideo.utils.errors import ConfigError, DataError


@METRICS.register()
class MSRVTTMetric:
    """Collects one row of scores per caption; reports R@1, R@5, R@10, median and mean rank.

    Ties count against the right answer (see ``paddlevideo.metrics.retrieval``).
    """

    ties = TIE_RULE

    def __init__(
        self,
        log_interval: int = 1,
        best: str = "text_to_video.R@10",
        data_size: int | None = None,
        batch_size: int | None = None,
    ) -> None:
        """Sets up an empty metric.

        Args:
            log_interval: batches between two lines of progress.
            best: the number that selects the best checkpoint, ``direction.name``.
            data_size: accepted from PaddleVideo's files; the data set knows its size.
            batch_size: likewise.

        Raises:
            ConfigError: ``best`` names nothing that is reported.
        """
        known = [f"{way}.{name}" for way in DIRECTIONS for name in HIGHER_IS_BETTER]
        if best not in known:
            raise ConfigError(
                f'METRIC.best is "{best}".{did_you_mean(best, known)} Known: {", ".join(known)}'
            )
        self.log_interval = log_interval
        self.best = best
        self.higher_is_better = HIGHER_IS_BETTER[best.split(".", 1)[1]]
        self._collector = RowCollector()

    def update(self, index: np.ndarray, predictions: np.ndarray) -> None:
        """Keeps the scores of captions not seen before.

        Args:
            index: (B,) integers, the caption of each row.
            predictions: (B, videos), higher is better, all videos of the gallery.

        Raises:
            DataError: a score is not finite, or the shape is another.
        """
        index, scores = np.asarray(index), np.asarray(predictions)
        if scores.ndim != 2:
            raise DataError(f"scores have the shape {scores.shape}; expected (captions, videos)")
        finite = np.isfinite(scores)
        if not finite.all():
            row, video = np.argwhere(~finite)[0]
            raise DataError(
                f"the score of caption {index[row]} and video {video} is {scores[row, video]}. "
                "Check the weights and that video's features"
            )
        self._collector.add(index, {"scores": scores})

    def state(self) -> dict[str, Any]:
        """What was collected so far, picklable, for ``merge`` in another process."""
        return self._collector.state()

    def merge(self, states: Iterable[Mapping[str, Any]]) -> None:
        """Adds what other processes collected; captions that are known already are left out."""
        self._collector.merge(states)

    def scores(self, captions: int | None = None) -> np.ndarray:
        """(captions, videos) scores in the order of the captions.

        Raises:
            DataError: rows are missing.
        """
        return self._collector.in_order(captions)["scores"]

    def result(self, truth: np.ndarray) -> dict[str, dict[str, float]]:
        """``retrieval_metrics`` of all captions.

        Args:
            truth: (captions,) integers, each caption's video in the gallery.

        Raises:
            DataError: the rows of some captions never came; the message says how many.
        """
        return retrieval_metrics(self.scores(len(truth)), truth)

    def chance(self, truth: np.ndarray) -> dict[str, dict[str, float]]:
        """What random scores would reach on average, in the shape of ``result``."""
        return chance_metrics(truth, self.scores(len(truth)).shape[1])
