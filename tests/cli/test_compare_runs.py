"""tools/compare_runs.py and the paired bootstrap below it."""

from __future__ import annotations

import json

import numpy as np
import pytest

from paddlevideo.cli import report
from paddlevideo.metrics.bootstrap import paired_difference
from paddlevideo.report.queries import Query, write_queries
from paddlevideo.utils.errors import DataError


def write(path, ranks, texts=None, direction="text_to_video"):
    texts = texts or [f"caption {number}" for number in range(len(ranks))]
    queries = [
        Query(direction, t, ["clip"], rank, []) for t, rank in zip(texts, ranks, strict=True)
    ]
    write_queries(path, queries)
    return str(path)


def test_equal_rankings_differ_by_nothing():
    ranks = np.arange(1, 101)
    found = paired_difference(ranks, ranks, 10)
    assert (found.first, found.second, found.value) == (10.0, 10.0, 0.0)
    assert (found.low, found.high, found.not_better) == (0.0, 0.0, 1.0)


def test_pairs_make_a_small_but_steady_gain_certain():
    rng = np.random.default_rng(0)
    worse = rng.integers(1, 100, 300)
    better = np.where((worse > 10) & (worse < 25), 5, worse)  # never worse on any query
    found = paired_difference(better, worse, 10)
    assert found.low > 0 and found.not_better == 0.0
    other = rng.permutation(better)  # the same recall, by other queries
    alone = paired_difference(other, worse, 10)
    assert alone.value == pytest.approx(found.value)
    assert alone.high - alone.low > 1.5 * (found.high - found.low)


def test_the_interval_holds_the_truth_as_often_as_it_says():
    """200 tests of 200 queries, of two systems with R@10 of 40 and 30 percent."""
    rng, held = np.random.default_rng(1), 0
    for _ in range(200):
        first, second = (np.where(rng.random(200) < p, 1, 99) for p in (0.4, 0.3))
        found = paired_difference(first, second, 10, samples=400)
        held += found.low <= 10.0 <= found.high
    assert 180 <= held <= 199


def test_seeds_are_averaged_query_by_query():
    first = np.array([[1, 50, 50, 1], [1, 50, 1, 50]])
    found = paired_difference(first, np.array([[50, 50, 1, 1]]), 10)
    assert (found.first, found.second) == (50.0, 50.0)


@pytest.mark.parametrize("second", [np.ones((1, 3)), np.ones((2, 0)), np.ones((0, 4))])
def test_other_queries_are_refused(second):
    with pytest.raises(DataError, match="queries differ"):
        paired_difference(np.ones((2, 4)), second)


def test_files_are_joined_by_their_queries(tmp_path, capsys):
    texts = ["b", "a", "a", "c"]  # equal texts in the order of the file
    first = write(tmp_path / "1.jsonl", [1, 1, 20, 3], texts)
    second = write(tmp_path / "2.jsonl", [20, 20, 2, 20], ["c", "a", "a", "b"])
    numbers = tmp_path / "numbers.json"
    assert report.compare([first, "--with", second, "--json", str(numbers)]) == 0
    out = capsys.readouterr().out
    assert "text_to_video: 4 queries, 1 against 1 run(s)" in out and "+50.0" in out
    numbers = json.loads(numbers.read_text())["text_to_video"]["R@10"]
    assert (numbers["first"], numbers["second"]) == (75.0, 25.0)


def test_faults_name_the_file(tmp_path, capsys):
    first = write(tmp_path / "1.jsonl", [1, 2])
    other = write(tmp_path / "2.jsonl", [1, 2, 3])
    empty = write(tmp_path / "3.jsonl", [])
    for arguments, message in (
        ([first, "--with", other], "2.jsonl: 1 queries are only here"),
        ([empty, "--with", empty], "3.jsonl: contains no queries"),
        ([first, "--with", str(tmp_path / "absent")], "absent: cannot be read"),
    ):
        assert report.compare(arguments) == 1
        assert message in capsys.readouterr().err
