"""The index of a search on disk: vectors of clips, keyed by what the clips hold.

A folder of indexes holds the keys of each feature file that was searched (clip_keys.py) and, for
each weight file and sizes of clips, a folder with segments of vectors (segments.py). All of them
are written whole and never changed, so that there is nothing to lock: two processes at once may
encode the same clips, and one of the results is dropped later. An index only saves time: if it
cannot be written, the search continues without it.

N clips of a feature file, M vectors in all segments.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from paddlevideo.files.whole import read_json, write_json_whole
from paddlevideo.loader.clips.source import ClipSource
from paddlevideo.retrieval.clip_keys import ClipKeys, find_keys, keys_file, keys_of, known_keys
from paddlevideo.retrieval.segments import Rows, Segment, read_segments, write_segment

log = logging.getLogger("paddlevideo")

#: What a kill can cost: a segment is written after this number of clips, or of seconds.
SEGMENT_CLIPS, SEGMENT_SECONDS = 4096, 300.0
#: Segments beyond this number are made one, and those of which less than this fraction is needed.
MOST_SEGMENTS, NEEDED = 8, 0.5
#: Segments that a long run may write until the small ones are made one.
MOST_SMALL = 32
_ABOUT = "index.json"
_EARLIER = re.compile(r"[0-9a-f]{16}\.npz")
_NAME = re.compile(r"[0-9a-f]{16}")

#: Encodes the clips at some positions, ascending, and yields their vectors in batches (b, D).
Encode = Callable[[np.ndarray], Iterator[np.ndarray]]


def index_folder(weights: Path) -> Path:
    """Returns the folder of indexes beside the weights."""
    return weights.parent / "search_index"


def index_place(weights: Path, given: str | os.PathLike[str] | None = None) -> Path | str:
    """Returns where an index is: the address of a server, or a path, by default the folder."""
    if given is None:
        return index_folder(weights)
    return given if isinstance(given, str) and "://" in given else Path(given)


class SearchIndex:
    """The vectors of given weights in a folder of indexes."""

    def __init__(
        self, folder: Path, weights: Path, sha256: str, settings: Mapping[str, Any], width: int
    ) -> None:
        """``sha256``: of the loaded weights; ``settings``: what else the vectors depend on, as
        JSON; ``width``: their size.
        """
        self.folder, self.width = folder, width
        self.about = {
            "weights": {"path": os.path.realpath(weights), "sha256": sha256},
            "settings": json.loads(json.dumps(settings, default=str, sort_keys=True)),
        }
        named = json.dumps([sha256, self.about["settings"]])
        name = hashlib.sha256(named.encode("utf-8", "backslashreplace")).hexdigest()[:16]
        self.path = folder / name
        self._can_write = True

    def vectors(self, source: ClipSource, features: Path, encode: Encode) -> Rows:
        """Returns the vectors (N, D) of all clips: those that are known, the others of ``encode``.

        What is encoded is written segment by segment. What ``encode`` raises is raised, after the
        clips that were encoded before are written. Raises DataError, or OSError if the features
        cannot be read.
        """
        keys_path = keys_file(self.folder, features)
        before = ClipKeys.read(keys_path)
        clips = keys_of(source, features, before)
        segments = read_segments(self.path, self.width)
        rows = find_keys(clips.keys, _keys(segments))
        missing = np.flatnonzero(rows < 0)
        is_new = clips is not before or read_json(self.path / _ABOUT) != self.about
        if len(missing):
            begin = partial(self._begin, clips, keys_path) if is_new else _nothing
            self._encode(segments, clips.keys[missing], encode(missing), begin)
            rows = find_keys(clips.keys, _keys(segments))
            where = self.path if self._can_write else "in memory only"
            log.info("indexed %d of %d clips: %s", len(missing), len(clips), where)
        elif is_new:
            self._keep(partial(self._begin, clips, keys_path), quiet=True)
        return self._tidy(segments, clips, rows, len(missing))

    # ------------------------------------------------------------------------ writing

    def _keep(self, write: Callable[[], Any], quiet: bool = False) -> Any:
        """Returns ``write()``, or None if the disk is full or read-only, which is told once.

        ``quiet``: nothing is told, because all vectors are there.
        """
        if not self._can_write:
            return None
        try:
            return write()
        except OSError as error:
            if quiet:
                return None
            self._can_write = False
            log.warning(
                "the index cannot be written, so the next search reads all new clips again: %s "
                "(%s). Choose another folder with --index",
                os.fspath(error.filename or self.path),
                error.strerror or error,
            )
            return None

    def _begin(self, clips: ClipKeys, keys_path: Path) -> None:
        """Says which vectors are needed, before any is written; removes what is of no use."""
        self.path.mkdir(parents=True, exist_ok=True)
        write_json_whole(self.path / _ABOUT, self.about)
        clips.write(keys_path)
        _remove_old(self.folder, self.about["weights"])

    def _encode(
        self,
        segments: list[Segment],
        keys: np.ndarray,
        batches: Iterator[np.ndarray],
        begin: Callable[[], None],
    ) -> None:
        """Appends the vectors of clips with ``keys`` to ``segments``.

        ``begin`` is called before anything is written.
        """
        pending: list[np.ndarray] = []
        done, last = 0, time.monotonic()

        def write() -> None:
            nonlocal done, pending, last
            count = sum(map(len, pending))
            if count:
                if not done:
                    self._keep(begin)
                part = keys[done : done + count]
                segments.append(self._write(pending, part))
                done, pending, last = done + count, [], time.monotonic()
                self._merge_small(segments)

        try:
            for batch in batches:
                pending.append(batch)
                is_late = time.monotonic() - last > SEGMENT_SECONDS
                if is_late or sum(map(len, pending)) >= SEGMENT_CLIPS:
                    write()
        finally:
            write()

    def _write(self, blocks: list[np.ndarray], keys: np.ndarray) -> Segment:
        """Returns a new segment, in memory if it cannot be written."""
        written = self._keep(lambda: write_segment(self.path, blocks, keys))
        return written or Segment(np.concatenate(blocks), keys)

    def _merge_small(self, segments: list[Segment]) -> None:
        """Makes many small segments one: the number of open files of a process is limited."""
        small = [each for each in segments if len(each) < MOST_SMALL * SEGMENT_CLIPS]
        if len(small) >= MOST_SMALL and self._can_write:
            rows = np.arange(sum(map(len, small)))
            merged = self._rewrite(small, Rows(small, rows, self.width), _keys(small))
            if merged is not None:
                segments[:] = [*(each for each in segments if each not in small), merged]

    def _rewrite(self, old: list[Segment], rows: Rows, keys: np.ndarray) -> Segment | None:
        """Writes some vectors of ``old`` as one segment, then removes ``old``."""
        if len(keys):
            merged = self._keep(lambda: write_segment(self.path, rows.blocks(), keys), quiet=True)
        else:
            merged = Segment(np.zeros((0, self.width), np.float32), keys)
        if merged is not None:
            for segment in old:
                if segment.folder != merged.folder:
                    segment.remove()
        return merged

    # ------------------------------------------------------------------------ tidying

    def _tidy(self, segments: list[Segment], clips: ClipKeys, rows: np.ndarray, new: int) -> Rows:
        """Returns the vectors, after making many or sparse segments one, if it can be done."""
        found = Rows(segments, rows, self.width)
        total = sum(map(len, segments))
        is_sparse = len(np.unique(rows)) < NEEDED * total
        is_built = len(segments) > 1 and 2 * new >= total
        old = segments
        if not (is_sparse or is_built):
            if len(segments) <= MOST_SEGMENTS:
                return found
            # Large ones stay: to write them again, and to divide them into cells, takes long.
            largest = max(map(len, segments))
            small = [each for each in segments if 2 * len(each) < largest]
            old = small if len(segments) - len(small) < MOST_SEGMENTS else segments
        needed = self._needed(segments, clips, rows)
        if is_sparse and not is_built and len(needed) >= NEEDED * total:
            return found  # other feature files need the rest
        is_old = np.repeat([each in old for each in segments], [len(each) for each in segments])
        needed = needed[is_old[needed]]
        keys = _keys(segments)[needed]
        merged = self._rewrite(old, Rows(segments, needed, self.width), keys)
        if merged is None:
            return found
        now = [*(each for each in segments if each not in old), merged]
        return Rows(now, find_keys(clips.keys, _keys(now)), self.width)

    def _needed(self, segments: list[Segment], clips: ClipKeys, rows: np.ndarray) -> np.ndarray:
        """Returns the rows that some feature file needs, those of ``clips`` first, in their order.

        Keys of feature files that do not exist any more are removed.
        """
        known = _keys(segments)
        parts = [rows]
        for path, keys in known_keys(self.folder):
            if not keys.is_of_something:
                with suppress(OSError):
                    path.unlink()
            elif keys.features["path"] != clips.features["path"]:
                others = find_keys(keys.keys, known)
                parts.append(others[others >= 0])
        every = np.concatenate(parts)
        _, first = np.unique(every, return_index=True)
        return every[np.sort(first)]


def _nothing() -> None:
    """What there is to begin where all was begun before."""


def _keys(segments: list[Segment]) -> np.ndarray:
    """Returns the keys (M, 16) of all segments."""
    return np.concatenate([np.zeros((0, 16), np.uint8), *(each.keys for each in segments)])


def _remove_old(folder: Path, weights: Mapping[str, str]) -> None:
    """Removes indexes of earlier versions, and of weights that were replaced or removed."""
    for path in folder.iterdir():
        if _EARLIER.fullmatch(path.name) and _is_of_earlier_version(path):
            path.unlink(missing_ok=True)
        elif _NAME.fullmatch(path.name) and _is_obsolete(read_json(path / _ABOUT), weights):
            shutil.rmtree(path, ignore_errors=True)


def _is_of_earlier_version(path: Path) -> bool:
    """Whether a file is an index with all vectors of a feature file, as earlier versions wrote."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return "weights" in json.loads(str(file["key"]))
    except (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile):
        return False


def _is_obsolete(about: Any, weights: Mapping[str, str]) -> bool:
    """Whether an index belongs to weights that were replaced by ``weights``, or do not exist."""
    try:
        path, sha256 = about["weights"]["path"], about["weights"]["sha256"]
        replaced = path == weights["path"] and sha256 != weights["sha256"]
        return replaced or not os.path.exists(path)
    except (KeyError, TypeError):
        return False  # not an index
