"""Selects parts of a batch: the keys of captions or videos, rows, features."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from paddlevideo.modeling.framework.base import Batch

CAPTION_KEYS = ("text_ids", "token_type_ids", "text_mask")
VIDEO_KEYS = ("image_feat", "image_loc", "image_mask", "action_feat", "action_mask")
#: The key of each stream's features.
FEATURES = {"regions": "image_feat", "actions": "action_feat"}
INPUT_KEYS = (*CAPTION_KEYS, *VIDEO_KEYS)


def select_rows(batch: Batch, wanted: np.ndarray, keys: Iterable[str]) -> dict[str, np.ndarray]:
    """Returns the entries ``keys`` of the samples where ``wanted`` (B,) is True."""
    return {key: np.asarray(batch[key])[wanted] for key in keys}


def select(batch: Batch, keys: Iterable[str]) -> dict[str, Any]:
    """Returns the entries ``keys``; token types default to zeros."""
    if "token_type_ids" not in batch and "text_ids" in batch:
        batch = {**batch, "token_type_ids": np.zeros_like(np.asarray(batch["text_ids"]))}
    return {key: batch[key] for key in keys}


def hide_features(batch: Batch, streams: Sequence[str]) -> Batch:
    """Returns ``batch`` with the features of "regions" or "actions" replaced by ones.

    Ones instead of zeros: layer normalization of zeros multiplies gradients by a million.
    """
    hidden = [FEATURES[stream] for stream in streams]
    return {**batch, **{key: batch[key] * 0 + 1 for key in hidden if key in batch}}
