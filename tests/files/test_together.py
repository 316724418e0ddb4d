"""Files that belong together: the old ones, the new ones, or an error."""

import json
from itertools import count

import pytest

from paddlevideo.files.whole import check_together, write_together
from paddlevideo.utils.errors import DataError
from tests.killing import dies_at


def write(folder, text):
    parts = {name: lambda path: path.write_text(text) for name in ("queries.jsonl", "scores.npz")}
    write_together(folder / "results.json", {"test": text}, parts)


def test_a_killed_test_mixes_nothing(tmp_path):
    for moment in count():
        folder = tmp_path / str(moment)
        folder.mkdir()
        write(folder, "old")
        died = dies_at(lambda folder=folder: write(folder, "new"), moment)
        if (folder / "results.json").exists():
            text = json.loads((folder / "results.json").read_text())["test"]
            for name in ("queries.jsonl", "scores.npz"):
                assert (folder / name).read_text() == text
                check_together(folder / name)
        write(folder, "again")
        assert len(list(folder.iterdir())) == 3
        if not died:
            break
    assert moment > 6


def test_files_of_two_tests_are_refused(tmp_path):
    write(tmp_path, "one")
    (tmp_path / "queries.jsonl").write_text("another")
    with pytest.raises(DataError, match="are of two tests"):
        check_together(tmp_path / "queries.jsonl")
    check_together(tmp_path / "scores.npz")
    check_together(tmp_path / "seed0.jsonl")
    (tmp_path / "results.json").write_text("{}")  # of an earlier version
    check_together(tmp_path / "queries.jsonl")


def test_an_error_changes_nothing(tmp_path):
    write(tmp_path, "old")

    def fail(path):
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match=r"scores\.npz"):
        write_together(
            tmp_path / "results.json",
            {},
            {"queries.jsonl": lambda path: path.write_text("new"), "scores.npz": fail},
        )
    assert (tmp_path / "queries.jsonl").read_text() == "old" and len(list(tmp_path.iterdir())) == 3
