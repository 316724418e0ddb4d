"""Scores of action segmentation, by hand and against recorded numbers of the authors' code."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from paddlevideo.metrics import segments

SHARED = Path(__file__).parents[3] / "shared" / "data"


def labels(text: str) -> np.ndarray:
    """One digit a second."""
    return np.array([int(digit) for digit in text])


def shared(name: str) -> Path:
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"{path} is missing")
    return path


def test_segments_are_runs_of_equal_labels():
    found = segments.segments_of(labels("0011102"))
    assert [list(x) for x in found] == [[0, 1, 0, 2], [0, 2, 5, 6], [2, 5, 6, 7]]
    assert [list(x) for x in found.without(0)] == [[1, 2], [2, 6], [5, 7]]
    assert [len(x) for x in segments.segments_of(labels(""))] == [0, 0, 0]


def test_accuracies_with_and_without_background():
    true, predicted = labels("00112"), labels("01110")
    assert segments.accuracy(predicted, true) == pytest.approx(60)
    assert segments.foreground_accuracy(predicted, true) == pytest.approx(200 / 3)
    assert math.isnan(segments.foreground_accuracy(predicted, labels("00000")))


@pytest.mark.parametrize(
    ("first", "second", "distance"),
    [("", "", 0), ("123", "", 3), ("123", "123", 0), ("1234", "134", 1), ("12", "21", 2)],
)
def test_edit_distance(first, second, distance):
    assert segments.edit_distance(list(first), list(second)) == distance


def test_the_edit_score_sees_the_order_but_not_lengths_or_background():
    true = labels("0111222333")
    assert segments.edit_score(labels("1233333333"), true) == 100
    assert segments.edit_score(labels("1000203000"), true) == 100
    assert segments.edit_score(labels("1112112333"), true) == pytest.approx(100 * (1 - 2 / 5))
    assert segments.edit_score(labels("0000"), labels("0000")) == 100
    assert segments.edit_score(labels("0000"), labels("0100")) == 0


def test_a_segment_is_found_by_its_overlap_and_only_once():
    true = labels("1111100222")
    one_third = labels("0001111222")  # label 1: two of seven seconds shared
    assert segments.overlap_counts(one_third, true, 0.25) == (2, 0, 0)
    assert segments.overlap_counts(one_third, true, 0.5) == (1, 1, 1)
    twice = labels("1110100222")
    assert segments.overlap_counts(twice, true, 0.1) == (2, 1, 0)
    assert segments.overlap_counts(labels("0"), labels("0"), 0.5).f1 == 0
    assert segments.overlap_counts(labels("1"), labels("0"), 0.5) == (0, 1, 0)
    assert segments.Counts(2, 1, 0).f1 == pytest.approx(80)


def test_an_overlap_of_exactly_the_limit_counts():
    assert segments.overlap_counts(labels("1000"), labels("1100"), 0.5) == (1, 0, 0)


def test_means_leave_out_what_cannot_be_counted():
    predicted, true = [labels("01"), labels("0")], [labels("01"), labels("0")]
    mean = segments.mean_over_videos(predicted, true)
    assert mean["foreground_accuracy"] == 100  # the second video has no foreground
    assert mean["accuracy"] == 100 and mean["F1@50"] == 50
    assert segments.mean_scores([]) == {}


def test_pooled_scores_weigh_seconds_and_segments_equally():
    predicted = [labels("1111"), labels("0")]
    true = [labels("1122"), labels("0")]
    scores = segments.pooled(predicted, true)
    assert scores["accuracy"] == pytest.approx(60)
    assert segments.mean_over_videos(predicted, true)["accuracy"] == pytest.approx(75)
    assert scores["foreground_accuracy"] == pytest.approx(50)
    assert scores["F1@50"] == pytest.approx(100 * 2 / 3)


def test_scores_equal_those_of_the_authors_code():
    reference = json.loads(shared("segmentation_reference.json").read_text("utf-8"))
    splits: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
    for video in reference["videos"]:
        pair = np.array(video["predicted"]), np.array(video["true"])
        splits.setdefault(video["split"], []).append(pair)
    means = [segments.mean_over_videos(*zip(*pairs, strict=True)) for pairs in splits.values()]
    mean = segments.mean_scores(means)
    for name, expected in reference["expected"].items():
        assert mean[name] == pytest.approx(expected, abs=0.01), name


def test_the_background_of_coin():
    database = json.loads(shared("coin_test.json").read_text("utf-8"))["database"]
    true = []
    for video in database.values():
        seconds = np.zeros(math.ceil(video["duration"]), np.int64)
        for step in video["annotation"]:
            start, end = step["segment"]
            seconds[math.floor(start) : math.ceil(end)] = int(step["id"])
        true.append(seconds)
    scores = segments.pooled([np.zeros_like(seconds) for seconds in true], true)
    assert sum(len(seconds) for seconds in true) == 396_826
    assert scores["accuracy"] == pytest.approx(58.82, abs=0.005)
    assert scores["foreground_accuracy"] == 0
