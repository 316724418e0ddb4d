"""Differences between the configuration of a checkpoint and of the run that resumes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from paddlevideo.utils.nested import changes

#: Keys that change what a training run computes, and exceptions below them.
DECISIVE = (
    *("MODEL", "OPTIMIZER", "GRADIENT_ACCUMULATION", "PIPELINE.train", "DATASET.train", "data"),
    *("DATASET.batch_size", "DATASET.shuffle", "DATASET.drop_last", "DATASET.shuffle_window"),
    *("DATASET.group_by_length", "DATASET.shards", "epochs", "seed", "amp", "ema_decay"),
)
HARMLESS = (
    *("MODEL.pair_batch", "MODEL.gallery_gigabytes", "MODEL.backbone.pretrained"),
    # Initial weights are those of the checkpoint.
    *("MODEL.backbone.initializer_range", "MODEL.backbone.embedding_initializer_range"),
    *("MODEL.backbone.match_initializer_range", "MODEL.backbone.head_initializer_range"),
)


@dataclass(frozen=True)
class Difference:
    """A key whose value has changed. ``decisive``: training would compute something else."""

    key: str
    before: Any
    now: Any
    decisive: bool

    def __str__(self) -> str:
        return f"{self.key}: {self.before!r:.80} -> {self.now!r:.80}"


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[Difference]:
    """Returns all keys whose values differ, in the order of their names."""
    return [Difference(key, old, new, is_decisive(key)) for key, old, new in changes(before, now)]


def is_decisive(key: str) -> bool:
    """Whether the value of a dotted key changes what training computes."""
    return _is_below(key, DECISIVE) and not _is_below(key, HARMLESS)


def _is_below(key: str, roots: Sequence[str]) -> bool:
    return any(key == root or key.startswith(f"{root}.") for root in roots)
