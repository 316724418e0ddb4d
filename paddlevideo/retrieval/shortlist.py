"""The first stage of a retrieval test: similarities of vectors, and shortlists.

C captions, V videos, D the width of the vectors, P pairs, Q queries.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from paddlevideo.utils.errors import ConfigError

#: Maximum number of similarities in memory at once, 64 MB, and of videos in such a block.
BLOCK, COLUMNS = 1 << 24, 1 << 16
#: Rows and columns of a part of a matrix.
Tile = tuple[slice, slice]


@dataclass(frozen=True)
class Shortlists:
    """The most similar videos of each caption, and captions of each query video, best first.

    Only videos that have a caption are queries: distractors need no list of their own.
    """

    text_to_video: np.ndarray  # C, k
    video_to_text: np.ndarray  # Q, k
    queries: np.ndarray  # Q: the videos that are queries, ascending
    videos: int  # V

    @cached_property
    def _keys(self) -> np.ndarray:
        """(P,) int64, ascending: caption * V + video of every pair in either list."""
        forward = np.repeat(np.arange(len(self.text_to_video)), self.text_to_video.shape[1])
        backward = np.repeat(self.queries, self.video_to_text.shape[1])
        of_captions = forward * self.videos + self.text_to_video.ravel()
        of_videos = self.video_to_text.ravel() * self.videos + backward
        return np.unique(np.concatenate([of_captions, of_videos]))

    @cached_property
    def starts(self) -> np.ndarray:
        """(C + 1,) int64: the index of each caption's first pair, and P at the end."""
        captions = np.arange(len(self.text_to_video) + 1)
        return np.searchsorted(self._keys, captions * self.videos)

    @property
    def pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """Captions (P,) and videos (P,) of all pairs, by caption and then by video."""
        return np.divmod(self._keys, self.videos)

    def of_caption(self, caption: int) -> np.ndarray:
        """Returns the videos to match with ``caption``, ascending."""
        keys = self._keys[self.starts[caption] : self.starts[caption + 1]]
        return keys - caption * self.videos

    def of_videos(self, videos: np.ndarray) -> np.ndarray:
        """Returns the captions (N, k) listed for ``videos`` (N,), which are queries."""
        return self.video_to_text[np.searchsorted(self.queries, videos)]

    def position(self, captions: np.ndarray, videos: np.ndarray) -> np.ndarray:
        """Returns the indices of listed pairs among all P; any shape."""
        return np.searchsorted(self._keys, captions * self.videos + videos)


@dataclass(frozen=True)
class FirstStage:
    """Vectors of all captions and videos; a pair's similarity is their dot product.

    ``shortlists`` is None if every pair is scored. ``weight``: factor on similarities before they
    are added to the margins; NaN if it has not been chosen yet. ``automatic``: whether a validation
    chooses it.
    """

    captions: np.ndarray  # C, D
    videos: np.ndarray  # V, D
    weight: float = 1.0
    automatic: bool = False
    shortlists: Shortlists | None = None

    def similarities(self, captions: np.ndarray, videos: np.ndarray) -> np.ndarray:
        """Returns the similarities (P,) float32 of pairs."""
        result = np.empty(len(captions), dtype=np.float32)
        for rows in blocks(len(captions), self.captions.shape[1]):
            left, right = self.captions[captions[rows]], self.videos[videos[rows]]
            result[rows] = np.einsum("pd,pd->p", left, right)
        return result

    def block(self, captions: slice = slice(None), videos: slice = slice(None)) -> np.ndarray:
        """Returns the similarities (captions, videos), by default of all."""
        return self.captions[captions] @ self.videos[videos].T


def first_stage(
    head: Any,
    captions: np.ndarray,
    videos: np.ndarray,
    top_k: tuple[int, int] | None,
    queries: np.ndarray,
) -> FirstStage:
    """Compares the unit vectors of ``head`` for all captions (C, D) and videos (V, D).

    ``top_k``: the number of videos to list per caption, and of captions per video in ``queries``
    (Q,); None: no lists, every pair is matched.
    """
    captions = captions * np.float32(float(head.scale))
    lists = None
    if top_k and (top_k[0] < len(videos) or top_k[1] < len(captions)):
        asked = videos if len(queries) == len(videos) else videos[queries]
        lists = Shortlists(
            nearest(captions, videos, top_k[0], head.faiss_from),
            nearest(asked, captions, top_k[1], head.faiss_from),
            queries,
            len(videos),
        )
    return FirstStage(captions, videos, head.weight, head.similarity_weight == "auto", lists)


def nearest(
    queries: np.ndarray, vectors: np.ndarray, count: int, faiss_from: int = 1 << 30
) -> np.ndarray:
    """Returns the indices (Q, k) int64 of the ``count`` vectors (N, D) most similar to each query.

    Most similar first, by dot product; equal ones in the order of ``vectors``. k is ``count``, or N
    if that is less. For ``faiss_from`` or more vectors, faiss's flat index is used: it is exact up
    to rounding, and does not store all similarities of a query. Raises ConfigError if faiss is not
    installed.
    """
    count = min(count, len(vectors))
    if count == 0:
        return np.empty((len(queries), 0), dtype=np.int64)
    if len(vectors) >= faiss_from:
        index = _faiss().IndexFlatIP(vectors.shape[1])
        index.add(np.ascontiguousarray(vectors, dtype=np.float32))
        return index.search(np.ascontiguousarray(queries, dtype=np.float32), count)[1]
    result = np.empty((len(queries), count), dtype=np.int64)
    for rows in blocks(len(queries), len(vectors)):
        # A stable sort: equal similarities keep the order of the vectors.
        result[rows] = np.argsort(-(queries[rows] @ vectors.T), axis=1, kind="stable")[:, :count]
    return result


def slices(count: int, size: int) -> list[slice]:
    """Returns slices of at most ``size`` that cover ``count``."""
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]


def blocks(rows: int, columns: int) -> list[slice]:
    """Returns slices of ``rows`` with at most ``BLOCK`` entries of a matrix, or one row, each."""
    return slices(rows, max(1, BLOCK // max(columns, 1)))


def tiles(rows: int, columns: int) -> list[Tile]:
    """Returns the parts of a matrix, of at most ``BLOCK`` entries each, or ``COLUMNS`` of a row."""
    across = slices(columns, COLUMNS)
    return [(down, part) for down in blocks(rows, min(columns, COLUMNS)) for part in across]


def _faiss() -> Any:
    try:
        import faiss  # type: ignore[import-not-found, unused-ignore]
    except ImportError:
        raise ConfigError(
            "a gallery of this size is searched with faiss: pip install faiss-cpu, or raise "
            "MODEL.retrieval_head.faiss_from"
        ) from None
    return faiss
