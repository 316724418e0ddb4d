"""Reads a run's ``train.jsonl`` as curves, even if the run was killed or resumed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from paddlevideo.utils.errors import DataError

#: Keys that locate a record in the run; the others are curves.
POSITIONS = ("epoch", "step", "step_total")
ADVICE = "expected the train.jsonl that training writes into its output folder"


@dataclass(frozen=True)
class Series:
    """A curve: ``steps`` (n,) int64, ascending, and finite ``values`` (n,) float64."""

    steps: np.ndarray
    values: np.ndarray


@dataclass(frozen=True)
class History:
    """All curves of a run, by the names in ``train.jsonl``; validations start with "valid."."""

    name: str  # as shown
    series: dict[str, Series]
    steps: int  # optimizer steps of the run so far
    epochs: int  # epochs begun


def read_history(path: Path, name: str = "") -> History:
    """Reads a ``train.jsonl``, or the one in a run's output folder.

    Lines that are not records are skipped: a killed run may leave one. If a resumed run has
    repeated steps, the last ones count. ``name``: name of the run, by default that of its folder.

    Raises:
        DataError: the file cannot be read, or has no record.
    """
    path = path / "train.jsonl" if path.is_dir() else path
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            records = last_ones(records_of(file))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); {ADVICE}") from None
    if not records:
        raise DataError(f"{path}: contains no record of a training step; {ADVICE}")
    return History(
        name or path.resolve().parent.name,
        _series(records),
        max(record["step_total"] for record in records),
        max((e for r in records if isinstance(e := r.get("epoch"), int)), default=0),
    )


def records_of(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    """Yields the records in ``lines`` that have a step."""
    for line in lines:
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            continue
        step = record.get("step_total") if isinstance(record, dict) else None
        if isinstance(step, int) and 0 <= step < 2**53:
            yield record


def last_ones(records: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns the records without those of steps that were repeated later.

    The record of a step replaces all records of the same and later steps, which were written before
    the run was resumed. The record of a validation replaces only validations, because the record of
    its step remains.
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
    """Returns a curve for each name with a finite number."""
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
