"""Who stands where: ranks and best answers, from the scores of all pairs or of shortlisted ones.

C captions, V videos, P scored pairs, Q queries of a direction: captions, or videos that have a
caption. Directions are named as in ``paddlevideo.metrics.retrieval``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from paddlevideo.metrics.retrieval import DIRECTIONS, ranks, video_ranks
from paddlevideo.utils.first_stage import FirstStage, Shortlists
from paddlevideo.utils.nearest import blocks

ByDirection = dict[str, np.ndarray]


class Ranking(ABC):
    """What a retrieval test found. Scores are match margins + ``weight`` x similarities."""

    @abstractmethod
    def ranks(self, weight: float = 0.0) -> ByDirection:
        """Rank (Q,) of each query's best right answer, from 1; ties count against it."""

    @abstractmethod
    def best(self, count: int, weight: float = 0.0) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Places (Q, count) int64 and scores (Q, count) of each query's best answers."""


class AllPairs(Ranking):
    """The score of every pair is known."""

    def __init__(
        self, margins: np.ndarray, truth: np.ndarray, first: FirstStage | None = None
    ) -> None:
        """``margins`` (C, V), ``truth`` (C,): each caption's video."""
        self.margins, self.truth, self.first = margins, truth, first

    def scores(self, weight: float = 0.0) -> np.ndarray:
        """(C, V)."""
        if self.first is None or not weight:
            return self.margins
        return self.margins + weight * self.first.rows(slice(None))

    def ranks(self, weight: float = 0.0) -> ByDirection:
        """See :class:`Ranking`."""
        return matrix_ranks(self.scores(weight), self.truth)

    def best(self, count: int, weight: float = 0.0) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """See :class:`Ranking`."""
        scores = self.scores(weight)
        by_video = scores.T[np.unique(self.truth)]
        return dict(
            zip(DIRECTIONS, (highest(scores, count), highest(by_video, count)), strict=True)
        )


class ListedPairs(Ranking):
    """Only the pairs of the first stage's lists were scored.

    A list is ordered by its scores, and whatever is in no list stands behind it in the first
    stage's order: a right answer that the list lacks has the rank that the first stage gave it.
    """

    def __init__(self, margins: np.ndarray, truth: np.ndarray, first: FirstStage) -> None:
        """``margins`` (P,) of the pairs of ``first.shortlists``, in its order."""
        assert first.shortlists is not None
        self.margins, self.truth, self.first = margins, truth, first
        self.lists: Shortlists = first.shortlists
        self.queries = np.unique(truth)
        self._behind = first_stage_ranks(first, truth)
        captions, videos = self.lists.text_to_video, self.lists.video_to_text[self.queries]
        rows, columns = np.arange(len(captions))[:, None], self.queries[:, None]
        self._lists = dict(zip(DIRECTIONS, (captions, videos), strict=True))
        self._right = dict(
            zip(DIRECTIONS, (captions == truth[:, None], truth[videos] == columns), strict=True)
        )
        places = (self.lists.place(rows, captions), self.lists.place(videos, columns))
        self._places = dict(zip(DIRECTIONS, places, strict=True))

    def _scores(self, weight: float) -> ByDirection:
        """Scores of each direction's lists, (Q, k)."""
        scores = self.margins
        if weight:
            scores = scores + weight * self.first.similarities(*self.lists.pairs)
        return {way: scores[places] for way, places in self._places.items()}

    def ranks(self, weight: float = 0.0) -> ByDirection:
        """See :class:`Ranking`."""
        found = {}
        for way, scores in self._scores(weight).items():
            right = self._right[way]
            own = np.where(right, scores, -np.inf).max(axis=1, initial=-np.inf)
            ahead = np.count_nonzero((scores >= own[:, None]) & ~right, axis=1)
            behind = np.maximum(self._behind[way], scores.shape[1] + 1)
            found[way] = np.where(right.any(axis=1), 1 + ahead, behind)
        return found

    def listed(self, way: str) -> int:
        """How long the lists of a direction are."""
        return self._right[way].shape[1]

    def recall(self) -> dict[str, float]:
        """Percent of queries whose list holds a right answer: no order of it can do better."""
        return {way: float(100 * np.mean(right.any(axis=1))) for way, right in self._right.items()}

    def best(self, count: int, weight: float = 0.0) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """See :class:`Ranking`."""
        answers = {}
        for way, scores in self._scores(weight).items():
            at, found = highest(scores, count)
            answers[way] = np.take_along_axis(self._lists[way], at, axis=1), found
        return answers


def highest(scores: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Columns (Q, count) of the highest entries of each row, best first, and these entries."""
    columns = np.argsort(-scores, axis=1, kind="stable")[:, :count]
    return columns, np.take_along_axis(scores, columns, axis=1)


def matrix_ranks(scores: np.ndarray, truth: np.ndarray) -> ByDirection:
    """Ranks of both directions from (C, V) scores."""
    both = ranks(scores, truth), video_ranks(scores, truth)
    return dict(zip(DIRECTIONS, both, strict=True))


def first_stage_ranks(first: FirstStage, truth: np.ndarray) -> ByDirection:
    """``matrix_ranks`` of the similarities, which are never held at once."""
    captions, videos = len(first.captions), len(first.videos)
    rows = blocks(captions, videos)
    own = np.empty(captions, dtype=np.float32)
    by_caption = np.empty(captions, dtype=np.int64)
    for part in rows:
        block = first.rows(part)
        own[part] = block[np.arange(len(block)), truth[part]]
        by_caption[part] = np.count_nonzero(block >= own[part, None], axis=1)
    best = np.full(videos, -np.inf, dtype=np.float32)
    np.maximum.at(best, truth, own)
    as_high = np.zeros(videos, dtype=np.int64)
    for part in rows:
        as_high += np.count_nonzero(first.rows(part) >= best, axis=0)
    own_as_high = np.bincount(truth[own == best[truth]], minlength=videos)
    by_video = (1 + as_high - own_as_high)[np.unique(truth)]
    return dict(zip(DIRECTIONS, (by_caption, by_video), strict=True))
