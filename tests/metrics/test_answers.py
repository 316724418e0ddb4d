"""Accuracies of answers: ties, chance, types."""

from __future__ import annotations

import math

import numpy as np
import pytest

from paddlevideo.metrics.answers import (
    by_kind,
    choice_chance,
    choices_right,
    is_first,
    most_frequent,
    paired_gain,
    percent,
    standard_error,
    usual_answers,
)


def test_a_tie_counts_as_wrong():
    assert is_first(np.array([1.0, 3.0, 2.0]), 1)
    assert not is_first(np.array([3.0, 3.0, 2.0]), 1)
    scores = [np.array([1.0, 2.0]), np.array([2.0, 2.0, 1.0])]
    assert choices_right(scores, [1, 0]).tolist() == [True, False]
    assert choices_right([np.zeros(5)] * 4, [0, 1, 2, 3]).sum() == 0  # equal scores, not 20 %


def test_chance_with_different_numbers_of_candidates():
    assert choice_chance([5, 5]) == pytest.approx(20)
    assert choice_chance([2, 4]) == pytest.approx(37.5)


def test_percentages():
    right = [True, False, True, True]
    assert percent(right) == 75 and math.isnan(percent([]))
    assert by_kind(right, ["b", "a", "a", "b"]) == {"a": 50, "b": 100}
    assert standard_error(right) == pytest.approx(100 * math.sqrt(0.75 * 0.25 / 4))
    assert most_frequent(["x", "y", "y", "x"]) == "x"


def test_usual_answers_need_enough_questions():
    answers, groups = ["a", "b", "b", "c", "a", "a"], [1, 1, 1, 2, 3, 3]
    assert usual_answers(answers, groups) == ["b", "b", "b", "c", "a", "a"]
    assert usual_answers(answers, groups, 3) == ["b", "b", "b", "a", "a", "a"]


def test_a_gain_and_its_interval():
    right, other = np.array([True] * 60 + [False] * 40), np.array([True] * 40 + [False] * 60)
    gain, low, high = paired_gain(right, other, range(100))
    assert gain == pytest.approx(20) and 10 < low < 15 and 25 < high < 30
    # Questions that depend on each other tell less.
    _, wide_low, wide_high = paired_gain(right, other, [at // 20 for at in range(100)])
    assert wide_high - wide_low > 2 * (high - low)
    assert paired_gain(right, right, range(100)) == (0, 0, 0)
    assert paired_gain(right, other, range(100)) == (gain, low, high)  # the same every time
