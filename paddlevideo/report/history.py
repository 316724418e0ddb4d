"""``train.jsonl`` of a run as curves, also of one that was killed, resumed or started again."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from paddlevideo.utils.errors import DataError

#: Keys that say where a record stands; the others are curves.
POSITIONS = ("epoch", "step", "step_total")
ADVICE = "training writes such a file as train.jsonl into its output folder"


@dataclass(frozen=True)
class Series:
    """A curve: ``steps`` (n,) int64, ascending, and finite ``values`` (n,) float64."""

    steps: np.ndarray
    values: np.ndarray


@dataclass(frozen=True)
class History:
    """All curves of a run, by the names of ``train.jsonl``; validations' begin with "valid."."""

    name: str  # for people
    series: dict[str, Series]
    steps: int  # optimizer steps of the run so far
    epochs: int  # epochs begun


def read_history(path: Path, name: str = "") -> History:
    """Reads a ``train.jsonl``, or that of a run's output folder.

    A line that is not a record is skipped: a killed run may leave one. Where a resumed run has
    repeated steps, the last ones count. ``name``: of the run; by default that of its folder.

    Raises:
        DataError: there is no such file, or no record in it.
    """
    path = path / "train.jsonl" if path.is_dir() else path
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            records = last_ones(records_of(file))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); {ADVICE}") from None
    if not records:
        raise DataError(f"{path}: no record of a training step in it; {ADVICE}")
    return History(
        name or path.resolve().parent.name,
        _series(records),
        max(record["step_total"] for record in records),
        max((e for r in records if isinstance(e := r.get("epoch"), int)), default=0),
    )


def records_of(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    """The lines that hold a record with the step it belongs to."""
    for line in lines:
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            continue
        step = record.get("step_total") if isinstance(record, dict) else None
        if isinstance(step, int) and 0 <= step < 2**53:
            yield record


def last_ones(records: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Records without those of steps that were repeated later.

    A step's record removes everything at its step and after it: that belongs to a run which was
    resumed before it. A validation's removes validations only, because the record of the step
    that it follows stays.
    """
    kept: list[dict[str, Any]] = []
    for record in records:
        step, is_step = record["step_total"], "epoch" in record
        late = []
        while kept and kept[-1]["step_total"] >= step:
            late.append(kept.pop())
        if not is_step:
            kept += [one for one in reversed(late) if "epoch" in one]
        kept.append(record)
    return kept


def _series(records: list[dict[str, Any]]) -> dict[str, Series]:
    """A curve for each name that has a finite number."""
    steps = np.array([record["step_total"] for record in records])
    series = {}
    for name in dict.fromkeys(name for record in records for name in record):
        try:
            values = np.array([record.get(name) for record in records], dtype=np.float64)
        except (TypeError, ValueError, OverflowError):
            continue  # text, or a list
        finite = np.isfinite(values)
        if name not in POSITIONS and finite.any():
            series[name] = Series(steps[finite], values[finite])
    return series
