"""Ranks from all pairs and from shortlisted ones."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import rankdata

from paddlevideo.retrieval import MSRVTTMetric, retrieval_metrics, shortlist
from paddlevideo.retrieval.nearest import Exact
from paddlevideo.retrieval.ranks import AllPairs, ListedPairs, dual_softmax, first_stage_ranks
from paddlevideo.retrieval.shortlist import FirstStage, Shortlists
from paddlevideo.utils.errors import ConfigError, DataError, WeightsError

CAPTIONS, VIDEOS, WIDTH = 11, 6, 3


def nearest(queries, vectors, count):
    return Exact(vectors).search(queries, count)[0]


def make(seed=0, captions=CAPTIONS, videos=VIDEOS, top_k=None, **options):
    """Margins (C, V), truth, and a first stage with lists of ``top_k``."""
    rng = np.random.default_rng(seed)
    margins = rng.integers(-3, 4, (captions, videos)).astype("float32")  # with ties
    truth = rng.integers(0, videos, captions)
    left = rng.integers(-2, 3, (captions, WIDTH)).astype("float32")
    right = rng.integers(-2, 3, (videos, WIDTH)).astype("float32")
    lists = None
    if top_k:
        lists = Shortlists(
            nearest(left, right, top_k), nearest(right, left, top_k), np.arange(videos), videos
        )
    return margins, truth, FirstStage(left, right, shortlists=lists, **options)


def listed(margins, first):
    return margins[first.shortlists.pairs]


@given(st.integers(0, 10_000), st.integers(1, 12), st.integers(1, 8), st.integers(1, 9))
@settings(max_examples=50, deadline=None)
def test_lists_hold_each_pair_of_either_direction_once(seed, captions, videos, top_k):
    _, _, first = make(seed, captions, videos, top_k)
    lists = first.shortlists
    wanted = {(c, v) for c, row in enumerate(lists.text_to_video) for v in row}
    wanted |= {(c, v) for v, row in enumerate(lists.video_to_text) for c in row}
    found = list(zip(*lists.pairs, strict=True))
    assert len(found) == len(set(found)) and set(found) == wanted
    rows = [lists.of_caption(c).tolist() for c in range(captions)]
    assert [(c, v) for c, row in enumerate(rows) for v in row] == found
    assert all(row == sorted(row) for row in rows)
    positions = lists.position(*lists.pairs)
    np.testing.assert_array_equal(positions, np.arange(len(found)))


def expected_ranks(margins, truth, first, weight):
    """The definition, query by query, in words of another library."""
    similarity = first.captions @ first.videos.T
    final = margins + weight * similarity

    def rank(own, list_, scores, order):
        in_list = [x for x in list_ if x in own]
        if not in_list:
            best = max(order[x] for x in own)
            others = [order[x] for x in range(len(order)) if x not in own]
            behind = int(rankdata([-best, *(-o for o in others)], method="max")[0])
            return max(behind, len(list_) + 1)
        best = max(scores[x] for x in in_list)
        others = [scores[x] for x in list_ if x not in own]
        return int(rankdata([-best, *(-o for o in others)], method="max")[0])

    lists = first.shortlists
    by_text = [
        rank({truth[c]}, lists.text_to_video[c], final[c], similarity[c]) for c in range(len(truth))
    ]
    by_video = [
        rank(set(np.flatnonzero(truth == v)), lists.video_to_text[v], final[:, v], similarity[:, v])
        for v in np.unique(truth)
    ]
    return by_text, by_video


@given(st.integers(0, 10_000), st.integers(1, 7), st.sampled_from([0.0, 0.5, 2.0]))
@settings(max_examples=60, deadline=None)
def test_a_list_is_ordered_by_its_scores_and_the_rest_stands_behind(seed, top_k, weight):
    margins, truth, first = make(seed, top_k=top_k)
    found = ListedPairs(listed(margins, first), truth, first).ranks(weight)
    by_text, by_video = expected_ranks(margins, truth, first, weight)
    assert found["text_to_video"].tolist() == by_text
    assert found["video_to_text"].tolist() == by_video


@given(st.integers(0, 10_000), st.sampled_from([0.0, 1.5]))
@settings(max_examples=30, deadline=None)
def test_lists_of_everything_give_the_ranks_of_all_pairs(seed, weight):
    margins, truth, first = make(seed, top_k=CAPTIONS)
    some = ListedPairs(listed(margins, first), truth, first)
    whole = AllPairs(margins, truth, first)
    for direction, ranks in whole.ranks(weight).items():
        np.testing.assert_array_equal(some.ranks(weight)[direction], ranks)
    assert set(some.recall().values()) == {100.0}


def test_a_direction_without_lists_is_left_to_the_first_stage():
    margins, truth, first = make(5, top_k=3)
    lists = replace(first.shortlists, video_to_text=nearest(first.videos, first.captions, 0))
    first = FirstStage(first.captions, first.videos, shortlists=lists)
    assert len(lists.pairs[0]) == 3 * CAPTIONS
    metric = MSRVTTMetric()
    metric.start(first)
    metric.update(np.arange(CAPTIONS), list(listed(margins, first).reshape(CAPTIONS, 3)))
    result = metric.result(truth)
    assert set(result["first_stage"]["text_to_video"]) - set(result["text_to_video"]) == {"R@3"}
    assert result["video_to_text"] == result["first_stage"]["video_to_text"]


def test_the_first_stage_alone_is_ranked_as_a_matrix_is(monkeypatch):
    margins, truth, first = make()
    whole = AllPairs(first.captions @ first.videos.T, truth).ranks()
    for block in (1 << 20, 7):
        monkeypatch.setattr(shortlist, "BLOCK", block)
        for direction, ranks in first_stage_ranks(first, truth).items():
            np.testing.assert_array_equal(ranks, whole[direction])


@pytest.mark.parametrize("top_k", [None, 4])
def test_the_best_answers_are_those_with_the_highest_scores(top_k):
    margins, truth, first = make(3, top_k=top_k)
    final = margins + 0.5 * (first.captions @ first.videos.T)
    ranking = (
        AllPairs(margins, truth, first)
        if top_k is None
        else ListedPairs(listed(margins, first), truth, first)
    )
    positions, scores = ranking.best(3, 0.5)["text_to_video"]
    for caption in range(CAPTIONS):
        among = range(VIDEOS) if top_k is None else first.shortlists.text_to_video[caption]
        assert scores[caption].tolist() == sorted(final[caption, v] for v in among)[::-1][:3]
        assert scores[caption].tolist() == final[caption, positions[caption]].tolist()


# ------------------------------------------------------------------------------- the metric


def filled(metric, margins, first=None, batch=4):
    if first is not None:
        metric.start(first)
    for start in range(0, len(margins), batch):
        index = np.arange(start, min(start + batch, len(margins)))
        if first is None or first.shortlists is None:
            metric.update(index, margins[index])
        else:
            metric.update(index, [margins[c, first.shortlists.of_caption(c)] for c in index])
    return metric


def test_k_of_the_whole_gallery_and_weight_0_gives_the_one_stage_numbers():
    margins, truth, _ = make(1)
    _, _, first = make(1, top_k=CAPTIONS, weight=0.0)
    result = filled(MSRVTTMetric(), margins, first).result(truth)
    plain = retrieval_metrics(margins, truth)
    assert {direction: result[direction] for direction in plain} == plain == result["match_alone"]


def test_stages_and_their_ceiling_are_reported():
    margins, truth, first = make(2, top_k=2, weight=1.0)
    metric = filled(MSRVTTMetric(), margins, first)
    result = metric.result(truth)
    in_list = (first.shortlists.text_to_video == truth[:, None]).any(axis=1)
    assert result["first_stage"]["text_to_video"]["R@2"] == pytest.approx(100 * in_list.mean())
    assert metric.counts() == {"pairs_scored": len(first.shortlists.pairs[0])}
    assert len(first.shortlists.pairs[0]) < margins.size
    assert result["similarity_weight"] == 1.0
    assert metric.chance(truth)["text_to_video"]["R@1"] == pytest.approx(100 / VIDEOS)


def test_several_processes_give_one_process_numbers_of_shortlists():
    margins, truth, first = make(2, top_k=2)
    one = filled(MSRVTTMetric(), margins, first)
    merged = MSRVTTMetric()
    merged.start(first)
    parts = [MSRVTTMetric(), MSRVTTMetric()]
    for caption in range(CAPTIONS):
        row = [margins[caption, first.shortlists.of_caption(caption)]]
        part = parts[caption % 2]
        part.start(first)
        part.update(np.array([caption]), row)
    merged.merge([part.state() for part in parts])
    assert merged.result(truth) == one.result(truth)


def test_a_validation_chooses_the_weight_and_a_test_must_have_one():
    rng = np.random.default_rng(0)
    truth = np.arange(VIDEOS)
    right = np.eye(VIDEOS, dtype="float32")
    first = FirstStage(right, right, weight=np.nan, automatic=True)
    noise = rng.normal(size=(VIDEOS, VIDEOS)).astype("float32") * 3
    metric = MSRVTTMetric(best="text_to_video.R@1")
    metric.start(first, validating=True)
    metric.update(truth, noise)
    result = metric.result(truth)
    assert result["similarity_weight"] > 1 and result["text_to_video"]["R@1"] == 100.0
    assert result["match_alone"]["text_to_video"]["R@1"] < 100.0
    with pytest.raises(WeightsError, match="--validate, or give a number"):
        MSRVTTMetric().start(first)
    fixed = FirstStage(right, right, weight=0.25)
    metric = MSRVTTMetric()
    metric.start(fixed, validating=True)
    metric.update(truth, noise)
    assert metric.result(truth)["similarity_weight"] == 0.25


def test_scores_and_vectors_that_are_not_finite_are_refused():
    margins, _, first = make(0, top_k=2)
    metric = MSRVTTMetric()
    metric.start(first)
    row = margins[5, first.shortlists.of_caption(5)].copy()
    row[1] = np.nan
    with pytest.raises(
        DataError, match=f"caption 5 and video {first.shortlists.of_caption(5)[1]} is nan"
    ):
        metric.update(np.array([5]), [row])
    bad = FirstStage(first.captions, np.where(np.eye(VIDEOS, WIDTH), np.inf, first.videos))
    with pytest.raises(DataError, match="vector of video 0"):
        MSRVTTMetric().start(bad)


def test_the_dual_softmax_is_apart_and_needs_every_pair():
    margins, truth, _ = make(4)
    result = filled(MSRVTTMetric(dual_softmax=True), margins).result(truth)
    assert result["dual_softmax"] == retrieval_metrics(dual_softmax(margins), truth)
    assert {w: result[w] for w in ("text_to_video", "video_to_text")} == retrieval_metrics(
        margins, truth
    )
    probability = np.exp(dual_softmax(margins))
    by_row = np.exp(margins) / np.exp(margins).sum(axis=1, keepdims=True)
    by_column = np.exp(margins) / np.exp(margins).sum(axis=0, keepdims=True)
    np.testing.assert_allclose(probability, by_row * by_column, rtol=1e-5)
    with pytest.raises(ConfigError, match="needs the score of every pair"):
        MSRVTTMetric(dual_softmax=True).start(make(0, top_k=2)[2])


def test_a_hub_loses_by_the_dual_softmax():
    """One video that suits every caption a little better than the right ones do."""
    scores = np.full((4, 4), -4.0)
    np.fill_diagonal(scores, 1.0)
    scores[:, 3] = 1.5
    truth = np.arange(4)
    assert retrieval_metrics(scores, truth)["text_to_video"]["R@1"] == 25.0
    assert retrieval_metrics(dual_softmax(scores), truth)["text_to_video"]["R@1"] == 100.0
