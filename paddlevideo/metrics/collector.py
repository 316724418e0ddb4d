"""Collects rows of predictions by sample index.

A row is an entry of an array, or of a list if rows differ in length.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from paddlevideo.utils.errors import DataError

Rows: TypeAlias = "np.ndarray | list[np.ndarray]"


class RowCollector:
    """Collects one row per sample and array name. Later rows of the same sample are ignored.

    Repeated samples come from several ranks, or from the saved rows of an interrupted test; they
    must not count twice.
    """

    def __init__(self) -> None:
        self._seen: set[int] = set()
        self._indices: list[np.ndarray] = []
        self._rows: list[dict[str, Rows]] = []

    def add(self, index: np.ndarray, rows: Mapping[str, Any]) -> None:
        """Adds the rows of samples that were not added before.

        Args:
            index: (B,) integers, the sample of each row.
            rows: arrays whose first dimension is B, or lists of B entries.

        Raises:
            DataError: the number of rows is not that of ``index``, or the names are not those of
                earlier rows.
        """
        index = np.asarray(index, dtype=np.int64).reshape(-1)
        kept = {name: r if isinstance(r, list) else np.asarray(r) for name, r in rows.items()}
        for name, values in kept.items():
            shape = (len(values),) if isinstance(values, list) else values.shape
            if shape[:1] != index.shape:
                raise DataError(
                    f'predictions "{name}" have the shape {shape} for {len(index)} samples; '
                    "expected one row per sample"
                )
        if len(index) and self._rows and kept.keys() != self._rows[0].keys():
            raise DataError(
                f"predictions are named {sorted(kept)}, those of earlier batches "
                f"{sorted(self._rows[0])}; expected the same names in every batch"
            )
        new = self._first_seen(index)
        if new:
            self._indices.append(index[new])
            self._rows.append({name: select(values, new) for name, values in kept.items()})

    def _first_seen(self, index: np.ndarray) -> list[int]:
        """Returns the positions of new samples in ``index``, and marks them as seen."""
        new = []
        for position, sample in enumerate(index.tolist()):
            if sample not in self._seen:
                self._seen.add(sample)
                new.append(position)
        return new

    def state(self) -> dict[str, Any]:
        """Returns ``{"index": (n,), "rows": {name: (n, ...)}}`` in order of arrival."""
        if not self._indices:
            return {"index": np.zeros(0, dtype=np.int64), "rows": {}}
        names = self._rows[0]
        rows = {name: join([part[name] for part in self._rows]) for name in names}
        return {"index": np.concatenate(self._indices), "rows": rows}

    def merge(self, states: Iterable[Mapping[str, Any]]) -> None:
        """Adds the states that ``state()`` returned in other processes."""
        for state in states:
            self.add(state["index"], state["rows"])

    def in_order(self, expected: int | None = None) -> dict[str, Any]:
        """Returns all rows by name, sorted by sample index.

        Args:
            expected: the number of samples, with indices from 0; None: any.

        Raises:
            DataError: nothing was collected, or samples are missing or beyond ``expected``.
        """
        state = self.state()
        index = state["index"]
        if expected is not None:
            _check_complete(index, expected)
        if not len(index):
            raise DataError("no predictions were collected: the data set has no samples")
        order = np.argsort(index)
        return {name: select(values, order) for name, values in state["rows"].items()}


def select(rows: Rows, positions: Sequence[int] | np.ndarray) -> Rows:
    """Returns the rows at ``positions``."""
    if isinstance(rows, list):
        return [rows[position] for position in positions]
    return rows[np.asarray(positions, dtype=np.int64)]


def join(parts: list[Rows]) -> Rows:
    """Concatenates rows, which are all arrays or all lists."""
    if isinstance(parts[0], list):
        return [row for part in parts for row in part]
    return np.concatenate(parts)


def _check_complete(index: np.ndarray, expected: int) -> None:
    """Raises DataError unless ``index`` is a permutation of 0 .. expected - 1."""
    missing = np.setdiff1d(np.arange(expected), index)
    beyond = index[(index < 0) | (index >= expected)]
    if len(missing):
        raise DataError(
            f"predictions for {len(missing)} of {expected} samples are missing, the first one "
            f"for sample {missing[0]}: a process stopped early, or the run was cut short"
        )
    if len(beyond):
        raise DataError(f"predictions for sample {beyond[0]}, but there are only {expected}")
