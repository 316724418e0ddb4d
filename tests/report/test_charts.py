from __future__ import annotations

import re
from math import comb

import numpy as np
import pytest

from paddlevideo.report.charts import Curve, chance_recall, histogram, rank_bins, recall_at
from paddlevideo.report.charts import recall_chart as chart

RANKS = np.random.default_rng(0).integers(1, 701, 300)
OWN = np.ones(300, dtype=np.int64)


def curve(ranks=RANKS, style="forward", candidates=700, own=OWN):
    return Curve("text to video", style, np.asarray(ranks), own, candidates)


def points(svg, style):
    """Coordinates (n, 2) of the line with a class."""
    found = re.search(rf'<polyline points="([^"]*)" class="line {style}">', svg)
    return np.array([pair.split(",") for pair in found[1].split()], dtype=float)


def test_bins_follow_each_other_and_their_counts_add_up():
    bins = rank_bins(RANKS, 700)
    assert [(each.first, each.last) for each in bins] == [
        *((1, 1), (2, 5), (6, 10), (11, 20), (21, 50), (51, 100)),
        *((101, 200), (201, 500), (501, 1000)),
    ]
    assert sum(each.count for each in bins) == len(RANKS)
    assert bins[1].count == np.isin(RANKS, [2, 3, 4, 5]).sum()
    assert (bins[0].name, bins[1].name) == ("1", "2–5")


def test_a_histogram_shows_every_count():
    svg = histogram("text to video", "forward", RANKS, 700)
    shown = [int(text) for text in re.findall(r'<text [^>]*class="dim">(\d+)</text>', svg)]
    assert shown == [each.count for each in rank_bins(RANKS, 700)]
    widths = np.array(re.findall(r'width="([\d.]+)" height', svg), dtype=float)
    assert np.argmax(widths) == np.argmax(shown)
    assert 'role="img"' in svg and "<title" in svg and "<desc" in svg


def test_recall_is_monotone_and_hits_the_metrics():
    places = np.arange(1, 701)
    recalls = recall_at(RANKS, places)
    assert (np.diff(recalls) >= 0).all() and recalls[-1] == 100
    for k in (1, 5, 10):
        assert recalls[k - 1] == pytest.approx(np.mean(k >= RANKS) * 100)


def test_the_recall_line_rises_through_the_marks_and_ends_at_100():
    svg = chart([curve(np.minimum(RANKS, 5))])
    line = points(svg, "forward")
    assert (np.diff(line[:, 0]) > 0).all() and (np.diff(line[:, 1]) <= 0).all()
    assert line[:, 1].min() == 10.0  # the top of the chart is 100 %
    marks = re.findall(r'<rect x="([\d.]+)" y="([\d.]+)" width="7"', svg)
    assert len(marks) == 3
    for x, y in np.array(marks, dtype=float) + 3.5:
        assert np.abs(line - (x, y)).sum(axis=1).min() < 0.3
    for k in (1, 5, 10):
        assert f"R@{k} {100 * np.mean(np.minimum(RANKS, 5) <= k):.1f} %" in svg


def test_chance_is_the_exact_expectation():
    own, places = np.array([1, 1, 4]), np.array([1, 5, 10, 17, 20])
    expected = [
        100 * (1 - np.mean([comb(20 - n, k) / comb(20, k) for n in own])) for k in places.tolist()
    ]
    np.testing.assert_allclose(chance_recall(own, 20, places), expected, atol=1e-9)


def test_chance_agrees_with_the_metrics_of_a_test():
    from paddlevideo.metrics import chance_metrics

    truth = np.array([0, 0, 0, 1, 2, 2, 3, 4])
    expected = chance_metrics(truth, 5)["video_to_text"]
    found = chance_recall(np.bincount(truth), len(truth), np.array([1, 5]))
    np.testing.assert_allclose(found, [expected["R@1"], expected["R@5"]])


def test_a_chance_line_is_drawn_where_chance_is_known():
    assert points(chart([curve()]), "chance-line forward")[-1, 1] == 10.0
    assert "chance-line" not in chart([curve(candidates=None)])


@pytest.mark.parametrize("candidates", [None, 1, 3])
def test_one_query_among_few_is_drawn(candidates):
    svg = chart([curve([1], candidates=candidates, own=np.array([2]))])
    assert "nan" not in svg and "inf" not in svg
    assert histogram("x", "forward", np.array([1]), 1).count("<rect") == 3
