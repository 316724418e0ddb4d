"""The mean of per-sample losses, for validation without ranking."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from paddlevideo.metrics.base import Metric
from paddlevideo.registry import METRICS, did_you_mean
from paddlevideo.utils.errors import ConfigError, DataError
from paddlevideo.utils.ranges import Count


@METRICS.register()
class LossMetric(Metric):
    """Averages named losses over samples. Lower is better."""

    higher_is_better = False

    def __init__(self, log_interval: Count = 1, best: str = "loss") -> None:
        """``best`` names the loss that selects the best checkpoint.

        ``log_interval`` is accepted for PaddleVideo's files and has no effect.
        """
        self.best = best

    def update(self, index: np.ndarray, predictions: Mapping[str, np.ndarray]) -> None:
        """Adds the losses of samples that were not added before.

        Args:
            index: (B,) integers, the sample of each row.
            predictions: (B,) losses by name.

        Raises:
            ConfigError: ``predictions`` are not losses.
            DataError: a loss is not finite or has another shape.
        """
        if not isinstance(predictions, Mapping):
            raise ConfigError(
                "METRIC.name: LossMetric averages named losses, but with this data set the model "
                f"returns {type(predictions).__name__}s. Leave METRIC out, so that the data set's "
                "default is used"
            )
        for name, losses in predictions.items():
            finite = np.isfinite(losses)
            if np.ndim(losses) != 1 or not finite.all():
                first = "" if np.ndim(losses) != 1 else f", sample {np.asarray(index)[~finite][0]}"
                raise DataError(
                    f'"{name}" of shape {np.shape(losses)}{first}: expected one finite number '
                    "per sample. Check the weights and that sample's features"
                )
        self.collected.add(index, predictions)

    def result(self, truth: Any = None) -> dict[str, float]:
        """Returns the mean of each loss, summed in the order of the samples in float64.

        Args:
            truth: None, or anything with one entry per sample, to check that none is missing.

        Raises:
            ConfigError: ``best`` is not the name of a loss.
            DataError: nothing was collected, or samples are missing.
        """
        rows = self.collected.in_order(None if truth is None else len(truth))
        if self.best not in rows:
            raise ConfigError(
                f'METRIC.best is "{self.best}", but the losses are {", ".join(sorted(rows))}.'
                f"{did_you_mean(self.best, rows)}"
            )
        return {name: float(np.mean(losses, dtype=np.float64)) for name, losses in rows.items()}
