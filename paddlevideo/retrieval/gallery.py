"""The encoded videos of a retrieval test, kept in memory or encoded again when needed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from typing import Any

import numpy as np
import paddle
from paddle import Tensor

from paddlevideo.modeling.match_scorer import VideoCache
from paddlevideo.retrieval.shortlist import ONE_RANK, Ranks, slices
from paddlevideo.utils.progress import log_progress

log = logging.getLogger("paddlevideo")

Videos = Mapping[str, Any]
Encode = Callable[[Videos], VideoCache]
#: Bytes of vectors that a rank passes to the others at once.
EXCHANGE = 1 << 24


class Gallery:
    """V videos to match captions with.

    They are encoded once and kept if they fit into ``gigabytes``. For a larger gallery only the
    first-stage vectors are kept, 4 bytes x V x their width: ranks share the encoding, and videos
    are read and encoded again for each batch of captions, which costs about a quarter of matching a
    pair. This needs a source with ``len`` and ``take``; a source that can only be iterated is
    always kept.
    """

    def __init__(
        self, encode: Encode, source: Iterable[Videos], gigabytes: float, ranks: Ranks = ONE_RANK
    ) -> None:
        """``encode``: encodes a batch of ``source``, whose batches have one size."""
        self._encode, self._source = encode, source
        batches = iter(source)
        first = encode(next(batches))
        caches = chain([first], map(encode, batches))
        can_stream = hasattr(source, "take") and hasattr(source, "__len__")
        limit = gigabytes * 1e9
        #: The encoded videos; None if they are encoded again when needed.
        self.kept: VideoCache | None = None
        #: Vectors (V, D) float32 for the first stage; None without a head.
        self.vectors: np.ndarray | None = None
        if not can_stream or first.nbytes / first.size * len(source) <= limit:  # type: ignore[arg-type]
            self.kept = VideoCache.concatenate(caches)
            self.size: int = self.kept.size
            if self.kept.vector is not None:
                self.vectors = as_array(self.kept.vector)
        else:
            self.size = len(source)  # type: ignore[arg-type]
            if first.vector is not None:
                self.vectors = self._all_vectors(first, caches, ranks)
            if gigabytes > 0:
                log.info(
                    "the gallery's %d videos do not fit into MODEL.gallery_gigabytes=%g: they are "
                    "encoded again for each batch of captions",
                    self.size,
                    gigabytes,
                )
        #: Bytes of the limit that are left.
        self.spare = limit - (self.kept.nbytes if self.kept else 0)

    def _all_vectors(
        self, first: VideoCache, caches: Iterable[VideoCache], ranks: Ranks
    ) -> np.ndarray:
        """Returns the vectors (V, D) of all videos. ``caches``: their batches, encoded when read.

        Of several ranks, rank r encodes the batches r, r + W, ... of the same grid, whose batches
        have the size of ``first``: the vectors do not depend on the number of ranks.
        """
        vectors = np.empty((self.size, first.vector.shape[1]), np.float32)  # type: ignore[union-attr]
        parts = slices(self.size, first.size)
        if ranks.size == 1:
            for part, cache in zip(parts, caches, strict=True):
                vectors[part] = as_array(cache.vector)
            return vectors
        own_parts = parts[ranks.rank :: ranks.size]
        for part in log_progress(own_parts, "gallery", len(own_parts), "clips", first.size):
            vectors[part] = as_array(self.take(np.arange(part.start, part.stop)).vector)
        # Exchanged in blocks, so that besides the vectors only a block of each rank is in memory.
        rows = max(1, EXCHANGE // max(vectors[parts[0]].nbytes, 1)) * ranks.size
        for start in range(0, len(parts), rows):
            shares = [parts[start : start + rows][rank :: ranks.size] for rank in range(ranks.size)]
            own = [vectors[part] for part in shares[ranks.rank]]
            for share, found in zip(shares, ranks.gather(own), strict=True):
                for part, block in zip(share, found, strict=True):
                    vectors[part] = block
        return vectors

    def chunks(self, size: int) -> Iterator[VideoCache]:
        """Yields all videos in order, at most ``size`` at a time. What takes long is logged."""
        parts = slices(self.size, size)
        chunks: Iterable[VideoCache] = (self.take(np.arange(p.start, p.stop)) for p in parts)
        if self.kept is not None:
            chunks = self.kept.chunks(size)
        work = "clips matched with a batch of captions"
        yield from log_progress(chunks, work, len(parts), "clips", min(size, self.size))

    def take(self, positions: np.ndarray) -> VideoCache:
        """Returns the videos at ``positions`` (N,)."""
        if self.kept is not None:
            return self.kept.take(paddle.to_tensor(positions))
        return self._encode(self._source.take(positions))  # type: ignore[attr-defined]


def as_array(vectors: Tensor | None) -> np.ndarray:
    """Returns vectors (N, D) as float32."""
    assert vectors is not None
    return vectors.astype("float32").numpy()
