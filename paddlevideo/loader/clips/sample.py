"""A clip as a raw training sample, under the names that PaddleVideo's pipeline steps use."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from paddlevideo.loader.clips.clip import Clip


def sample_of(clip: Clip, captions: Sequence[str]) -> dict[str, Any]:
    """Returns a sample of ``clip`` with these captions.

    Keys: ``clip``, its id, ``region_feat`` (n, F), ``boxes`` (n, 4) in pixels, ``image_h``,
    ``image_w``, ``action_feat`` (m, G), ``captions``, ``caption``, the first of them, and, if the
    clip has classes, ``region_target`` (n, C) and ``action_target`` (m,).
    """
    sample = {
        "clip": clip.id,
        "region_feat": clip.regions,
        "boxes": clip.boxes,
        "image_h": clip.image_h,
        "image_w": clip.image_w,
        "action_feat": clip.actions,
        "caption": captions[0],
        "captions": captions,
    }
    if (distributions := clip.dense_classes()) is not None:
        sample["region_target"] = distributions
    if clip.action_classes is not None:
        sample["action_target"] = clip.action_classes
    return sample


def box_vectors(boxes: np.ndarray, height: int, width: int) -> np.ndarray:
    """Converts boxes (n, 4) in pixels to (n, 5) float32: x1/W, y1/H, x2/W, y2/H, area/(W*H)."""
    vectors = np.empty((len(boxes), 5), np.float32)
    vectors[:, 0:4:2] = boxes[:, 0::2] / width
    vectors[:, 1:4:2] = boxes[:, 1::2] / height
    sides = boxes[:, 2:] - boxes[:, :2]
    vectors[:, 4] = sides[:, 0] * sides[:, 1] / (width * height)
    return vectors
