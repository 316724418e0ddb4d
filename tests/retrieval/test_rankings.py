"""Ranks from all pairs and from shortlisted ones."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import rankdata

from paddlevideo.retrieval import MSRVTTMetric, retrieval_metrics, shortlist
from paddlevideo.retrieval import nearest as nearest_module
from paddlevideo.retrieval.answers import _stage_lines
from paddlevideo.retrieval.nearest import Exact
from paddlevideo.retrieval.ranks import (
    AllPairs,
    ListedPairs,
    dual_softmax,
    first_stage_ranks,
    matrix_ranks,
)
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


class Head:
    """What a first stage needs of a retrieval head."""

    scale, weight, similarity_weight, first_stage = 2.0, 0.5, 0.5, "exact"


@pytest.mark.parametrize("weight", [0.0, 0.5])
@pytest.mark.parametrize("columns", [1 << 16, 7])
def test_distractors_need_no_lists_and_change_no_rank(weight, columns, monkeypatch):
    monkeypatch.setattr(shortlist, "COLUMNS", columns)
    rng = np.random.default_rng(4)
    captions, videos = (rng.normal(size=(n, 5)).astype("float32") for n in (12, 40))
    margins = rng.normal(size=(12, 40)).astype("float32")
    truth = rng.permuted(np.repeat(np.arange(6) * 2, 2))
    some = shortlist.first_stage(Head(), captions, videos, (4, 3), np.unique(truth))
    every = shortlist.first_stage(Head(), captions, videos, (4, 3), np.arange(40))
    assert some.shortlists.video_to_text.shape == (6, 3)
    assert len(some.shortlists.pairs[0]) <= 12 * 4 + 6 * 3 < len(every.shortlists.pairs[0])
    one = ListedPairs(listed(margins, some), truth, some)
    other = ListedPairs(listed(margins, every), truth, every)
    assert one.recall() == other.recall() and one.videos == other.videos == 40
    similarities = some.captions @ videos.T
    whole = expected_ranks(margins, truth, every, weight)
    for (direction, ranks), wanted in zip(one.ranks(weight).items(), whole, strict=True):
        assert ranks.tolist() == wanted
        np.testing.assert_array_equal(ranks, other.ranks(weight)[direction])
        np.testing.assert_array_equal(
            one.first_stage_ranks[direction], matrix_ranks(similarities, truth)[direction]
        )
        for ours, theirs in zip(
            one.best(3, weight)[direction], other.best(3, weight)[direction], strict=True
        ):
            np.testing.assert_array_equal(ours, theirs)


def test_all_ranks_have_the_lists_of_the_first(monkeypatch):
    """Also where a rank's processor rounds differently, so that its own lists would differ."""
    rng = np.random.default_rng(4)
    captions, videos = (rng.normal(size=(n, 5)).astype("float32") for n in (12, 40))
    given = (Head(), captions, videos, (4, 3), np.arange(40))
    one = shortlist.first_stage(*given)
    passed = []

    def gather(item):
        passed.append(item)
        return passed

    shortlist.first_stage(*given, shortlist.Ranks(0, 2, gather))
    monkeypatch.setattr(shortlist, "open_nearest", lambda *_: pytest.fail("searches too"))
    other = shortlist.first_stage(*given, shortlist.Ranks(1, 2, gather))
    for name in ("text_to_video", "video_to_text", "starts"):
        np.testing.assert_array_equal(
            getattr(other.shortlists, name), getattr(one.shortlists, name)
        )


def test_memory_of_the_first_stage_grows_by_a_few_bytes_a_video(monkeypatch):
    """Neither all similarities, nor another copy of the vectors, nor a list for each video."""
    for module in (shortlist, nearest_module):
        monkeypatch.setattr(module, "BLOCK", 1 << 17)
    rng = np.random.default_rng(0)
    truth = np.arange(30)
    captions = rng.normal(size=(30, 64)).astype("float32")
    peaks = []
    for videos in (10_000, 60_000):
        vectors = rng.normal(size=(videos, 64)).astype("float32")
        tracemalloc.start()
        try:
            first = shortlist.first_stage(Head(), captions, vectors, (10, 10), truth)
            ranking = ListedPairs(np.zeros(len(first.shortlists.pairs[0])), truth, first)
            ranking.ranks(0.5)
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    # The vectors themselves have 256 bytes a video.
    assert peaks[1] - peaks[0] < 32 * 50_000


@pytest.fixture
def approximate(monkeypatch):
    """A first stage that looks into one cell: vectors, truth, and what it gives."""
    pytest.importorskip("faiss", reason="faiss-cpu is not installed")
    monkeypatch.setattr(nearest_module, "APPROXIMATE_FROM", 1000)
    monkeypatch.setattr(nearest_module, "FEWEST_PROBED", 1)
    monkeypatch.setattr(nearest_module, "RECALL", 0.0)
    rng = np.random.default_rng(0)
    videos = rng.normal(size=(2000, 16)).astype("float32")
    videos /= np.linalg.norm(videos, axis=1, keepdims=True)
    truth = np.arange(300)
    captions = videos[truth] + 0.1 * rng.normal(size=(300, 16)).astype("float32")
    head = Head()
    head.first_stage = "approximate"
    first = shortlist.first_stage(head, captions, videos, (20, 5), truth)
    return captions, videos, truth, first


def test_the_recall_of_an_approximate_first_stage_is_measured(approximate):
    captions, videos, truth, first = approximate
    at = np.linspace(0, 299, 200).astype(int)
    wanted = nearest(captions[at], videos, 20)
    found = first.shortlists.text_to_video[at]
    hits = [len(set(one) & set(other)) for one, other in zip(found, wanted, strict=True)]
    assert first.found.percent == pytest.approx(100 * np.mean(hits) / 20)
    assert (first.found.nearest, first.found.captions) == (20, 200)
    assert 10 < first.found.percent < 95, "one cell of many does not hold them all"
    np.testing.assert_array_equal(
        first.shortlists.video_to_text, nearest(videos[truth], captions, 5)
    )
    assert shortlist.first_stage(Head(), captions, videos, (20, 5), truth).found is None


def test_results_and_protocol_have_the_recall_of_an_approximate_first_stage(approximate, capsys):
    captions, videos, truth, first = approximate
    lists, metric = first.shortlists, MSRVTTMetric()
    metric.start(first)
    rows = [np.zeros(len(lists.of_caption(caption)), "float32") for caption in range(300)]
    metric.update(np.arange(300), rows)
    result = metric.result(truth)
    assert result["search_recall"] == {
        "percent": first.found.percent,
        "nearest": 20,
        "captions": 200,
    }
    protocol = metric.protocol()
    assert protocol["first_stage"] == "approximate"
    assert protocol["first_stage_recall"] == pytest.approx(first.found.percent, abs=1e-3)
    (line,) = [line for line in _stage_lines(result) if "approximate" in line]
    assert f"finds {first.found.percent:.1f} % of the 20 most similar videos" in line
    # The ranks of the first stage are exact all the same.
    exact = matrix_ranks(first.captions @ videos.T, truth)
    np.testing.assert_array_equal(
        metric.ranking().first_stage_ranks["text_to_video"], exact["text_to_video"]
    )


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
