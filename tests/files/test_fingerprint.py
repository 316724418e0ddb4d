"""What is the same input, and what is not."""

import os

import pytest

from paddlevideo.files import fingerprint as module
from paddlevideo.files.fingerprint import content_of, fingerprint, fingerprints_of, unchanged
from paddlevideo.utils.errors import DataError


@pytest.mark.parametrize("whole", [1 << 20, 100])
def test_equal_sizes_and_dates_are_not_the_same_file(tmp_path, monkeypatch, whole):
    monkeypatch.setattr(module, "WHOLE", whole)
    path = tmp_path / "rows.npy"
    path.write_bytes(bytes(50_000))
    os.utime(path, (1, 1))
    before, part = fingerprint(path), content_of(path)
    os.chmod(path, 0o600)
    assert fingerprint(path) == before
    path.write_bytes(bytes(49_999) + b"1")
    os.utime(path, (1, 1))
    assert fingerprint(path) != before and content_of(path) != part


def test_a_folder_is_its_files_wherever_its_dates_are_from(tmp_path):
    for name in ("a.npz", "b.npz", "notes.txt"):
        (tmp_path / name).write_text(name)
    before = fingerprint(tmp_path, lambda path: path.suffix == ".npz")
    os.utime(tmp_path / "a.npz", (1, 1))
    (tmp_path / "notes.txt").write_text("other")
    assert fingerprint(tmp_path, lambda path: path.suffix == ".npz") == before
    (tmp_path / "a.npz").rename(tmp_path / "c.npz")
    assert fingerprint(tmp_path, lambda path: path.suffix == ".npz") != before


def test_an_lmdb_is_one_under_both_names_and_its_lock_does_not_count(tmp_path):
    (tmp_path / "data.mdb").write_bytes(b"x")
    before = fingerprint(tmp_path)
    (tmp_path / "lock.mdb").write_bytes(b"y")
    assert fingerprint(tmp_path) == fingerprint(tmp_path / "data.mdb") == before
    found = fingerprints_of({"a": [{"features_path": str(tmp_path)}], "b": "MSRVTTDataset", "c": 3})
    assert found == [before]


def test_a_pipe_in_a_folder_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "c.npz")
    assert fingerprint(tmp_path)["bytes"] == 0


def test_a_file_that_changes_while_it_is_read_is_an_error(tmp_path):
    path = tmp_path / "w.pdparams"
    path.write_bytes(b"1")
    with unchanged(path) as first:
        pass
    with pytest.raises(DataError, match="changed while it was read"), unchanged(path) as second:
        other = tmp_path / "other"
        other.write_bytes(b"2")
        os.replace(other, path)
    assert first == second
