"""Saves the predictions of a test, so that an interrupted test can continue."""

from __future__ import annotations

import json
import logging
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from paddlevideo.files.whole import read_json, write_arrays_whole, write_json_whole
from paddlevideo.metrics.base import Metric
from paddlevideo.runtime import World

log = logging.getLogger("paddlevideo")

FOLDER = "test_rows"
SECONDS = 10.0  # between two files; the most work that an interruption loses


class SavedRows:
    """Keeps each rank's predictions in ``<folder>/test_rows`` until the test has ended.

    ``key`` identifies the test: rows of a test with a different key are never used. Without
    ``resume``, rows of an earlier test are dropped, and that is logged. Leaving the ``with`` block
    by an exception writes the predictions so far; otherwise ``discard`` removes the folder.
    """

    def __init__(self, folder: Path, key: Mapping[str, Any], world: World, resume: bool) -> None:
        self.folder, self.world = folder / FOLDER, world
        self.key = json.loads(json.dumps(key, default=str))
        if world.is_main:
            self._clear_others(resume)
            self.folder.mkdir(parents=True, exist_ok=True)
            write_json_whole(self.folder / "key.json", self.key)
        world.barrier()
        self._waiting: list[tuple[np.ndarray, Any]] = []
        self._written = time.monotonic()
        self._files = len(list(self.folder.glob(f"rank{world.rank}_*.npz")))

    def __enter__(self) -> SavedRows:
        return self

    def __exit__(self, *exception: object) -> None:
        self._write()

    def restore(self, metric: Metric) -> set[int]:
        """Returns the samples that are done; rank 0 passes their predictions to ``metric``."""
        done: set[int] = set()
        for path in sorted(self.folder.glob("rank*_*.npz")):
            try:
                with np.load(path, allow_pickle=False) as file:
                    index, predictions = file["index"], unpack(file)
            except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
                log.warning("%s is damaged (%s): its samples are computed again", path, error)
                continue
            done.update(index.tolist())
            if self.world.is_main:
                metric.update(index, predictions)
        self.world.barrier()  # no rank writes while another one still reads
        if done:
            log.info("resumed the test: %d samples are already done", len(done))
        return done

    def add(self, index: np.ndarray, predictions: Any) -> None:
        """Keeps a batch of predictions; every ``SECONDS`` what has been kept is written."""
        self._waiting.append((np.asarray(index), predictions))
        if time.monotonic() - self._written > SECONDS:
            self._write()

    def discard(self) -> None:
        """Removes the folder, once the results are written."""
        self._waiting = []
        if self.world.is_main:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _write(self) -> None:
        for index, predictions in self._waiting:
            arrays = pack(predictions)
            if arrays is not None:
                path = self.folder / f"rank{self.world.rank}_{self._files:06d}.npz"
                write_arrays_whole(path, {"index": index, **arrays})
                self._files += 1
        self._waiting = []
        self._written = time.monotonic()

    def _clear_others(self, resume: bool) -> None:
        if not self.folder.is_dir():
            if resume:
                log.info(
                    "no interrupted test in %s: starting from the beginning", self.folder.parent
                )
            return
        changed = list(differences(read_json(self.folder / "key.json"), self.key))
        if changed:
            log.warning(
                "%s contains rows of another test (%s), which are dropped",
                self.folder,
                ", ".join(changed[:3]),
            )
        elif not resume:
            log.warning(
                "%s contains rows of an interrupted test, which are dropped; --resume auto would "
                "continue from them",
                self.folder,
            )
        if changed or not resume:
            shutil.rmtree(self.folder)


def differences(first: Any, second: Any, path: str = "") -> Iterator[str]:
    """Yields the dotted names of entries in which two nested maps differ."""
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        for key in sorted(first.keys() | second.keys()):
            yield from differences(first.get(key), second.get(key), f"{path}.{key}".strip("."))
    elif first != second:
        yield path or "no key"


def pack(predictions: Any) -> dict[str, np.ndarray] | None:
    """Returns the predictions of a batch as named arrays; None if they cannot be saved."""
    named = predictions if isinstance(predictions, Mapping) else {"": predictions}
    packed: dict[str, np.ndarray] = {}
    for name, rows in named.items():
        try:
            if isinstance(rows, list) and all(isinstance(row, np.ndarray) for row in rows):
                packed[f"lengths.{name}"] = np.array([len(row) for row in rows])
                packed[f"joined.{name}"] = np.concatenate(rows)
            else:
                kind = "list" if isinstance(rows, list) else "array"
                packed[f"{kind}.{name}"] = np.asarray(rows)
        except ValueError:  # rows of different shapes
            return None
    storable = all(array.ndim and not array.dtype.hasobject for array in packed.values())
    return packed if storable else None


def unpack(file: Mapping[str, np.ndarray]) -> Any:
    """Returns the predictions that ``pack`` was given. Raises KeyError if there are none."""
    named: dict[str, Any] = {}
    for key in file:
        kind, _, name = key.partition(".")
        if kind == "array":
            named[name] = file[key]
        elif kind == "list":
            named[name] = file[key].tolist()
        elif kind == "joined":
            ends = np.cumsum(file[f"lengths.{name}"])
            named[name] = np.split(file[key], ends[:-1])
    return named if named.keys() - {""} else named[""]
