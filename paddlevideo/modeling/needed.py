"""What of a padded, partly labelled batch has to be computed.

B clips, T words, R regions (the global one first), A actions.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import numpy as np
import paddle

from paddlevideo.modeling.backbones.actbert import PaddedLengths, Rows
from paddlevideo.modeling.backbones.tangled import Streams
from paddlevideo.modeling.framework.base import Batch
from paddlevideo.modeling.layers import Packing
from paddlevideo.modeling.losses.actbert import IGNORED
from paddlevideo.utils.limits import Limits, check_sample


def cut_padding(batch: Batch) -> tuple[dict[str, Any], PaddedLengths]:
    """Cuts off the words and regions that are padding in every clip of the batch.

    Masked positions weigh exactly 0 in attention and carry no label, so nothing else changes.
    """
    words = used_length(batch["text_mask"])
    regions = used_length(batch["image_mask"])
    lengths = {
        **dict.fromkeys(("text_ids", "token_type_ids", "text_mask", "text_labels"), words),
        **dict.fromkeys(("image_feat", "image_loc", "image_mask"), regions),
        **dict.fromkeys(("image_label", "image_target"), regions - 1),  # no global region there
    }
    padded = PaddedLengths(batch["text_mask"].shape[1], batch["image_mask"].shape[1])
    cut = {
        key: value[:, : lengths[key]] if key in lengths else value for key, value in batch.items()
    }
    return cut, padded


def used_length(mask: Any) -> int:
    """One more than the last position that is real in any row of ``mask`` (B, T); at least 2."""
    used = np.flatnonzero(np.asarray(mask).any(axis=0))
    return max(int(used[-1]) + 1 if used.size else 0, 2)


def pack_words(batch: Batch) -> Packing:
    """The words worth computing, of texts (B, T): real ones, labelled ones and position 0.

    A text without any real word keeps all its positions: they attend to each other.
    """
    mask, labels = np.asarray(batch["text_mask"]) > 0, np.asarray(batch["text_labels"])
    kept = mask | (labels != IGNORED) | ~mask.any(axis=1, keepdims=True)
    kept[:, 0] = True
    place = np.where(kept.ravel(), np.cumsum(kept.ravel()) - 1, 0)
    at = np.flatnonzero(kept)
    return Packing(paddle.to_tensor(at), paddle.to_tensor(place), *kept.shape)


def labelled_rows(
    batch: Batch, limits: Limits = MappingProxyType({})
) -> tuple[dict[str, Any], Rows]:
    """Picks the labelled positions: their labels and targets, and where they stand.

    Where nothing is labelled one row is kept all the same, with its ignoring label: the heads
    then still take part, with a gradient of zero, on every rank. Raises ConfigError where regions
    are asked for classes whose number is beyond ``limits``.
    """
    words = np.asarray(batch["text_labels"])
    regions = np.asarray(batch["image_label"])
    actions = np.asarray(batch["action_label"])
    text_at, region_at, action_at = (at_least_one(x) for x in (words, regions, actions))
    # Where nothing is labelled the classes are of no account, and any width fits.
    none = np.zeros((*regions.shape, 1), np.float32)
    is_asked = (regions != IGNORED).any()
    targets = np.asarray(batch.get("image_target", none) if is_asked else none)
    if is_asked:
        check_sample(limits, {"region_target": targets}, lambda: "the batch")
    picked = {
        **batch,
        "text_labels": words.ravel()[text_at],
        "image_label": regions.ravel()[region_at],
        "image_target": targets.reshape(-1, targets.shape[-1])[region_at],
        "action_label": actions.ravel()[action_at],
    }
    with_global = np.pad(regions, ((0, 0), (1, 0)), constant_values=IGNORED)
    asked = [asked_positions(labels) for labels in (words, with_global, actions)]
    positions, predicted = zip(*asked, strict=True)
    return picked, Rows(
        Streams(*map(paddle.to_tensor, positions)), Streams(*map(paddle.to_tensor, predicted))
    )


def asked_positions(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Position 0 and the labelled positions of each clip, and where the labelled ones then stand.

    ``labels`` (B, T) -> positions (B, K), filled up with 0, and indices into the flattened
    (B * K), in the order of the labels; [0] if there are none.
    """
    clip, position = np.nonzero(labels != IGNORED)
    counts = np.bincount(clip, minlength=len(labels))
    rank = 1 + np.arange(len(clip)) - (np.cumsum(counts) - counts)[clip]
    positions = np.zeros((len(labels), 1 + counts.max()), dtype=np.int64)
    positions[clip, rank] = position
    predicted = clip * positions.shape[1] + rank
    return positions, predicted if predicted.size else np.zeros(1, dtype=np.int64)


def at_least_one(labels: np.ndarray) -> np.ndarray:
    """Flat indices of labels other than -1, or [0] if there are none."""
    at = np.flatnonzero(labels != IGNORED)
    return at if at.size else np.zeros(1, dtype=np.int64)
