"""A store of tar files is read as one of LMDB files, and its faults are named."""

import os
import resource

import numpy as np
import pytest

from paddlevideo.loader import build_dataset
from paddlevideo.loader.build import SampleReader
from paddlevideo.loader.captions.bank import open_bank
from paddlevideo.loader.clips.gallery import ClipReader
from paddlevideo.loader.store import FeatureStore, StoreReplaced
from paddlevideo.loader.store import tar_shards as tars
from paddlevideo.prepare import to_tars
from paddlevideo.prepare.split import SplitOptions, split_store
from paddlevideo.utils.errors import DataError
from tests.loader.clips import assert_same, make_clip, write


@pytest.fixture
def both(tmp_path):
    store = write(
        tmp_path / "s", [make_clip(n, f"v{n // 2}.{n}", source=f"v{n // 2}") for n in range(10)]
    )
    to_tars(store, tmp_path / "t", 3)
    return store, FeatureStore(tmp_path / "t")


def test_data_sets_read_the_same(both, tmp_path):
    datasets = [
        build_dataset({"format": "ActBertDataset", "file_path": str(store.path), "neighbours": 1})
        for store in both
    ]
    for index in range(10):
        one, other = (dataset[index] for dataset in datasets)
        assert one.keys() == other.keys() and one["captions"] == other["captions"]
        for name, value in one.items():
            if isinstance(value, np.ndarray):
                np.testing.assert_array_equal(value, other[name], name)
    draws = [open_bank(str(store.path)).draw(np.random.default_rng(3)) for store in both]
    assert draws[0] == draws[1]


def test_long_texts_are_read_whole(tmp_path):
    captions = ["word " * 2000, "ü" * 3000]
    store = write(tmp_path / "s", [make_clip(0, captions=captions, times=[])])
    to_tars(store, tmp_path / "t")
    assert FeatureStore(tmp_path / "t").about(0).captions == captions


def test_ids_with_equal_halves_of_their_hashes_are_told_apart(both):
    _, store = both
    index = tars.read_index(store.path / "shard-00000.tar").copy()
    index[:, tars.ID_HIGH] = 7
    opened = tars.OpenTar(store.path / "shard-00000.tar")
    opened.index = index
    for number in range(len(index)):
        assert opened.find(tars.HASH.pack(7, int(index[number, tars.ID_LOW]))) == number
    assert opened.find(tars.HASH.pack(7, 1)) is None


def test_processes_that_fork_and_requests_read_the_same(both):
    store, other = both
    other.request(range(10))
    store.request([3, 1])
    assert_same(other[3], store[3])
    if (child := os.fork()) == 0:
        os._exit(0 if other[4].id == "v2.4" else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_many_files_are_not_open_at_once(tmp_path, monkeypatch):
    store = write(tmp_path / "s", [make_clip(n) for n in range(40)])
    to_tars(store, tmp_path / "t", 40)
    many = FeatureStore(tmp_path / "t")
    monkeypatch.setattr(tars, "_opened", tars.lru_cache(4)(lambda path, state: tars.OpenTar(path)))
    used = len(os.listdir("/proc/self/fd"))
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 10, limits[1]))
    try:
        assert [many[n].id for n in range(40)] == [f"clip{n}" for n in range(40)]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.mark.parametrize(
    "name, change, message",
    [
        ("shard-00001.tar", lambda data: data[:3000], r"shard-00001\.tar: is cut short: 3000 of"),
        ("shard-00001.tar", None, r"shard-00001\.tar: cannot be read \(No such file"),
        ("shard-00001.index", None, r"shard-00001\.index: cannot be read \(No such file"),
        ("shard-00001.index", lambda data: data[:-9], r"shard-00001\.index: cannot be read"),
        ("shard-00001.index", lambda data: b"\x93NUMPY", r"shard-00001\.index: cannot be read"),
        ("shard-00001.index", lambda data: b"", r"shard-00001\.index: cannot be read"),
    ],
)
def test_a_damaged_file_is_named(both, name, change, message):
    path = both[1].path / name
    data = path.read_bytes()
    path.unlink()
    if change:
        path.write_bytes(change(data))
    store = FeatureStore(both[1].path)
    for read in (store.read, store.about):
        with pytest.raises(DataError, match=message) as caught:
            read(4)
        assert "\n" not in str(caught.value)
    assert store.read(0).id == "v0.0"


def test_a_mount_that_fails_while_it_is_read_is_named(both, monkeypatch):
    store = both[1]
    store.read(4)

    def fail(*_):
        raise OSError(5, os.strerror(5))

    monkeypatch.setattr(tars.os, "pread", fail)
    with pytest.raises(DataError, match=r"shard-00001\.tar: cannot be read \(Input/output error\)"):
        store.read(4)


def test_a_store_that_is_replaced_is_noticed(both, tmp_path):
    store = both[1]
    store.read(0)
    other = write(tmp_path / "s2", [make_clip(n, f"new{n}") for n in range(10)])
    for path in list(store.path.iterdir()):
        path.unlink()
    to_tars(other, store.path, 3)
    with pytest.raises(StoreReplaced):
        store.read(0)
    assert FeatureStore(store.path).read(0).id == "new0"


def test_it_can_be_split(both):
    store = both[1]
    split_store(SplitOptions(store.path, {"valid": 0.3, "test": 0.3}))
    datasets = [
        build_dataset({"format": "ActBertDataset", "file_path": str(store.path), "split": split})
        for split in ("train", "valid", "test")
    ]
    names = [[data.name_of(index) for index in range(len(data))] for data in datasets]
    assert all(names) and sorted(sum(names, [])) == sorted(store.ids())


def test_a_batch_is_requested_before_its_first_clip_is_read(both, monkeypatch):
    store = both[1]
    calls = []
    read, request = os.pread, tars.OpenTar.request

    def note_read(descriptor, size, begin):
        calls.append(("read", begin))
        return read(descriptor, size, begin)

    def note_request(self, begin, size):
        calls.append(("request", begin))
        request(self, begin, size)

    monkeypatch.setattr(tars.os, "pread", note_read)
    monkeypatch.setattr(tars.OpenTar, "request", note_request)
    dataset = build_dataset({"format": "ActBertDataset", "file_path": str(store.path)})
    batch = SampleReader(dataset, [lambda sample, rng: {"id": sample["index"]}]).batch(0, [4, 0, 8])
    assert batch["index"].tolist() == [4, 0, 8]
    begins = [int(store.files[f]._open().index[n, tars.BEGIN]) for f, n in ((1, 1), (0, 0), (2, 2))]
    assert calls == [("request", b) for b in begins] + [("read", b) for b in begins]
    calls.clear()
    reader = ClipReader(str(store.path), 4, 2, 12, 10)
    reader.read(["v2.4", "v0.0"])
    assert [what for what, _ in calls] == ["request", "request", "read", "read"]


def test_errors_of_a_request_are_left_to_reading(both):
    store = both[1]
    (store.path / "shard-00001.index").unlink()
    dataset = build_dataset({"format": "ActBertDataset", "file_path": str(store.path)})
    with pytest.raises(DataError, match=r"shard-00001\.index: cannot be read"):
        SampleReader(dataset).batch(0, [0, 4])


def test_a_file_that_is_cut_short_while_it_is_open_is_named(both):
    store = both[1]
    store.read(4)
    os.truncate(store.path / "shard-00001.tar", 3000)
    with pytest.raises(DataError, match=r"shard-00001\.tar: is cut short: it ends before byte"):
        store.read(4)
