"""The feature store: clips of many shards as one sequence, small in memory."""

import multiprocessing
import os
import pickle
import stat
from dataclasses import replace

import lmdb
import numpy as np
import pytest

from paddlevideo.files import lock
from paddlevideo.loader.clips import lmdb_files
from paddlevideo.loader.clips.records import RecordFile
from paddlevideo.loader.store import ClassTargets, FeatureStore, StoreWriter
from paddlevideo.loader.store import writer as writer_module
from paddlevideo.loader.store.manifest import COMPLETE
from paddlevideo.utils.errors import DataError
from tests.loader.clips import SIZES, assert_same, make_clip, write


def test_clips_come_back_by_number_and_by_id(tmp_path):
    names = ["a/b", "x" * 600, "ümläut", "plain"]
    clips = [make_clip(number, name) for number, name in enumerate(names)]
    store = write(tmp_path / "s", clips, made_by={"command": "a test"})
    assert len(store) == 4 and store.manifest.captions == 8
    for number, clip in enumerate(clips):
        assert_same(store[number], clip, 1e-3)
        assert store.find(clip.id) == number
    assert store.find("absent") is None
    assert store.manifest.made_by == {"command": "a test"}
    with pytest.raises(IndexError):
        store[4]


def test_a_file_system_without_locks_is_not_another_writer(tmp_path, monkeypatch, caplog):
    def refuse(descriptor, operation):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(lock.fcntl, "flock", refuse)
    assert len(write(tmp_path / "s", [make_clip()])) == 1
    assert f"{tmp_path / 's'}: the file system has no locks (No locks available)" in caplog.text


@pytest.mark.parametrize("reason", [5, 116])
def test_a_mount_that_fails_is_not_a_damaged_shard(tmp_path, monkeypatch, reason):
    store = write(tmp_path / "s", [make_clip()])

    def fail(*_, **__):
        raise lmdb.Error(f"{tmp_path / 's'}: {os.strerror(reason)}")

    monkeypatch.setattr(lmdb_files.lmdb, "open", fail)
    with pytest.raises(DataError, match="00000.lmdb: cannot be read: check its disk or mount"):
        store.read(0)


def test_many_shards_are_one_sequence(tmp_path, monkeypatch):
    monkeypatch.setattr(writer_module, "BATCH_BYTES", 1)
    clips = [make_clip(number) for number in range(9)]
    store = write(tmp_path / "s", clips, shard_bytes=3_000)
    assert len(store.manifest.shards) > 2
    assert [store[number].id for number in range(9)] == [clip.id for clip in clips]
    assert [store.find(clip.id) for clip in clips] == list(range(9))


def test_a_map_grows_when_it_is_full(tmp_path, monkeypatch):
    monkeypatch.setattr(writer_module, "FIRST_MAP", 1 << 15)
    store = write(tmp_path / "s", [make_clip(number, regions=40) for number in range(50)])
    assert [store[number].id for number in range(50)] == [f"clip{n}" for n in range(50)]


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"regions": np.zeros((3, 5), "float32")}, r"regions has shape \(3, 5\)"),
        ({"boxes": np.zeros((2, 4), "float32")}, "2 boxes for 3 regions"),
        ({"region_classes": ClassTargets.of(np.ones((3, 4)))}, "4 region classes"),
        ({"id": "clip1"}, "is in the store already"),
    ],
)
def test_a_clip_that_does_not_fit_is_refused(tmp_path, changes, message):
    with StoreWriter(tmp_path / "s", SIZES) as writer:
        writer.add(make_clip(1))
        with pytest.raises(DataError, match=message):
            writer.add(replace(make_clip(2), **changes))


def test_a_folder_that_is_no_store_says_so(tmp_path):
    with pytest.raises(DataError, match="is not a feature store"):
        FeatureStore(tmp_path)
    write(tmp_path / "s", [make_clip()])
    with pytest.raises(DataError, match="is a finished store"):
        StoreWriter(tmp_path / "s", SIZES)
    for reader in (FeatureStore, RecordFile):
        with pytest.raises(DataError, match="part of .*: name .* folder, .*/s"):
            reader(tmp_path / "s" / "shard-00000.lmdb")


def test_a_store_from_a_newer_release_says_so(tmp_path):
    write(tmp_path / "s", [make_clip()])
    manifest = tmp_path / "s" / COMPLETE
    manifest.write_text(manifest.read_text().replace('"version": 1', '"version": 7'))
    with pytest.raises(DataError, match="version 7.*update paddlevideo"):
        FeatureStore(tmp_path / "s")


@pytest.mark.parametrize(
    "change",
    [
        ('"clips": 1', '"clips": 5'),
        ('"region": 12', '"region": 99999999999'),
        ("shard-00000.lmdb", "../shard.lmdb"),
        ('"dtype": "float16"', '"dtype": "object"'),
        ('"sizes"', '"size"'),
        ("{", "["),
    ],
)
def test_a_manifest_that_lies_is_an_error(tmp_path, change):
    write(tmp_path / "s", [make_clip()])
    manifest = tmp_path / "s" / COMPLETE
    manifest.write_text(manifest.read_text().replace(*change, 1))
    with pytest.raises(DataError, match=COMPLETE):
        FeatureStore(tmp_path / "s")


def test_a_shard_that_is_cut_short_or_gone_is_named(tmp_path):
    store = write(tmp_path / "s", [make_clip(n, regions=40) for n in range(40)])
    shard = tmp_path / "s" / "shard-00000.lmdb"
    whole = shard.read_bytes()
    shard.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="shard-00000.lmdb: is cut short"):
        store[0]
    shard.write_bytes(b"no LMDB" * 1000)
    with pytest.raises(DataError, match="shard-00000.lmdb: is damaged, or not an LMDB .a text"):
        store[0]
    shard.unlink()
    with pytest.raises(DataError, match="shard-00000.lmdb"):
        store[0]


def test_a_flipped_byte_in_a_shard_is_named_with_its_clip(tmp_path):
    write(tmp_path / "s", [make_clip(n) for n in range(3)])
    shard = tmp_path / "s" / "shard-00000.lmdb"
    content = bytearray(shard.read_bytes())
    at = content.index(b"caption 1")
    content[at] ^= 1
    shard.write_bytes(content)
    store = FeatureStore(tmp_path / "s")
    assert store[0].id == "clip0"
    with pytest.raises(DataError, match=r"shard-00000.lmdb: clip 1: the record is damaged"):
        store[1]


def test_a_store_of_other_sizes_is_noticed(tmp_path):
    write(tmp_path / "s", [make_clip()])
    manifest = tmp_path / "s" / COMPLETE
    manifest.write_text(manifest.read_text().replace('"region": 12', '"region": 13'))
    with pytest.raises(
        DataError, match=r'"clip0"\): regions has shape \(3, 12\); expected \(any, 13'
    ):
        FeatureStore(tmp_path / "s").read(0)


def test_a_read_only_folder_is_enough(tmp_path):
    write(tmp_path / "s", [make_clip()])
    folder = tmp_path / "s"
    for path in (*folder.iterdir(), folder):
        path.chmod(stat.S_IREAD | (stat.S_IEXEC if path.is_dir() else 0))
    before = sorted(os.listdir(folder))
    try:
        assert FeatureStore(folder)[0].id == "clip0"
        assert sorted(os.listdir(folder)) == before
    finally:
        folder.chmod(stat.S_IRWXU)


def read_ids(store, queue):
    queue.put([store[number].id for number in range(len(store))])


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_processes_read_a_store_that_their_parent_has_open(tmp_path, method):
    store = write(tmp_path / "s", [make_clip(n) for n in range(4)])
    assert store[2].id == "clip2"
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    process = context.Process(target=read_ids, args=(store, queue))
    process.start()
    assert queue.get(timeout=60) == [f"clip{n}" for n in range(4)]
    process.join()
    assert store[3].id == "clip3"
    assert pickle.loads(pickle.dumps(store))[1].id == "clip1"


def test_open_shards_are_limited(tmp_path, monkeypatch):
    monkeypatch.setattr(writer_module, "BATCH_BYTES", 1)
    monkeypatch.setattr(lmdb_files, "LIMIT", 2)
    store = write(tmp_path / "s", [make_clip(n) for n in range(8)], shard_bytes=1)
    assert len(store.manifest.shards) == 8
    for number in (0, 5, 3, 0, 7):
        assert store[number].id == f"clip{number}"
    assert len(lmdb_files._files) <= 2


# ------------------------------------------------------------------------------- order


# ------------------------------------------------------------------------- one LMDB, one file


def test_an_lmdb_is_the_same_under_every_name(tmp_path, monkeypatch):
    folder = tmp_path / "a.lmdb"
    with lmdb.open(str(folder)) as made, made.begin(write=True) as transaction:
        transaction.put(b"clip", b"record")
    (tmp_path / "link").symlink_to(folder)
    (tmp_path / "hard.mdb").hardlink_to(folder / "data.mdb")
    monkeypatch.chdir(tmp_path)
    names = ("a.lmdb", "a.lmdb/data.mdb", folder, "./a.lmdb/", "link", "link/data.mdb", "hard.mdb")
    for name in names:
        assert len(RecordFile(name)) == 1
        assert RecordFile(name).ids() == ["clip"]


def test_an_lmdb_that_was_replaced_is_read_as_it_is_now(tmp_path):
    for count in (1, 2):
        with lmdb.open(str(tmp_path / "new")) as made, made.begin(write=True) as transaction:
            for number in range(count):
                transaction.put(b"clip%d" % number, b"record")
        (tmp_path / "new" / "data.mdb").replace(tmp_path / "data.mdb")
        assert len(RecordFile(tmp_path)) == count
        assert len(RecordFile(tmp_path / "data.mdb")) == count
