"""The videos' side of a retrieval test, held in memory or encoded anew whenever it is needed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import paddle

from paddlevideo.modeling.match_scorer import VideoCache
from paddlevideo.utils.first_stage import FirstStage

log = logging.getLogger("paddlevideo")

Videos = Mapping[str, Any]
Encode = Callable[[Videos], VideoCache]


class Gallery:
    """V videos, which captions are compared with.

    They are encoded once and held as long as they fit into ``gigabytes``; a larger gallery keeps
    only the vectors of the first stage and reads and encodes videos again for each batch of
    captions, which costs about a quarter of what scoring a pair costs. That needs a source with
    ``len`` and ``take``; one that can only be iterated is held whatever its size.
    """

    #: What the first stage found, once all captions have their vectors.
    first: FirstStage | None = None

    def __init__(self, encode: Encode, source: Iterable[Videos], gigabytes: float) -> None:
        """``encode``: batches of ``source`` to caches."""
        self._encode, self._source = encode, source
        can_stream = hasattr(source, "take") and hasattr(source, "__len__")
        room = gigabytes * 1e9
        held: list[VideoCache] | None = []
        vectors = []
        for videos in source:
            cache = encode(videos)
            vectors.append(cache.vector)
            room -= cache.nbytes
            if held is not None:
                held.append(cache)
            if room < 0 and can_stream:
                held = None
                if cache.vector is None:
                    break
        self.held: VideoCache | None = VideoCache.concatenate(held) if held else None
        self.size: int = self.held.size if self.held else len(source)  # type: ignore[arg-type]
        self.vectors: np.ndarray | None = (
            None if vectors[0] is None else paddle.concat(vectors).astype("float32").numpy()
        )
        if self.held is None and gigabytes > 0:
            log.info(
                "the gallery's %d videos do not fit into MODEL.gallery_gigabytes=%g: they are "
                "encoded again for each batch of captions",
                self.size,
                gigabytes,
            )

    @classmethod
    def of_vectors(cls, encode: Encode, source: Any, vectors: np.ndarray) -> Gallery:
        """A gallery whose vectors (V, D) are known already; its videos are read when needed."""
        gallery = cls.__new__(cls)
        gallery._encode, gallery._source = encode, source
        gallery.held, gallery.size, gallery.vectors = None, len(vectors), vectors
        return gallery

    def chunks(self, size: int) -> Iterator[VideoCache]:
        """All videos in order, at most ``size`` at a time."""
        if self.held is not None:
            yield from self.held.chunks(size)
            return
        for start in range(0, self.size, size):
            yield self.take(np.arange(start, min(start + size, self.size)))

    def take(self, places: np.ndarray) -> VideoCache:
        """The videos at ``places`` (N,)."""
        if self.held is not None:
            return self.held.take(paddle.to_tensor(places))
        return self._encode(self._source.take(places))  # type: ignore[attr-defined]
