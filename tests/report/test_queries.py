from __future__ import annotations

import json

import pytest

from paddlevideo.report import Query, RankedAnswer, read_queries, write_queries
from paddlevideo.utils.errors import DataError
from tests.report.samples import query, some_queries

WHOLE = {
    "direction": "text_to_video",
    "query": "a cat",
    "right": ["clip1"],
    "rank": 1,
    "best": [{"name": "clip1", "score": 0.5, "right": True}],
}


def write_line(path, **changes):
    fields = {name: value for name, value in {**WHOLE, **changes}.items() if value is not ...}
    path.write_text(json.dumps(WHOLE) + "\n" + json.dumps(fields) + "\n")
    return path


def test_what_is_written_is_read_back(tmp_path):
    strange = query(3, query='two\nlines\u2028, a "quote", 视频, half a pair \ud83d')
    queries = [*some_queries(5), strange]
    write_queries(tmp_path / "queries.jsonl", queries)
    assert read_queries(tmp_path / "queries.jsonl") == queries
    assert len((tmp_path / "queries.jsonl").read_bytes().splitlines()) == 11


def test_a_line_is_one_object_with_the_documented_keys(tmp_path):
    found = RankedAnswer("clip1", 0.5, True)
    write_queries(tmp_path / "q", [Query("text_to_video", "a cat", ["clip1"], 1, [found])])
    assert json.loads((tmp_path / "q").read_text()) == WHOLE


def test_no_queries_are_an_empty_file(tmp_path):
    write_queries(tmp_path / "queries.jsonl", [])
    assert read_queries(tmp_path / "queries.jsonl") == []


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "queries.jsonl"
    write_queries(path, [query(1)])
    with pytest.raises(ValueError):
        write_queries(path, [query(1, best=[RankedAnswer("clip", float("nan"), True)])])
    assert read_queries(path) == [query(1)]
    assert [each.name for each in tmp_path.iterdir()] == ["queries.jsonl"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"direction": "sideways"}, "sideways"),
        ({"direction": ["text_to_video"]}, "direction"),
        ({"rank": 0}, "rank is 0"),
        ({"rank": True}, "rank is True"),
        ({"rank": 1.0}, "positive integer"),
        ({"query": 7}, "query"),
        ({"right": "clip1"}, "right"),
        ({"right": [1]}, "right"),
        ({"best": {}}, "best"),
        ({"best": ["clip1"]}, "best"),
        ({"best": [{"name": "a", "right": True}]}, "'score' is missing"),
        ({"best": [{"name": "a", "score": "1", "right": True}]}, "score"),
        ({"best": [{"name": "a", "score": float("inf"), "right": True}]}, "finite"),
        ({"best": [{"name": "a", "score": 10**400, "right": True}]}, "line 2"),
        ({"best": [{"name": "a", "score": 1, "right": 1}]}, "true or false"),
        ({"rank": ...}, "'rank' is missing"),
    ],
)
def test_a_wrong_field_is_explained(tmp_path, changes, message):
    path = write_line(tmp_path / "queries.jsonl", **changes)
    with pytest.raises(DataError, match=message) as fault:
        read_queries(path)
    assert "queries.jsonl: line 2: " in str(fault.value)


@pytest.mark.parametrize(
    "line", [b'{"direction": "text_to_v', b"\xff\xfe", b"", b"null", b"[" * 100_000]
)
def test_a_damaged_line_is_named(tmp_path, line):
    path = write_line(tmp_path / "queries.jsonl")
    path.write_bytes(path.read_bytes() + line + b"\n")
    with pytest.raises(DataError, match="queries.jsonl: line 3: "):
        read_queries(path)


def test_an_absent_file_is_explained(tmp_path):
    with pytest.raises(DataError, match=r"queries.jsonl: cannot be read .*main.py --test"):
        read_queries(tmp_path / "queries.jsonl")
