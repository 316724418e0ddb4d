from __future__ import annotations

import re

import numpy as np
import pytest

from paddlevideo.report import write_report
from paddlevideo.report.charts import Ranked, rank_bins, rank_charts, recall_at
from tests.report.samples import query, results_of, some_queries

RANKS = np.random.default_rng(0).integers(1, 701, 300)


def ranked(ranks=RANKS, candidates=700, positives=1):
    positives = np.broadcast_to(positives, len(ranks))
    return Ranked("text to video", "forward", np.asarray(ranks), positives, candidates)


def charts(*given):
    return rank_charts([ranked(*given)])


def points(text):
    """Coordinates (n, 2) of a polyline."""
    return np.array([pair.split(",") for pair in text.split()], dtype=float)


def test_bins_follow_each_other_and_their_counts_add_up():
    bins = rank_bins(RANKS, 700)
    assert list(bins) == [
        *("1", "2–5", "6–10", "11–20", "21–50", "51–100", "101–200", "201–500", "501–1000")
    ]
    assert sum(bins.values()) == len(RANKS)
    assert bins["2–5"] == np.isin(RANKS, [2, 3, 4, 5]).sum()


def test_a_histogram_shows_every_count_to_scale():
    (curve,) = charts()["curves"]
    names, counts, *_, lengths = zip(*curve["bars"], strict=True)
    assert dict(zip(names, counts, strict=True)) == rank_bins(RANKS, 700)
    np.testing.assert_allclose(
        np.divide(lengths, max(lengths)), np.divide(counts, max(counts)), atol=0.01
    )
    assert all(
        f"{name}: {number}" in curve["bins"] for name, number in rank_bins(RANKS, 700).items()
    )
    assert curve["start"] + max(lengths) < 330, "there is room for the count"


def test_recall_is_monotone_and_hits_the_metrics():
    places = np.arange(1, 701)
    recalls = recall_at(RANKS, places)
    assert (np.diff(recalls) >= 0).all() and recalls[-1] == 100
    for k in (1, 5, 10):
        assert recalls[k - 1] == pytest.approx(np.mean(k >= RANKS) * 100)


def test_the_recall_line_rises_through_the_marks_and_ends_at_100():
    (curve,) = charts(np.minimum(RANKS, 5))["curves"]
    line = points(curve["recall"])
    assert (np.diff(line[:, 0]) > 0).all() and (np.diff(line[:, 1]) <= 0).all()
    assert line[:, 1].min() == 10.0  # the top of the chart is 100 %
    assert len(curve["marks"]) == 3
    for x, y, _ in curve["marks"]:
        assert np.abs(line - (x, y)).sum(axis=1).min() < 0.3
    for k, (_, _, label) in zip((1, 5, 10), curve["marks"], strict=True):
        assert label.endswith(f"R@{k} {100 * np.mean(np.minimum(RANKS, 5) <= k):.1f} %")


def test_chance_agrees_with_the_metrics_of_a_test():
    from paddlevideo.retrieval.ranks import chance_metrics

    truth = np.array([0, 0, 0, 1, 2, 2, 3, 4, 5, 6, 7])
    expected = chance_metrics(truth, 8)["video_to_text"]
    chance = dict(ranked(np.ones(8, int), len(truth), np.bincount(truth)).chance_points())
    for k in (1, 5, 10):
        assert chance[k] == pytest.approx(expected[f"R@{k}"])


def test_a_chance_line_is_drawn_where_chance_is_known():
    (curve,) = charts()["curves"]
    assert points(curve["chance"])[-1].tolist() == [348.0, 10.0]
    (curve,) = charts(RANKS, None)["curves"]
    assert curve["chance"] == ""


@pytest.mark.parametrize("candidates", [None, 1, 3])
def test_one_query_among_few_is_drawn(candidates):
    (curve,) = charts([1], candidates, 2)["curves"]
    assert "nan" not in curve["recall"] + curve["chance"] and len(curve["bars"]) == 3


def test_the_page_holds_what_was_computed(tmp_path):
    queries = some_queries(40)
    write_report(tmp_path / "x.html", results_of(queries), queries)
    text = (tmp_path / "x.html").read_text("utf-8")
    assert len(re.findall(r'<polyline points="[\d., ]+" class="line forward"/>', text)) == 1
    assert len(re.findall(r'class="line chance-line (?:for|back)ward"/>', text)) == 2
    shown = [int(count) for count in re.findall(r'class="dim">(\d+)</text>', text)]
    ranks = [each.rank for each in queries if each.direction == "text_to_video"]
    bins = rank_bins(np.array(ranks), 40)
    assert list(bins.values()) == shown[: len(bins)]
    write_report(tmp_path / "x.html", {}, [query(3)])
    assert "chance-line forward" not in (tmp_path / "x.html").read_text("utf-8")
