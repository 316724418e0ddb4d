"""What differs between the configuration of a checkpoint and that of the run that resumes it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

#: Keys that decide what a training run computes, and those below them that do not.
DECISIVE = (
    *("MODEL", "OPTIMIZER", "GRADIENT_ACCUMULATION", "PIPELINE.train", "DATASET.train"),
    *("DATASET.batch_size", "DATASET.shuffle", "DATASET.drop_last", "DATASET.shuffle_window"),
    *("DATASET.group_by_length", "epochs", "seed", "amp", "ema_decay"),
)
HARMLESS = ("MODEL.pair_batch", "MODEL.gallery_gigabytes", "MODEL.backbone.pretrained")

ABSENT = "(absent)"


@dataclass(frozen=True)
class Difference:
    """A key whose value has changed. ``decisive``: the run would go on as another one."""

    key: str
    before: Any
    now: Any
    decisive: bool

    def __str__(self) -> str:
        return f"{self.key}: {self.before!r:.80} -> {self.now!r:.80}"


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[Difference]:
    """All keys whose values differ, in the order of their names."""
    return [
        Difference(key, old, new, is_decisive(key)) for key, old, new in _changes(before, now, "")
    ]


def is_decisive(key: str) -> bool:
    """Whether the value of a dotted key changes what training computes."""
    return _is_below(key, DECISIVE) and not _is_below(key, HARMLESS)


def _is_below(key: str, roots: Sequence[str]) -> bool:
    return any(key == root or key.startswith(f"{root}.") for root in roots)


def _changes(before: Any, now: Any, path: str) -> Iterator[tuple[str, Any, Any]]:
    old, new = _children(before), _children(now)
    if old is None or new is None or isinstance(before, Mapping) != isinstance(now, Mapping):
        if before != now:
            yield path, before, now
        return
    for key in sorted(old.keys() | new.keys()):
        inner = f"{path}.{key}" if path else key
        yield from _changes(old.get(key, ABSENT), new.get(key, ABSENT), inner)


def _children(value: Any) -> dict[str, Any] | None:
    """The entries of a map or list under their names, or None."""
    if isinstance(value, Mapping):
        return {str(key): item for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return {str(place): item for place, item in enumerate(value)}
    return None
