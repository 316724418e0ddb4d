"""Ranks and recall of text-video retrieval, from a matrix of scores.

Ranks count from 1. A tie counts against the right answer: every other candidate with an equal score
is placed before it. The result is deterministic, and a model that scores everything alike gets the
worst rank instead of the best.
"""

from __future__ import annotations

import math

import numpy as np

from paddlevideo.utils.errors import DataError

#: How equal scores are ranked, in words for a report's protocol.
TIE_RULE = "counted against"

RECALL_AT = (1, 5, 10)

#: What is reported for each direction, and whether more of it is better.
HIGHER_IS_BETTER = {**{f"R@{k}": True for k in RECALL_AT}, "MedianR": False, "MeanR": False}

DIRECTIONS = ("text_to_video", "video_to_text")


def ranks(scores: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Rank of each row's right column: 1 + how many other columns score as high or higher.

    Args:
        scores: (captions, videos), higher is better.
        truth: (captions,) integers, the right column of each row.

    Returns:
        (captions,) int64, from 1.

    Raises:
        DataError: a score is not finite, or the shapes or the truth do not fit.
    """
    scores, truth = _checked(scores, truth)
    own = scores[np.arange(len(truth)), truth]
    return np.count_nonzero(scores >= own[:, None], axis=1)  # the own score makes up the 1


def video_ranks(scores: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Rank of each video's best own caption among all captions.

    The other captions of the same video do not count against it. Videos without a caption are left
    out.

    Args:
        scores: (captions, videos), higher is better.
        truth: (captions,) integers, the video of each caption.

    Returns:
        (videos that have a caption,) int64, from 1, in the order of the columns.

    Raises:
        DataError: as for ``ranks``.
    """
    scores, truth = _checked(scores, truth)
    videos = scores.shape[1]
    own = scores[np.arange(len(truth)), truth]
    best = np.full(videos, -np.inf, dtype=scores.dtype)
    np.maximum.at(best, truth, own)
    as_high = np.count_nonzero(scores >= best, axis=0)
    own_as_high = np.bincount(truth[own == best[truth]], minlength=videos)
    has_caption = np.bincount(truth, minlength=videos) > 0
    return (1 + as_high - own_as_high)[has_caption]


def summarize(found: np.ndarray) -> dict[str, float]:
    """``{"R@1", "R@5", "R@10"}`` in percent of ``found`` (ranks from 1), ``MedianR`` and ``MeanR``.

    The median of an even number of ranks is rounded down, as PaddleVideo reports it.
    """
    recall = {f"R@{k}": float(100 * np.mean(found <= k)) for k in RECALL_AT}
    return {
        **recall,
        "MedianR": float(math.floor(np.median(found))),
        "MeanR": float(np.mean(found)),
    }


def retrieval_metrics(scores: np.ndarray, truth: np.ndarray) -> dict[str, dict[str, float]]:
    """Both directions of retrieval.

    Args:
        scores: (captions, videos), higher is better.
        truth: (captions,) integers, the video of each caption. Several captions may share a video.

    Returns:
        ``{"text_to_video": {"R@1", "R@5", "R@10", "MedianR", "MeanR"}, "video_to_text": {...}}``:
        the first over all captions, the second over all videos that have a caption.

    Raises:
        DataError: a score is not finite, or the shapes or the truth do not fit.
    """
    by_direction = (ranks(scores, truth), video_ranks(scores, truth))
    return {
        direction: summarize(found)
        for direction, found in zip(DIRECTIONS, by_direction, strict=True)
    }


def dual_softmax(scores: np.ndarray) -> np.ndarray:
    """Log of softmax over videos times softmax over captions, (captions, videos) float64.

    A video that suits many captions counts less for each (the inference trick of Cheng et al.
    2021, "Improving video-text retrieval by multi-stream corpus alignment and dual softmax loss",
    with a second softmax where they multiply by the score itself: margins may be negative). Every
    query's ranks then depend on the other queries, so report them apart.

    Args:
        scores: (captions, videos) logits, higher is better.
    """
    scores = np.asarray(scores, dtype=np.float64)
    return 2 * scores - log_sum_exp(scores, axis=0) - log_sum_exp(scores, axis=1)


def log_sum_exp(scores: np.ndarray, axis: int) -> np.ndarray:
    """Logarithm of the sum of exponentials along ``axis``, which stays, one long."""
    highest = scores.max(axis=axis, keepdims=True)
    return highest + np.log(np.exp(scores - highest).sum(axis=axis, keepdims=True))


def chance_metrics(truth: np.ndarray, videos: int) -> dict[str, dict[str, float]]:
    """What random scores reach on average, in the shape of ``retrieval_metrics``.

    The best of n own captions among N has a rank over k when the k highest of the N are all others:
    with probability C(N - n, k) / C(N, k). Its mean rank is 1 + (N - n) / (n + 1).

    Args:
        truth: (captions,) integers, the video of each caption.
        videos: the size of the gallery.
    """
    captions = len(truth)
    per_video = np.bincount(truth)
    per_video = per_video[per_video > 0]
    return {
        "text_to_video": _chance(np.ones(1, dtype=np.int64), videos),
        "video_to_text": _chance(per_video, captions),
    }


def _chance(own: np.ndarray, candidates: int) -> dict[str, float]:
    """Expectations for queries with ``own`` (queries,) right answers among ``candidates``.

    Queries with as many right answers are alike: few columns are needed, however many there are.
    """
    own, queries = np.unique(own, return_counts=True)
    share = queries / queries.sum()
    others = candidates - own
    # beyond[k] = share of queries whose rank is over k, for k = 0 .. candidates
    steps = np.arange(candidates)[:, None]
    odds = np.clip(others - steps, 0, None) / (candidates - steps)
    beyond = np.concatenate([[1.0], np.cumprod(odds, axis=0) @ share])
    recall = {f"R@{k}": float(100 * (1 - beyond[min(k, candidates)])) for k in RECALL_AT}
    return {
        **recall,
        "MedianR": float(np.argmax(beyond <= 0.5 + 1e-12)),
        "MeanR": float((1 + others / (own + 1)) @ share),
    }


def _checked(scores: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both as arrays of fitting shapes, scores finite and truth within the columns."""
    scores, truth = np.asarray(scores), np.asarray(truth)
    if scores.ndim != 2 or truth.shape != scores.shape[:1] or not scores.size:
        raise DataError(
            f"scores have the shape {scores.shape} and truth has {truth.shape}; "
            "expected (captions, videos) and (captions,), at least one of each"
        )
    if not np.issubdtype(truth.dtype, np.integer):
        raise DataError(f"truth has the type {truth.dtype}; expected whole numbers")
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
