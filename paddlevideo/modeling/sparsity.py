"""Leaves out padding and unlabelled positions of a batch.

B clips, T words, R regions (the global one first), A actions.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import numpy as np

from paddlevideo.modeling.backbones.actbert import PaddedLengths, Rows
from paddlevideo.modeling.backbones.tangled import Streams
from paddlevideo.modeling.framework.base import Batch
from paddlevideo.modeling.layers import Packing
from paddlevideo.modeling.losses.actbert import IGNORED
from paddlevideo.utils.limits import Limits, check_sample

MASKS = ("text_mask", "image_mask", "action_mask")


def cut_padding(batch: Batch) -> tuple[dict[str, Any], PaddedLengths]:
    """Returns the batch without padding that all clips share, and the lengths before.

    Masked positions have an attention weight of exactly 0 and no label, so results do not change.
    """
    words = used_length(batch["text_mask"])
    regions = used_length(batch["image_mask"])
    lengths = {
        **dict.fromkeys(("text_ids", "token_type_ids", "text_mask", "text_labels"), words),
        **dict.fromkeys(("image_feat", "image_loc", "image_mask"), regions),
        **dict.fromkeys(("image_label", "image_target"), regions - 1),  # without the global region
    }
    padded = PaddedLengths(batch["text_mask"].shape[1], batch["image_mask"].shape[1])
    cut = {
        key: value[:, : lengths[key]] if key in lengths else value for key, value in batch.items()
    }
    return cut, padded


def used_length(mask: Any) -> int:
    """Returns 1 + the last position that is real in any row of ``mask`` (B, T); at least 2."""
    used = np.flatnonzero(np.asarray(mask).any(axis=0))
    return max(int(used[-1]) + 1 if used.size else 0, 2)


def pack_words(batch: Batch) -> Packing:
    """Selects the words of texts (B, T) to compute: real and labelled ones, and position 0.

    A text without real words keeps all positions, because they attend to each other.
    """
    mask, labels = np.asarray(batch["text_mask"]) > 0, np.asarray(batch["text_labels"])
    kept = mask | (labels != IGNORED) | ~mask.any(axis=1, keepdims=True)
    kept[:, 0] = True
    row = np.where(kept.ravel(), np.cumsum(kept.ravel()) - 1, 0)
    return Packing(np.flatnonzero(kept), row, *kept.shape)


def labelled_rows(
    batch: Batch, limits: Limits = MappingProxyType({})
) -> tuple[dict[str, Any], Rows]:
    """Returns the batch with labels and targets of labelled positions only, and the positions.

    Masks become float32, the type in which attention adds them.

    If nothing is labelled, one row with label -1 is kept, so that the heads have a gradient (of
    zeros) on every rank. Raises ConfigError if the number of region classes differs from that of
    ``limits``.
    """
    words = np.asarray(batch["text_labels"])
    regions = np.asarray(batch["image_label"])
    actions = np.asarray(batch["action_label"])
    text_at, region_at, action_at = (
        indices_or_zero(x != IGNORED) for x in (words, regions, actions)
    )
    targets = np.zeros(
        (*regions.shape, 1), np.float32
    )  # the width is irrelevant if nothing is labelled
    if (regions != IGNORED).any():
        targets = np.asarray(batch.get("image_target", targets))
        check_sample(limits, {"region_target": targets}, lambda: "the batch")
    labelled = {
        **batch,
        **{key: np.asarray(batch[key], np.float32) for key in MASKS},
        "text_labels": words.ravel()[text_at],
        "image_label": regions.ravel()[region_at],
        "image_target": targets.reshape(-1, targets.shape[-1])[region_at],
        "action_label": actions.ravel()[action_at],
    }
    with_global = np.pad(regions, ((0, 0), (1, 0)), constant_values=IGNORED)
    positions, predicted = [], []
    for labels in (words, with_global, actions):
        position, index = labelled_positions(labels)
        clip = np.arange(len(labels))[:, None]
        positions.append((position + clip * labels.shape[1]).ravel())
        predicted.append(index)
    return labelled, Rows(Streams(*positions), Streams(*predicted))


def labelled_positions(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns position 0 and the labelled positions of each clip, and the indices of the latter.

    ``labels`` (B, T) -> positions (B, K), padded with 0, and the labelled ones' indices into the
    flattened (B * K), in the order of the labels; [0] if there are none.
    """
    clip, position = np.nonzero(labels != IGNORED)
    counts = np.bincount(clip, minlength=len(labels))
    column = 1 + np.arange(len(clip)) - (np.cumsum(counts) - counts)[clip]
    positions = np.zeros((len(labels), 1 + counts.max()), dtype=np.int64)
    positions[clip, column] = position
    predicted = clip * positions.shape[1] + column
    return positions, predicted if predicted.size else np.zeros(1, dtype=np.int64)


def indices_or_zero(mask: np.ndarray) -> np.ndarray:
    """Returns the flat indices where ``mask`` is True, or [0] if there are none."""
    indices = np.flatnonzero(mask)
    return indices if indices.size else np.zeros(1, dtype=np.int64)
