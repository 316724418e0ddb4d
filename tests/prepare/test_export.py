"""Back to PaddleVideo's files: whole or not at all, and over nothing."""

from itertools import count

import lmdb
import pytest

from paddlevideo.loader.clips import records
from paddlevideo.prepare import to_lmdb, to_npy
from paddlevideo.utils.errors import DataError
from tests.killing import dies_at
from tests.loader.clips import make_clip, write
from tests.prepare.test_pack import damaged_store


def test_nothing_is_written_over(tmp_path):
    store = write(tmp_path / "s", [make_clip()])
    assert to_lmdb(store, tmp_path / "back.v1") == (1, 2) and (tmp_path / "back.v1.csv").is_file()
    (tmp_path / "a.csv").write_text("mine")
    with pytest.raises(DataError, match=r"a\.csv: already exists"):
        to_lmdb(store, tmp_path / "a.lmdb")
    with pytest.raises(DataError, match=r"a\.csv: already exists"):
        to_npy(store, tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_text() == "mine" and not (tmp_path / "a.lmdb").exists()


@pytest.mark.parametrize(
    "name, message",
    [
        ("a" * 512, "an id of 512 bytes"),
        ("a\nb", "has a line break"),
        (" a", "begins or ends with a space"),
    ],
)
def test_an_id_that_the_files_cannot_hold_is_refused_before_all(tmp_path, name, message):
    store = write(tmp_path / "s", [make_clip(0), make_clip(1, name=name)])
    with pytest.raises(DataError, match=message):
        to_lmdb(store, tmp_path / "b.lmdb")
    assert [path.name for path in tmp_path.iterdir()] == ["s"]


@pytest.mark.parametrize("fault", [lmdb.DiskError("no space"), KeyboardInterrupt()])
def test_nothing_is_left_of_an_lmdb_that_was_not_finished(tmp_path, monkeypatch, fault):
    monkeypatch.setattr(records, "BATCH", 2)
    calls = []

    def record(clip):
        calls.append(1)
        if len(calls) == 4:
            raise fault
        return b"record"

    monkeypatch.setattr(records, "_record_of", record)
    captions = ["one", " \n"]
    clips = [make_clip(n, captions=captions) for n in range(5)]
    store = write(tmp_path / "s", clips)
    with pytest.raises(DataError if isinstance(fault, lmdb.Error) else KeyboardInterrupt):
        to_lmdb(store, tmp_path / "b.lmdb")
    assert [path.name for path in tmp_path.iterdir()] == ["s"]
    assert to_lmdb(store, tmp_path / "b.lmdb") == (5, 5)


def test_a_killed_conversion_is_completed_by_the_same_command(tmp_path):
    store = write(tmp_path / "s", [make_clip(n) for n in range(3)])
    for moment in count():
        folder = tmp_path / str(moment)
        died = dies_at(lambda folder=folder: to_lmdb(store, folder / "b.lmdb"), moment)
        has_folder, has_table = ((folder / name).exists() for name in ("b.lmdb", "b.csv"))
        assert has_folder or not has_table
        if not has_table:
            assert to_lmdb(store, folder / "b.lmdb") == (3, 6)
        assert sorted(path.name for path in folder.iterdir()) == ["b.csv", "b.lmdb"]
        assert [path.name for path in (folder / "b.lmdb").iterdir()] == ["data.mdb"]
        if not died:
            break
    assert moment > 4


def test_an_id_that_occurs_twice_is_not_exported(tmp_path):
    store = damaged_store(tmp_path / "s")
    with pytest.raises(DataError, match='an earlier clip has its id "clip0"'):
        to_lmdb(store, tmp_path / "b.lmdb")
