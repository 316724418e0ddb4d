"""Parts of a batch: what captions need, what videos need, some samples, some features."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from paddlevideo.modeling.framework.base import Batch

CAPTION_KEYS = ("text_ids", "token_type_ids", "text_mask")
VIDEO_KEYS = ("image_feat", "image_loc", "image_mask", "action_feat", "action_mask")
#: Where the features of a stream are.
FEATURES = {"regions": "image_feat", "actions": "action_feat"}
INPUT_KEYS = (*CAPTION_KEYS, *VIDEO_KEYS)


def select_rows(batch: Batch, wanted: np.ndarray, keys: Iterable[str]) -> dict[str, np.ndarray]:
    """The entries called ``keys``, of the samples that are ``wanted`` (B,)."""
    return {key: np.asarray(batch[key])[wanted] for key in keys}


def select(batch: Batch, keys: Iterable[str]) -> dict[str, Any]:
    """The entries called ``keys``; token types default to zeros."""
    if "token_type_ids" not in batch and "text_ids" in batch:
        batch = {**batch, "token_type_ids": np.zeros_like(np.asarray(batch["text_ids"]))}
    return {key: batch[key] for key in keys}


def blinded(batch: Batch, streams: Iterable[str]) -> Batch:
    """``batch`` with ones as the features of "regions" or "actions", which then say nothing.

    Not zeros: normalising nothing but zeros multiplies gradients by a million.
    """
    hidden = [FEATURES[stream] for stream in streams]
    return {key: x * 0 + 1 if key in hidden else x for key, x in batch.items()}
