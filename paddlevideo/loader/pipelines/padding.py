"""Truncates and pads regions and actions to fixed numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from paddlevideo.loader.clips.sample import box_vectors
from paddlevideo.registry import PIPELINES
from paddlevideo.utils.errors import ConfigError
from paddlevideo.utils.ranges import Count


@PIPELINES.register()
class FeaturePadding:
    """Truncates or pads regions and actions; the first ones are kept.

    Takes ``region_feat``, ``region_target``, ``boxes``, ``image_h``, ``image_w``, ``action_feat``
    and ``action_target`` of a raw sample. Adds ``image_feat`` (R, F), ``image_target`` (R, C; real
    rows sum to 1, others are 0), ``image_loc`` (R, 5), ``action_feat`` (A, G), all float32, and
    ``image_mask`` (R,), ``action_mask`` (A,) (1 = real) and ``action_target`` (A,) int64, with
    class 0 where padded. A clip without ``region_target`` or ``action_target`` gets none. Other
    keys do not change.
    """

    def __init__(self, max_region_num: Count = 36, max_action_num: Count = 5):
        if max_region_num < 1 or max_action_num < 1:
            raise ConfigError(
                "FeaturePadding: max_region_num and max_action_num must be at least 1"
            )
        self.regions, self.actions = max_region_num, max_action_num

    def __call__(self, sample: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
        """Returns the padded sample; the arrays of ``sample`` are not changed."""
        sample = dict(sample)
        features = sample.pop("region_feat")
        boxes = sample.pop("boxes")[: self.regions]
        height, width = sample.pop("image_h"), sample.pop("image_w")
        sample["image_feat"] = _pad(features, self.regions)
        if "region_target" in sample:
            sample["image_target"] = _normalised(sample.pop("region_target"), self.regions)
        sample["image_loc"] = _pad(box_vectors(boxes, height, width), self.regions)
        sample["image_mask"] = _mask(len(features), self.regions)
        actions = sample["action_feat"]
        sample["action_feat"] = _pad(actions, self.actions)
        sample["action_mask"] = _mask(len(actions), self.actions)
        if "action_target" in sample:
            classes = sample["action_target"][: self.actions]
            sample["action_target"] = np.zeros(self.actions, np.int64)
            sample["action_target"][: len(classes)] = classes
        return sample


def _normalised(rows: np.ndarray, count: int) -> np.ndarray:
    """Pads rows and scales them to sum to 1: stored ones may not, being rounded or truncated."""
    kept = min(len(rows), count)
    sums = rows[:kept].sum(axis=1, keepdims=True)
    if np.abs(sums - 1).max(initial=0) < 1e-6:
        return _pad(rows, count)  # already normalised: saves a pass
    padded = np.empty((count, rows.shape[1]), np.float32)
    np.divide(rows[:kept], sums, out=padded[:kept])
    padded[kept:] = 0
    return padded


def _pad(rows: np.ndarray, count: int) -> np.ndarray:
    """Returns the first ``count`` rows as float32, zero padded; may be ``rows`` itself."""
    if len(rows) == count and rows.dtype == np.float32:
        return rows
    kept = min(len(rows), count)
    padded = np.empty((count, rows.shape[1]), np.float32)
    padded[:kept] = rows[:kept]
    padded[kept:] = 0
    return padded


def _mask(real: int, count: int) -> np.ndarray:
    return (np.arange(count) < real).astype(np.int64)
