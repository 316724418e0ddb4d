"""Scores of every second of a video for every step of a task, by matching as in retrieval.

T seconds of a video, K steps of its task.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from paddlevideo.metrics.base import Batch, EvaluationData, Predictor
from paddlevideo.utils.errors import ConfigError, DataError


class StepPredictor(Predictor):
    """Matches seconds with the texts of steps; the texts of a task are encoded once.

    ``model``: ``ActBert``, with any weights that match, such as those of a retrieval. Memory does
    not grow with the video: at most ``pair_batch`` seconds are encoded at a time.
    """

    def __init__(self, model: Any, data: EvaluationData | None = None) -> None:
        """Raises ConfigError for a model that does not match texts with videos."""
        if not hasattr(model, "pair_scores"):
            raise ConfigError(
                f"METRIC.name: StepMetric matches seconds with texts, which {type(model).__name__} "
                "cannot do. Use MODEL.framework: ActBert"
            )
        self.model, self.prepared = model, None
        self.seconds: dict[str, float] = {}
        self._texts: dict[str, Any] = {}

    def predict(self, batch: Batch) -> dict[str, list[np.ndarray]]:
        """Returns "scores": (T, K) float32 of each video, (T, K + 1) with a background."""
        if "step_video" not in batch:
            raise ConfigError(
                "METRIC.name: StepMetric needs videos of tasks. Use DATASET.test.format: "
                "CrossTaskDataset"
            )
        return {"scores": [self.scores(video) for video in batch["step_video"]]}

    def scores(self, video: Any) -> np.ndarray:
        """Returns the score of each second of ``video`` for each of its texts, float32."""
        if video.card not in self._texts:
            self._texts[video.card] = self.model.encode_captions(video.texts())
        texts, parts = self._texts[video.card], []
        for clips in video.clips(self.model.scorer.pair_batch):
            seconds = self.model.encode_videos(clips)
            at, text_at = np.divmod(np.arange(seconds.size * texts.size), texts.size)
            found = self.model.pair_scores(texts, seconds, (text_at, at))
            parts.append(found.reshape(seconds.size, texts.size))
        if not parts:
            raise DataError(f'video "{video.timeline.name}" has no seconds')
        return np.concatenate(parts)
