"""Encoded videos that are kept in memory while they are in use."""

from __future__ import annotations

from collections import OrderedDict
from typing import Protocol

import numpy as np
import paddle

from paddlevideo.modeling.match_scorer import VideoCache
from paddlevideo.retrieval.gallery import Encode, Videos


class Readable(Protocol):
    """Videos that are read by position."""

    def take(self, positions: np.ndarray) -> Videos:
        """Returns the videos at ``positions`` (N,) as one batch."""


class RecentVideos:
    """Encodes videos when they are needed, and keeps the most recently used ones.

    Reading and encoding a video costs more than matching it with a sentence, and the candidates of
    different sentences overlap. All videos have the same size, so ``gigabytes`` is a number of
    videos; with 0 none is kept.
    """

    def __init__(self, encode: Encode, source: Readable, gigabytes: float) -> None:
        self._encode, self._source, self._bytes = encode, source, gigabytes * 1e9
        self._kept: OrderedDict[int, VideoCache] = OrderedDict()

    def __len__(self) -> int:
        """Returns the number of videos in memory."""
        return len(self._kept)

    def take(self, positions: np.ndarray) -> VideoCache:
        """Returns the encoded videos at ``positions`` (N,), which must differ, in their order."""
        missing = np.array([at for at in positions.tolist() if at not in self._kept], np.int64)
        if len(missing) == len(positions):
            encoded = self._encode(self._source.take(positions))
            self._keep(positions, encoded)
            return encoded
        new = self._encode(self._source.take(missing)) if len(missing) else None
        row_of = {at: row for row, at in enumerate(missing.tolist())}
        parts = []
        for at in positions.tolist():
            if at in row_of:
                assert new is not None
                parts.append(_row(new, row_of[at]))
            else:
                self._kept.move_to_end(at)
                parts.append(self._kept[at])
        if new is not None:
            self._keep(missing, new)
        return VideoCache.concatenate(parts)

    def _keep(self, positions: np.ndarray, encoded: VideoCache) -> None:
        capacity = int(self._bytes // (encoded.nbytes / encoded.size))
        for row, at in enumerate(positions.tolist()[:capacity]):
            self._kept[at] = _row(encoded, row)
        while len(self._kept) > capacity:
            self._kept.popitem(last=False)


def _row(encoded: VideoCache, row: int) -> VideoCache:
    """Returns one video as a copy, which does not keep the others in memory."""
    return encoded.take(paddle.to_tensor([row]))
