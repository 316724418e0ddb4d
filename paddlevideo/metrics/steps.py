"""Scores of step localisation: one second for each step of a task, as CrossTask counts it.

T seconds, K steps of a task.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from paddlevideo.utils.errors import DataError

#: "listed": steps follow one another in the order of the list; "free": each stands alone.
StepOrder = Literal["listed", "free"]


def align(scores: np.ndarray, order: StepOrder = "listed") -> np.ndarray:
    """Returns the second of each step (K,) int64 with the largest sum of ``scores`` (T, K).

    "listed": every step takes one second, and later steps take later seconds (Zhukov et al. 2019,
    "Cross-task weakly supervised learning", section 4: dynamic programming in T x K). "free": the
    best second of each step. Of equal sums the earliest seconds are taken, the last step's first.

    Raises:
        DataError: there are fewer seconds than steps, so that no order exists, or no seconds.
    """
    seconds, steps = scores.shape
    if seconds < (steps if order == "listed" else 1):
        raise DataError(
            f"{seconds} seconds for {steps} steps, each of which takes one second: use a longer "
            "video, fewer steps, or the order free, in which steps may share a second"
        )
    if order == "free":
        return scores.argmax(axis=0).astype(np.int64)
    # best[t]: the largest sum of the steps so far, the last of which takes one of seconds 0..t.
    best = np.zeros(seconds)
    takes: list[np.ndarray] = []
    for column in scores.T.astype(np.float64):
        before = np.concatenate([[-np.inf], best[:-1]]) if takes else best
        total = before + column
        best = np.maximum.accumulate(total)
        first = np.where(total > np.concatenate([[-np.inf], best[:-1]]), np.arange(seconds), 0)
        takes.append(np.maximum.accumulate(first))
    second, found = seconds - 1, []
    for last in reversed(takes):
        found.append(int(last[second]))
        second = found[-1] - 1
    return np.array(found[::-1], np.int64)


def log_softmax(scores: np.ndarray) -> np.ndarray:
    """Returns log-probabilities of the steps in each second of ``scores`` (T, K), float64."""
    shifted = scores.astype(np.float64) - scores.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def hits(seconds: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Returns whether each step (K,) was put on one of its seconds in ``true`` (T, K) bool."""
    return true[seconds, np.arange(true.shape[1])]


def recalls(
    groups: Sequence[str], found: Sequence[float], steps: Sequence[int]
) -> dict[str, float]:
    """Returns the recall of each group of videos in percent, in the order of first appearance.

    That is the number of steps that were put on one of their seconds, over the number of steps that
    occur. CrossTask's groups are tasks. Groups without any step are left out.

    Args:
        groups: the group of each video.
        found: the number of :func:`hits` of each video, or its expectation.
        steps: the number of steps that occur in each video.
    """
    every, owner = np.unique(np.asarray(groups), return_inverse=True)
    hit = np.bincount(owner, np.asarray(found, np.float64), len(every))
    total = np.bincount(owner, np.asarray(steps, np.float64), len(every))
    by_name = {name: 100.0 * hit[i] / total[i] for i, name in enumerate(every) if total[i]}
    return {name: float(by_name[name]) for name in dict.fromkeys(groups) if name in by_name}


def mean_recall(by_group: Mapping[str, float]) -> float:
    """Returns the mean over groups, for tasks the number of CrossTask's table; NaN without any."""
    return float(np.mean(list(by_group.values()))) if by_group else float("nan")


def evenly_spaced(seconds: int, steps: int) -> np.ndarray:
    """Returns the middle of each of ``steps`` equal parts of the video, (K,) int64.

    Halves are rounded to even, as in CrossTask's own baseline.
    """
    middles = np.rint((np.arange(steps) + 0.5) * seconds / steps).astype(np.int64)
    return np.minimum(middles, seconds - 1)


def chance_hits(true: np.ndarray) -> float:
    """Returns the expected number of hits in ``true`` (T, K) of a random second for each step."""
    return float(true.mean(axis=0).sum())
