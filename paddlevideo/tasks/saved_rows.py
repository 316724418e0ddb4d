"""Predictions of a test that are already made, on the disk, for a test that was interrupted."""

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
from paddlevideo.runtime import World

log = logging.getLogger("paddlevideo")

FOLDER = "test_rows"
SECONDS = 10.0  # between two files: what a killed test may lose


class SavedRows:
    """Keeps each rank's predictions in ``<folder>/test_rows`` until the test has ended.

    ``key`` tells one test from another: rows of a test with another key are never mixed in. Without
    ``resume`` rows of an earlier test are dropped, which is logged. Leaving the ``with`` block by
    an exception writes what is there; otherwise ``discard`` removes it all.
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

    def restore(self, metric: Any) -> set[int]:
        """Gives rank 0's ``metric`` what is saved, and returns the samples that are done."""
        done: set[int] = set()
        for path in sorted(self.folder.glob("rank*_*.npz")):
            try:
                with np.load(path, allow_pickle=False) as file:
                    index, predictions = file["index"], unpack(file)
            except (OSError, ValueError, KeyError, EOFError, BadZipFile) as fault:
                log.warning("%s is damaged (%s): its samples are computed again", path, fault)
                continue
            done.update(index.tolist())
            if self.world.is_main:
                metric.update(index, predictions)
        self.world.barrier()  # nobody writes while another rank still reads
        if done:
            log.info("resumed the test: %d samples are done already", len(done))
        return done

    def add(self, index: np.ndarray, predictions: Any) -> None:
        """Keeps a batch of predictions; it is on the disk after ``SECONDS`` at the latest."""
        self._waiting.append((np.asarray(index), predictions))
        if time.monotonic() - self._written > SECONDS:
            self._write()

    def discard(self) -> None:
        """Removes the folder: the results are written."""
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
                log.info("no interrupted test in %s: starting anew", self.folder.parent)
            return
        changed = list(differences(read_json(self.folder / "key.json"), self.key))
        if changed:
            log.warning(
                "%s holds rows of another test (%s), which are dropped",
                self.folder,
                ", ".join(changed[:3]),
            )
        elif not resume:
            log.warning(
                "%s holds rows of an interrupted test, which are dropped; --resume auto would go "
                "on from them",
                self.folder,
            )
        if changed or not resume:
            shutil.rmtree(self.folder)


def differences(first: Any, second: Any, path: str = "") -> Iterator[str]:
    """Dotted names of what two nested maps do not share."""
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        for key in sorted(first.keys() | second.keys()):
            yield from differences(first.get(key), second.get(key), f"{path}.{key}".strip("."))
    elif first != second:
        yield path or "no key"


def pack(predictions: Any) -> dict[str, np.ndarray] | None:
    """Predictions of a batch as named arrays; None if they are of a kind that is not kept."""
    if isinstance(predictions, np.ndarray):
        return {"array": predictions}
    if isinstance(predictions, list) and all(isinstance(x, np.ndarray) for x in predictions):
        counts = np.array([len(row) for row in predictions])
        return {"values": np.concatenate(predictions), "counts": counts}
    if isinstance(predictions, Mapping):
        named = {f"named.{name}": np.asarray(rows) for name, rows in predictions.items()}
        return None if any(rows.dtype.hasobject for rows in named.values()) else named
    return None


def unpack(file: Mapping[str, np.ndarray]) -> Any:
    """The opposite of ``pack``."""
    if "array" in file:
        return file["array"]
    if "counts" in file:
        return np.split(file["values"], np.cumsum(file["counts"])[:-1])
    start = len("named.")
    return {name[start:]: file[name] for name in file if name.startswith("named.")}
