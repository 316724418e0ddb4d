"""Accuracies of answers to questions, in percent; chance and intervals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence

import numpy as np

#: How equal scores of candidates count, as text for the protocol.
TIES = "a tie with the right candidate counts as wrong"


def percent(correct: Sequence[bool] | np.ndarray) -> float:
    """Returns the percentage of True; NaN of nothing."""
    return float(100 * np.mean(correct)) if len(correct) else float("nan")


def is_first(scores: np.ndarray, answer: int) -> bool:
    """Returns whether the score at ``answer`` is higher than all others of ``scores`` (K,)."""
    scores = np.asarray(scores)
    return bool(np.count_nonzero(scores >= scores[answer]) == 1)


def choices_right(scores: Sequence[np.ndarray], answers: Sequence[int]) -> np.ndarray:
    """Returns (N,) bool: where the right candidate has the highest score; a tie is wrong.

    ``scores``: N arrays with a score for each candidate; ``answers``: the right positions.
    """
    return np.array(
        [is_first(row, answer) for row, answer in zip(scores, answers, strict=True)], bool
    )


def choice_chance(candidates: Sequence[int]) -> float:
    """Returns what random scores reach, given the number of candidates of each question."""
    return float(100 * np.mean(1.0 / np.asarray(candidates, np.float64)))


def by_kind(correct: Sequence[bool] | np.ndarray, kinds: Sequence[str]) -> dict[str, float]:
    """Returns the percentage of True of each kind of question, in the order of their names."""
    groups: dict[str, list[bool]] = {}
    for right, kind in zip(correct, kinds, strict=True):
        groups.setdefault(kind, []).append(bool(right))
    return {kind: percent(groups[kind]) for kind in sorted(groups)}


def most_frequent(values: Sequence[Hashable]) -> Hashable:
    """Returns the most frequent value; of equally frequent ones that which comes first."""
    return Counter(values).most_common(1)[0][0]


def standard_error(correct: Sequence[bool] | np.ndarray) -> float:
    """Returns the standard error of :func:`percent` over other questions of the same kind."""
    share = np.mean(correct)
    return float(100 * np.sqrt(share * (1 - share) / len(correct)))


def usual_answers(answers: Sequence[str], groups: Sequence[Hashable], enough: int = 1) -> list[str]:
    """Returns the most frequent answer of each question's group, (N,).

    ``groups``: equal values for questions that get one answer. Those of a group with fewer than
    ``enough`` questions get the most frequent answer of all.
    """
    counted: dict[Hashable, Counter[str]] = {}
    for answer, group in zip(answers, groups, strict=True):
        counted.setdefault(group, Counter())[answer] += 1
    of_all = str(most_frequent(answers))
    usual = {
        group: counts.most_common(1)[0][0] if counts.total() >= enough else of_all
        for group, counts in counted.items()
    }
    return [usual[group] for group in groups]


def paired_gain(
    right: np.ndarray,
    other: np.ndarray,
    groups: Sequence[Hashable],
    samples: int = 10_000,
    level: float = 95.0,
    seed: int = 0,
) -> tuple[float, float, float]:
    """Returns how much better ``right`` is than ``other``, in percent, with an interval.

    Whole groups are sampled with replacement, such as all questions about one video, because
    their answers depend on each other (Efron and Tibshirani 1993, chapter 13: percentiles).

    Args:
        right: (N,) bool, the questions that are answered correctly.
        other: (N,) bool, the same of another model or other clips.
        groups: (N,) equal values for the questions of one group.
        samples: the number of resampled tests.
        level: percentage of them within the interval.
        seed: seed of the sampling.

    Returns:
        The difference, and the lower and upper end of the interval.
    """
    _, group = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    sizes = np.bincount(group)
    gains = np.bincount(group, np.asarray(right, np.float64) - np.asarray(other, np.float64))
    rng = np.random.default_rng(seed)
    drawn = np.empty(samples)
    for index in range(samples):
        taken = rng.integers(len(sizes), size=len(sizes))
        drawn[index] = 100 * gains[taken].sum() / sizes[taken].sum()
    tail = (100 - level) / 2
    low, high = np.percentile(drawn, [tail, 100 - tail])
    return float(100 * gains.sum() / sizes.sum()), float(low), float(high)
