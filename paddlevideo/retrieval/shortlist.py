"""The first stage of a retrieval test: similarities of vectors, and shortlists.

C captions, V videos, D the width of the vectors, P pairs, Q queries.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from paddlevideo.retrieval.nearest import (
    APPROXIMATE_FROM,
    Approximate,
    Exact,
    Nearest,
    import_faiss,
    open_nearest,
    recall,
)

#: Maximum number of similarities in memory at once, 64 MB, and of videos in such a block.
BLOCK, COLUMNS = 1 << 24, 1 << 16
#: Captions for which the recall of an approximate search is measured, and others to tune it with.
SAMPLE, TUNED_WITH = 200, 64
#: Rows and columns of a part of a matrix.
Tile = tuple[slice, slice]


@dataclass(frozen=True)
class Ranks:
    """The ranks that share the work on a gallery; by default there is one."""

    rank: int = 0
    size: int = 1
    #: Returns the objects that the ranks pass, in the order of ranks, on every rank.
    gather: Callable[[Any], list[Any]] = lambda item: [item]


ONE_RANK = Ranks()


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
class Found:
    """The percentage of the ``nearest`` videos of ``captions`` captions that a search finds."""

    percent: float
    nearest: int
    captions: int


@dataclass(frozen=True)
class FirstStage:
    """Vectors of all captions and videos; a pair's similarity is their dot product.

    ``shortlists`` is None if every pair is scored. ``weight``: factor on similarities before they
    are added to the margins; NaN if it has not been chosen yet. ``automatic``: whether a validation
    chooses it. ``found``: what the search for the lists finds, if it is approximate.
    """

    captions: np.ndarray  # C, D
    videos: np.ndarray  # V, D
    weight: float = 1.0
    automatic: bool = False
    shortlists: Shortlists | None = None
    found: Found | None = None

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
    ranks: Ranks = ONE_RANK,
) -> FirstStage:
    """Compares the unit vectors of ``head`` for all captions (C, D) and videos (V, D).

    ``top_k``: the number of videos to list per caption, and of captions per video in ``queries``
    (Q,); None: no lists, every pair is matched. Rank 0 makes the lists for all ``ranks``: another
    processor may order similarities differently that are equal but for rounding.
    """
    captions = captions * np.float32(float(head.scale))
    lists: tuple[Shortlists | None, Found | None] = None, None
    if top_k and (top_k[0] < len(videos) or top_k[1] < len(captions)):
        if ranks.rank == 0:
            lists = _lists_of(head, captions, videos, top_k, queries)
        lists = ranks.gather(lists)[0]
    return FirstStage(captions, videos, head.weight, head.similarity_weight == "auto", *lists)


def _lists_of(
    head: Any,
    captions: np.ndarray,
    videos: np.ndarray,
    top_k: tuple[int, int],
    queries: np.ndarray,
) -> tuple[Shortlists, Found | None]:
    """Returns the lists and, if the search for them is approximate, what it finds."""
    nearest_videos, found = _search_of(head, captions, videos, top_k[0])
    nearest_captions = Exact(captions)
    asked = videos if len(queries) == len(videos) else videos[queries]
    lists = Shortlists(
        nearest_videos.search(captions, top_k[0])[0],
        nearest_captions.search(asked, top_k[1])[0],
        queries,
        len(videos),
    )
    return lists, found


def check_search(head: Any, videos: int) -> None:
    """Raises ConfigError if lists among that many videos need faiss, and it is not installed.

    Encoding a large gallery first would take hours.
    """
    if head.first_stage == "approximate" and videos >= APPROXIMATE_FROM:
        import_faiss()


def _search_of(
    head: Any, captions: np.ndarray, videos: np.ndarray, count: int
) -> tuple[Nearest, Found | None]:
    """Returns the search for the videos of captions and, if it is approximate, what it finds.

    The captions for which that is measured are not those that the search is tuned with.
    """
    at = np.linspace(0, len(captions) - 1, min(SAMPLE, len(captions))).astype(np.int64)
    others = np.setdiff1d(np.arange(len(captions)), at)[:TUNED_WITH]
    tuned_with = captions[others if len(others) == TUNED_WITH else at]
    search = open_nearest(videos, head.first_stage, tuned_with)
    if not isinstance(search, Approximate):
        return search, None
    found, _ = search.search(captions[at], count)
    wanted, _ = Exact(videos).search(captions[at], count)
    return search, Found(100 * recall(found, wanted), wanted.shape[1], len(at))


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
