"""Ranks, recall and best answers of text-video retrieval.

Ranks start at 1. A tie counts against the positive: every other candidate with an equal score is
ranked before it. This is deterministic, and a model that gives every pair the same score gets the
worst rank instead of the best.

C captions, V videos, P matched pairs, Q queries of a direction: captions, or videos that have a
caption.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property

import numpy as np

from paddlevideo.metrics.chance import mean_rank, miss_probabilities
from paddlevideo.report.queries import DIRECTIONS
from paddlevideo.retrieval.shortlist import FirstStage, Shortlists, Tile, tiles
from paddlevideo.utils.errors import DataError

#: How equal scores are ranked, as text for the protocol.
TIE_RULE = "counted against"

RECALL_AT = (1, 5, 10)

#: The numbers of each direction, and whether a larger one is better.
HIGHER_IS_BETTER = {**{f"R@{k}": True for k in RECALL_AT}, "MedianR": False, "MeanR": False}

ByDirection = dict[str, np.ndarray]
Summary = dict[str, dict[str, float]]


def _count_as_high(scores: np.ndarray, positive: np.ndarray, axis: int) -> np.ndarray:
    """Counts candidates with at least the score of ``positive``, itself included: the tie rule."""
    return np.count_nonzero(scores >= positive, axis=axis)


#: Returns the scores of slices of the captions and of the videos.
Block = Callable[[slice, slice], np.ndarray]


def _ranks_of(block: Block, truth: np.ndarray, videos: int) -> ByDirection:
    """Ranks both directions by scores (C, V), of which one block is in memory at once.

    Every block is computed once, those with positives twice. Positives are compared with scores of
    the same blocks: computed in another way, a score may differ in its last bits.
    """
    grid = tiles(len(truth), videos)
    positive = _positives(block, grid, truth)
    best = np.full(videos, -np.inf, dtype=positive.dtype)
    np.maximum.at(best, truth, positive)
    queries = np.unique(truth)
    by_caption, by_video = np.zeros(len(truth), np.int64), np.zeros(videos, np.int64)
    for rows, columns in grid:
        scores = block(rows, columns)
        by_caption[rows] += _count_as_high(scores, positive[rows, None], axis=1)
        if np.ptp(np.searchsorted(queries, [columns.start, columns.stop])):
            by_video[columns] += _count_as_high(scores, best[columns], axis=0)
    # A video's other captions do not count against its best one.
    positives_as_high = np.bincount(truth[positive == best[truth]], minlength=videos)
    by_video = (1 + by_video - positives_as_high)[queries]
    return dict(zip(DIRECTIONS, (by_caption, by_video), strict=True))


def _positives(block: Block, grid: Sequence[Tile], truth: np.ndarray) -> np.ndarray:
    """Returns the score (C,) of each caption with its video."""
    captions, scores = [], []
    for rows, columns in grid:
        of_rows = truth[rows]
        here = np.flatnonzero((columns.start <= of_rows) & (of_rows < columns.stop))
        if here.size:
            captions.append(rows.start + here)
            scores.append(block(rows, columns)[here, of_rows[here] - columns.start])
    return np.concatenate(scores)[np.argsort(np.concatenate(captions))]


def matrix_ranks(scores: np.ndarray, truth: np.ndarray) -> ByDirection:
    """Returns the ranks of both directions, int64, from 1.

    "text_to_video" has the rank of each caption's video, "video_to_text" the rank of the best
    caption of each video that has one, in the order of the columns.

    Args:
        scores: (captions, videos), higher is better.
        truth: (captions,) integers, the video of each caption. Several captions may share a video.

    Raises:
        DataError: a score is not finite, or the shapes or ``truth`` are invalid.
    """
    scores, truth = _checked(scores, truth)
    return _ranks_of(lambda rows, columns: scores[rows, columns], truth, scores.shape[1])


def ranks(scores: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Returns the ranks of captions, (captions,): see ``matrix_ranks``."""
    return matrix_ranks(scores, truth)["text_to_video"]


def first_stage_ranks(first: FirstStage, truth: np.ndarray) -> ByDirection:
    """Returns ``matrix_ranks`` of the similarities without storing all of them."""
    return _ranks_of(first.block, truth, len(first.videos))


def highest(
    scores: np.ndarray, count: int, last: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the columns (Q, count) of each row's highest entries, best first, and the entries.

    Equal entries keep their order, except that those in ``last`` (bool, like ``scores``) follow.
    """
    if last is None:
        order = np.argsort(-scores, axis=1, kind="stable")
    else:
        order = np.lexsort((last, -scores), axis=1)
    columns = order[:, :count]
    return columns, np.take_along_axis(scores, columns, axis=1)


def _checked(scores: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns both as arrays after checking shapes, types, bounds and finite scores."""
    scores, truth = np.asarray(scores), np.asarray(truth)
    if scores.ndim != 2 or truth.shape != scores.shape[:1] or not scores.size:
        raise DataError(
            f"scores have the shape {scores.shape} and truth has {truth.shape}; "
            "expected (captions, videos) and (captions,), at least one of each"
        )
    if not np.issubdtype(truth.dtype, np.integer):
        raise DataError(f"truth has the type {truth.dtype}; expected integers")
    outside = np.flatnonzero((truth < 0) | (truth >= scores.shape[1]))
    if outside.size:
        row = outside[0]
        raise DataError(
            f"caption {row} belongs to video {truth[row]}, but there are scores for "
            f"{scores.shape[1]} videos (numbered from 0)"
        )
    finite = np.isfinite(scores)
    if not finite.all():
        row, column = np.argwhere(~finite)[0]
        raise DataError(
            f"the score of caption {row} and video {column} is {scores[row, column]} "
            f"({np.count_nonzero(~finite)} such scores in all). Check the weights and the features"
        )
    return scores, truth


class Ranking(ABC):
    """The ranking of a retrieval test by match margins + ``weight`` x similarities."""

    videos: int

    def __init__(self, margins: np.ndarray, truth: np.ndarray, first: FirstStage | None) -> None:
        """``margins``: of the scored pairs; ``truth`` (C,): each caption's video."""
        self.margins, self.truth, self.first = margins, truth, first
        self._ranks: dict[float, ByDirection] = {}

    def ranks(self, weight: float = 0.0) -> ByDirection:
        """Returns the rank (Q,) of each query's best positive, cached by weight."""
        if weight not in self._ranks:
            self._ranks[weight] = self._compute_ranks(weight)
        return self._ranks[weight]

    @cached_property
    def first_stage_ranks(self) -> ByDirection:
        """Ranks by the similarities alone."""
        assert self.first is not None
        return first_stage_ranks(self.first, self.truth)

    @abstractmethod
    def best(self, count: int, weight: float = 0.0) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Returns the indices (Q, count) int64 and scores (Q, count) of the best answers."""

    @abstractmethod
    def _compute_ranks(self, weight: float) -> ByDirection:
        """See ``ranks``."""


class AllPairs(Ranking):
    """The ranking if every pair was scored: margins are (C, V)."""

    def __init__(
        self, margins: np.ndarray, truth: np.ndarray, first: FirstStage | None = None
    ) -> None:
        super().__init__(margins, truth, first)
        self.videos = margins.shape[1]

    def scores(self, weight: float = 0.0) -> np.ndarray:
        """Returns the scores (C, V)."""
        if self.first is None or not weight:
            return self.margins
        return self.margins + weight * self.first.block()

    def _compute_ranks(self, weight: float) -> ByDirection:
        return matrix_ranks(self.scores(weight), self.truth)

    def best(self, count: int, weight: float = 0.0) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """See :class:`Ranking`."""
        scores = self.scores(weight)
        positive = self.truth[:, None] == np.arange(self.videos)
        queries = np.unique(self.truth)
        sides = (scores, positive), (scores.T[queries], positive.T[queries])
        return {
            name: highest(side, count, last)
            for name, (side, last) in zip(DIRECTIONS, sides, strict=True)
        }


class ListedPairs(Ranking):
    """The ranking if only shortlisted pairs were scored: margins are (P,), in the lists' order.

    Listed candidates are ordered by their scores; all others follow in the order of the first
    stage, so a positive that is not listed keeps its rank in the first stage.
    """

    def __init__(self, margins: np.ndarray, truth: np.ndarray, first: FirstStage) -> None:
        """``first`` must have shortlists."""
        super().__init__(margins, truth, first)
        assert first.shortlists is not None
        self.lists: Shortlists = first.shortlists
        self.videos, queries = self.lists.videos, np.unique(truth)
        captions, videos = self.lists.text_to_video, self.lists.of_videos(queries)
        rows, columns = np.arange(len(captions))[:, None], queries[:, None]
        self._lists = dict(zip(DIRECTIONS, (captions, videos), strict=True))
        self._positive = dict(
            zip(DIRECTIONS, (captions == truth[:, None], truth[videos] == columns), strict=True)
        )
        positions = (self.lists.position(rows, captions), self.lists.position(videos, columns))
        self._positions = dict(zip(DIRECTIONS, positions, strict=True))

    def _scores(self, weight: float) -> ByDirection:
        """Returns the scores of each direction's lists, (Q, k)."""
        scores = self.margins
        if weight:
            assert self.first is not None
            scores = scores + weight * self.first.similarities(*self.lists.pairs)
        return {direction: scores[at] for direction, at in self._positions.items()}

    def _compute_ranks(self, weight: float) -> ByDirection:
        result = {}
        for direction, scores in self._scores(weight).items():
            positive = self._positive[direction]
            best = np.where(positive, scores, -np.inf).max(axis=1, initial=-np.inf)[:, None]
            others = np.where(positive, -np.inf, scores)  # a query's positives do not compete
            in_list = 1 + _count_as_high(others, best, axis=1)
            behind = np.maximum(self.first_stage_ranks[direction], scores.shape[1] + 1)
            result[direction] = np.where(positive.any(axis=1), in_list, behind)
        return result

    def list_length(self, direction: str) -> int:
        """Returns the length of a direction's lists."""
        return self._positive[direction].shape[1]

    def recall(self) -> dict[str, float]:
        """Returns the percentage of queries whose list has a positive: an upper bound of recall."""
        return {
            direction: float(100 * np.mean(positive.any(axis=1)))
            for direction, positive in self._positive.items()
        }

    def best(self, count: int, weight: float = 0.0) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """See :class:`Ranking`."""
        answers = {}
        for direction, scores in self._scores(weight).items():
            at, values = highest(scores, count, self._positive[direction])
            answers[direction] = np.take_along_axis(self._lists[direction], at, axis=1), values
        return answers


def summarize(ranks: np.ndarray) -> dict[str, float]:
    """Returns R@1, R@5 and R@10 in percent, ``MedianR`` and ``MeanR`` of ``ranks`` (from 1).

    The median of an even number of ranks is rounded down, as in PaddleVideo.
    """
    recall = {f"R@{k}": float(100 * np.mean(ranks <= k)) for k in RECALL_AT}
    return {
        **recall,
        "MedianR": float(math.floor(np.median(ranks))),
        "MeanR": float(np.mean(ranks)),
    }


def summaries(by_direction: Mapping[str, np.ndarray]) -> Summary:
    """Returns ``summarize`` of each direction's ranks."""
    return {direction: summarize(ranks) for direction, ranks in by_direction.items()}


def retrieval_metrics(scores: np.ndarray, truth: np.ndarray) -> Summary:
    """Summarizes both directions: the arguments and errors are those of ``matrix_ranks``.

    Returns:
        ``{"text_to_video": {"R@1", "R@5", "R@10", "MedianR", "MeanR"}, "video_to_text": {...}}``:
        the first over all captions, the second over all videos that have a caption.
    """
    return summaries(matrix_ranks(scores, truth))


def chance_metrics(truth: np.ndarray, videos: int) -> Summary:
    """Returns what random scores reach on average, in the form of ``retrieval_metrics``.

    Args:
        truth: (captions,) integers, the video of each caption.
        videos: the size of the gallery.
    """
    captions_of = np.bincount(truth)
    sides = (
        _chance(np.ones(1, dtype=np.int64), videos),
        _chance(captions_of[captions_of > 0], len(truth)),
    )
    return dict(zip(DIRECTIONS, sides, strict=True))


def _chance(positives: np.ndarray, candidates: int) -> dict[str, float]:
    """Returns the expectations for queries with ``positives`` (queries,) among ``candidates``."""
    misses = miss_probabilities(positives, candidates)
    recall = {f"R@{k}": float(100 * (1 - misses[min(k, candidates)])) for k in RECALL_AT}
    return {
        **recall,
        "MedianR": float(np.argmax(misses <= 0.5 + 1e-12)),
        "MeanR": mean_rank(positives, candidates),
    }


def dual_softmax(scores: np.ndarray) -> np.ndarray:
    """Returns the log of softmax over videos times softmax over captions, (C, V) float64.

    A video that matches many captions counts less for each (the inference trick of Cheng et al.
    2021, "Improving video-text retrieval by multi-stream corpus alignment and dual softmax loss",
    with a second softmax instead of their factor, the score itself, as margins may be negative).
    Every query's ranks then depend on the other queries, so report them separately.

    Args:
        scores: (captions, videos) logits, higher is better.
    """
    scores = np.asarray(scores, dtype=np.float64)
    return 2 * scores - _log_sum_exp(scores, axis=0) - _log_sum_exp(scores, axis=1)


def _log_sum_exp(scores: np.ndarray, axis: int) -> np.ndarray:
    """Returns the log of the sum of exponentials along ``axis``, which is kept with length 1."""
    highest = scores.max(axis=axis, keepdims=True)
    return highest + np.log(np.exp(scores - highest).sum(axis=axis, keepdims=True))
