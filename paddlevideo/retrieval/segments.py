"""Vectors of clips on the disk: folders that are written once, whole, and mapped into memory.

Each file ends with its CRC-32, which is compared when the index is opened: a damaged file is told,
and the clips of its segment are encoded again. That reads all vectors, once and in order, as the
first exact search would.

M rows in all segments, N clips of a feature file, D the width of the vectors.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from paddlevideo.files.partials import sweep
from paddlevideo.files.whole import add_crc32, has_crc32, write_folder_whole, write_whole
from paddlevideo.retrieval.clip_keys import SIZE
from paddlevideo.retrieval.nearest import APPROXIMATE_FROM, BLOCK, Approximate, Exact, best_of

log = logging.getLogger("paddlevideo")

_NAME = "segment-*"
_ATTEMPTS = 5
_VECTORS, _KEYS, _CELLS = "vectors.npy", "keys.npy", "cells.faiss"
_CHANGED = "was changed after it was written, or by an earlier version: its checksum is wrong"
_AGAIN = "%s. The clips of this part of the index are encoded again"


@dataclass(frozen=True, eq=False)
class Segment:
    """Vectors (n, D) float32 and the keys (n, 16) of their clips; ``folder``: None in memory."""

    vectors: np.ndarray
    keys: np.ndarray
    folder: Path | None = None

    def __len__(self) -> int:
        return len(self.vectors)

    def remove(self) -> None:
        """Removes the folder; processes that have it mapped can go on reading."""
        if self.folder is not None:
            with suppress(OSError):
                (self.folder / _KEYS).unlink()  # first: without keys it counts as absent
            shutil.rmtree(self.folder, ignore_errors=True)


def read_segments(folder: Path, width: int) -> list[Segment]:
    """Returns the whole segments of a folder, the largest first.

    What is damaged, or of an earlier version, is told and removed; what was left by a process that
    died while it removed it is removed.
    """
    sweep(folder)
    for _ in range(_ATTEMPTS):
        paths = sorted(folder.glob(_NAME))
        found = [segment for path in paths if (segment := _read(path, width)) is not None]
        if paths == sorted(folder.glob(_NAME)):
            break  # else another process has made several of them one meanwhile
    return sorted(found, key=lambda segment: -len(segment))


def _read(path: Path, width: int) -> Segment | None:
    """Returns a segment; None if it is damaged or cannot be read, which is told."""
    try:
        for name in (_KEYS, _VECTORS):
            if not has_crc32(path / name):
                raise ValueError(f"{path / name}: {_CHANGED}")
        keys = np.load(path / _KEYS, allow_pickle=False)
        vectors = np.load(path / _VECTORS, mmap_mode="r", allow_pickle=False)
        wanted = (np.dtype("<f4"), (len(keys), width), np.dtype("u1"), (len(keys), SIZE))
        if (vectors.dtype, vectors.shape, keys.dtype, keys.shape) != wanted:
            raise ValueError(f"{path}: does not hold vectors of {width} numbers and their keys")
        return Segment(vectors, keys, path)
    except FileNotFoundError:
        pass
    except OSError as error:
        log.warning(_AGAIN, f"{error.filename or path}: {error.strerror or error}")
        return None
    except (ValueError, EOFError) as error:
        log.warning(_AGAIN, error)
    shutil.rmtree(path, ignore_errors=True)
    return None


def write_segment(folder: Path, blocks: Iterable[np.ndarray], keys: np.ndarray) -> Segment:
    """Writes vectors, block by block, and their keys as a new segment. Raises OSError.

    Its name is made of the keys, so that two processes that write the same clips write one segment.
    Not through a memory map: on a full disk that would end the process.
    """

    def write(partial: Path) -> None:
        np.save(partial / _KEYS, keys)
        width, rows = 0, 0
        with open(partial / _VECTORS, "wb") as file:
            for block in blocks:
                if not rows:
                    width = block.shape[1]
                    _write_header(file, (len(keys), width))
                file.write(np.ascontiguousarray(block, "<f4").data)
                rows += len(block)
        assert rows == len(keys)
        for name in (_KEYS, _VECTORS):
            add_crc32(partial / name)

    path = folder / f"segment-{hashlib.sha256(keys.tobytes()).hexdigest()[:16]}"
    write_folder_whole(path, write)
    vectors = np.load(path / _VECTORS, mmap_mode="r", allow_pickle=False)
    return Segment(vectors, keys, path)


def _write_header(file: Any, shape: tuple[int, int]) -> None:
    header = {"descr": "<f4", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)


class Rows:
    """The vectors (N, D) of a feature file's clips, in their order, wherever they are.

    Reads like an array: a slice that lies in one piece in one segment is a view, anything else a
    copy.
    """

    def __init__(self, segments: Sequence[Segment], rows: np.ndarray, width: int) -> None:
        """``rows`` (N,): the row of each clip, counted through all segments."""
        self.segments, self.rows = list(segments), rows
        self.starts = np.concatenate([[0], np.cumsum([len(each) for each in segments])])
        self.starts = self.starts.astype(np.int64)
        self.shape = (len(rows), width)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, positions: Any) -> np.ndarray:
        rows = self.rows[positions]
        if isinstance(positions, slice) and len(rows) and (np.diff(rows) == 1).all():
            segment = int(np.searchsorted(self.starts, rows[0], side="right")) - 1
            first = rows[0] - self.starts[segment]
            if first + len(rows) <= len(self.segments[segment]):
                return self.segments[segment].vectors[first : first + len(rows)]
        result = np.empty((*rows.shape, self.shape[1]), np.float32)
        owners = np.searchsorted(self.starts, rows, side="right") - 1
        for segment in np.unique(owners).tolist():
            here = owners == segment
            result[here] = self.segments[segment].vectors[rows[here] - self.starts[segment]]
        return result

    def blocks(self) -> Iterator[np.ndarray]:
        """Yields all vectors in order."""
        step = max(1, BLOCK // self.shape[1])
        for first in range(0, len(self), step):
            yield self[first : first + step]


class ExactRows(Exact):
    """An exact search among the vectors of a feature file."""

    def take(self, positions: np.ndarray) -> np.ndarray:
        """Returns the vectors (n, D) of the clips at some positions."""
        return self.vectors[positions]


class ApproximateRows:
    """An approximate search in each large segment, and an exact one in what small ones hold.

    Segments do not change, so that clips that come later do not change what is built: see
    :class:`paddlevideo.retrieval.nearest.Approximate`.
    """

    def __init__(self, rows: Rows, sample: Callable[[], np.ndarray | None]) -> None:
        """``sample``: returns queries to measure the recall of new cells with.

        Raises ConfigError if faiss is not installed.
        """
        self._exact = ExactRows(rows)
        self.take = self._exact.take
        self._is_rest = np.ones(len(rows), bool)
        self._parts: list[tuple[Approximate, np.ndarray]] = []
        for start, segment in zip(rows.starts, rows.segments, strict=False):
            within = (rows.rows >= start) & (rows.rows < start + len(segment))
            if np.count_nonzero(within) < APPROXIMATE_FROM:
                continue
            positions = np.full(len(segment), -1, np.int64)  # of the segment's rows
            positions[rows.rows[within] - start] = np.flatnonzero(within)
            self._parts.append((_cells(segment, sample), positions))
            self._is_rest &= ~within

    def search(
        self, queries: np.ndarray, count: int, among: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """See :class:`paddlevideo.retrieval.nearest.Nearest`."""
        rest = self._is_rest if among is None else self._is_rest & among
        parts = [self._exact.search(queries, count, rest)]
        for approximate, positions in self._parts:
            allowed = positions >= 0
            if among is not None:
                allowed &= among[positions]
            found, similarities = approximate.search(
                queries, count, None if allowed.all() else allowed
            )
            parts.append((positions[found], similarities))
        return best_of(parts, count)


def _cells(segment: Segment, sample: Callable[[], np.ndarray | None]) -> Approximate:
    """Returns the approximate search of a segment, which is built once and kept beside it."""
    path = None if segment.folder is None else segment.folder / _CELLS
    if path is not None and (kept := _kept_cells(path, segment.vectors)) is not None:
        return kept
    log.info("dividing %d clips into cells, once", len(segment))
    made = Approximate(segment.vectors)
    made.tune(sample())

    def write(partial: Path) -> None:
        made.write(partial)
        add_crc32(partial)

    if path is not None:
        try:
            write_whole(path, write)
        except OSError as error:
            log.warning("the cells cannot be kept: %s (%s)", path, error.strerror or error)
    return made


def _kept_cells(path: Path, vectors: np.ndarray) -> Approximate | None:
    """Returns what is kept beside vectors; None if it is absent, or damaged, which is told."""
    try:
        kept = Approximate.read(path, vectors) if has_crc32(path) else None
    except FileNotFoundError:
        return None
    except OSError as error:
        log.warning("%s: %s. It is built again", path, error.strerror or error)
        return None
    if kept is None:
        log.warning("%s: %s. It is built again", path, _CHANGED)
    return kept
