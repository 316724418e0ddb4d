"""The encoded videos of a retrieval test, kept in memory or encoded again when needed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import paddle

from paddlevideo.modeling.match_scorer import VideoCache

log = logging.getLogger("paddlevideo")

Videos = Mapping[str, Any]
Encode = Callable[[Videos], VideoCache]


class Gallery:
    """V videos to match captions with.

    They are encoded once and kept if they fit into ``gigabytes``. For a larger gallery only the
    first-stage vectors are kept, and videos are read and encoded again for each batch of captions,
    which costs about a quarter of matching a pair. This needs a source with ``len`` and ``take``; a
    source that can only be iterated is always kept.
    """

    def __init__(self, encode: Encode, source: Iterable[Videos], gigabytes: float) -> None:
        """``encode``: encodes a batch of ``source`` into a cache."""
        self._encode, self._source = encode, source
        can_stream = hasattr(source, "take") and hasattr(source, "__len__")
        #: Bytes of the limit that are left.
        self.spare = gigabytes * 1e9
        kept: list[VideoCache] | None = []
        vectors = []
        for videos in source:
            cache = encode(videos)
            vectors.append(cache.vector)
            self.spare -= cache.nbytes
            if kept is not None:
                kept.append(cache)
            if self.spare < 0 and can_stream:
                kept = None
                if cache.vector is None:
                    break
        self.kept: VideoCache | None = VideoCache.concatenate(kept) if kept else None
        self.size: int = self.kept.size if self.kept else len(source)  # type: ignore[arg-type]
        self.vectors: np.ndarray | None = (
            None if vectors[0] is None else paddle.concat(vectors).astype("float32").numpy()
        )
        if self.kept is None:
            self.spare = gigabytes * 1e9
            if gigabytes > 0:
                log.info(
                    "the gallery's %d videos do not fit into MODEL.gallery_gigabytes=%g: they are "
                    "encoded again for each batch of captions",
                    self.size,
                    gigabytes,
                )

    def chunks(self, size: int) -> Iterator[VideoCache]:
        """Yields all videos in order, at most ``size`` at a time."""
        if self.kept is not None:
            yield from self.kept.chunks(size)
            return
        for start in range(0, self.size, size):
            yield self.take(np.arange(start, min(start + size, self.size)))

    def take(self, positions: np.ndarray) -> VideoCache:
        """Returns the videos at ``positions`` (N,)."""
        if self.kept is not None:
            return self.kept.take(paddle.to_tensor(positions))
        return self._encode(self._source.take(positions))  # type: ignore[attr-defined]
