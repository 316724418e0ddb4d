from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.stats import rankdata

from paddlevideo.retrieval.ranks import (
    chance_metrics,
    matrix_ranks,
    ranks,
    retrieval_metrics,
    summarize,
)
from paddlevideo.utils.errors import DataError


@st.composite
def scored(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Small matrices of few distinct scores, so that ties are common, and a truth."""
    captions, videos = draw(st.integers(1, 12)), draw(st.integers(1, 8))
    scores = draw(hnp.arrays(np.float32, (captions, videos), elements=st.integers(-2, 2)))
    truth = draw(hnp.arrays(np.int64, captions, elements=st.integers(0, videos - 1)))
    return scores, truth


def test_reference_numbers(shared):
    stored = np.load(shared / "reference/retrieval_metrics.npz")
    expected = json.loads((shared / "reference/retrieval_metrics.json").read_text())
    scores = next(stored[name] for name in stored.files if stored[name].ndim == 2)
    found = retrieval_metrics(scores, np.arange(len(scores)))["text_to_video"]
    assert found == {
        "R@1": expected["R1"],
        "R@5": expected["R5"],
        "R@10": expected["R10"],
        "MedianR": expected["MedR"],
        "MeanR": expected["MeanR"],
    }


@given(scored())
def test_ranks_are_the_highest_tied_rank_of_scipy(pair):
    scores, truth = pair
    expected = rankdata(-scores, method="max", axis=1)[np.arange(len(truth)), truth]
    np.testing.assert_array_equal(ranks(scores, truth), expected)


@given(scored())
def test_video_ranks_ignore_the_other_captions_of_the_video(pair):
    scores, truth = pair
    expected = []
    for video in np.unique(truth):
        others = scores[truth != video, video]
        best = scores[truth == video, video].max()
        expected.append(rankdata(-np.append(others, best), method="max")[-1])
    np.testing.assert_array_equal(matrix_ranks(scores, truth)["video_to_text"], expected)


@given(scored(), st.randoms(use_true_random=False))
def test_the_order_of_captions_does_not_matter(pair, random):
    scores, truth = pair
    order = list(range(len(truth)))
    random.shuffle(order)
    assert retrieval_metrics(scores[order], truth[order]) == retrieval_metrics(scores, truth)


def test_directions_differ():
    scores = np.array([[3.0, 5.0], [1.0, 2.0]])
    found = retrieval_metrics(scores, np.array([0, 1]))
    assert found["text_to_video"]["R@1"] == 50.0  # caption 0 prefers video 1
    assert found["video_to_text"] == {
        "R@1": 50.0,  # video 1 prefers caption 0
        "R@5": 100.0,
        "R@10": 100.0,
        "MedianR": 1.0,
        "MeanR": 1.5,
    }


def test_a_constant_scorer_gets_the_worst_rank():
    found = retrieval_metrics(np.zeros((20, 20)), np.arange(20))
    for direction in found.values():
        assert direction == {"R@1": 0.0, "R@5": 0.0, "R@10": 0.0, "MedianR": 20.0, "MeanR": 20.0}


def test_denominators_are_captions_and_videos_that_have_one():
    scores = np.array([[9.0, 1.0, 0.0], [8.0, 2.0, 0.0], [9.0, 1.0, 0.0]])
    found = retrieval_metrics(scores, np.array([0, 0, 1]))
    assert found["text_to_video"]["R@1"] == pytest.approx(200 / 3)
    assert found["video_to_text"]["R@1"] == 0.0  # a foreign caption ties with or beats both
    assert found["video_to_text"]["MeanR"] == 2.5  # video 2 has no caption and no say


def test_the_median_of_an_even_number_is_rounded_down():
    assert summarize(np.array([1, 2, 3, 9]))["MedianR"] == 2.0


def test_chance_agrees_with_random_scores():
    truth = np.array([0, 0, 0, 1, 2, 2, 3, 4, 4, 5])
    rng = np.random.default_rng(0)
    drawn = [retrieval_metrics(rng.normal(size=(10, 7)), truth) for _ in range(4000)]
    for direction, expected in chance_metrics(truth, videos=7).items():
        for name in ("R@1", "R@5", "MeanR"):
            mean = np.mean([found[direction][name] for found in drawn])
            assert mean == pytest.approx(expected[name], rel=0.03), (direction, name)


def test_chance_of_one_caption_a_video():
    expected = {
        "R@1": pytest.approx(1 / 3),
        "R@5": pytest.approx(5 / 3),
        "R@10": pytest.approx(10 / 3),
        "MedianR": 150.0,
        "MeanR": 150.5,
    }
    found = chance_metrics(np.arange(300), 300)
    assert found == {"text_to_video": expected, "video_to_text": expected}


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_score_that_is_not_finite_is_refused_by_place(value):
    scores = np.zeros((3, 4))
    scores[2, 1] = value
    with pytest.raises(DataError, match="caption 2 and video 1"):
        retrieval_metrics(scores, np.array([0, 1, 2]))


@pytest.mark.parametrize(
    ("scores", "truth", "message"),
    [
        (np.zeros(3), np.array([0]), "expected"),
        (np.zeros((3, 2)), np.array([0, 1]), "expected"),
        (np.zeros((0, 2)), np.zeros(0, dtype=int), "at least one"),
        (np.zeros((1, 2)), np.array([2]), "caption 0 belongs to video 2"),
        (np.zeros((1, 2)), np.array([-1]), "caption 0 belongs to video -1"),
        (np.zeros((1, 2)), np.array([0.0]), "integers"),
    ],
)
def test_shapes_and_truth_are_checked(scores, truth, message):
    with pytest.raises(DataError, match=message):
        ranks(scores, truth)
