"""The feature store: whole or visibly unfinished, damaged nowhere unnoticed, small in memory."""

import multiprocessing
import os
import pickle
import signal
import stat
import subprocess
import sys
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paddlevideo.loader import lmdb_files
from paddlevideo.loader.store import ClassTargets, Clip, FeatureStore, Sizes, StoreWriter
from paddlevideo.loader.store import writer as writer_module
from paddlevideo.loader.store.manifest import COMPLETE, UNFINISHED
from paddlevideo.loader.store.records import PREFIX, decode, encode
from paddlevideo.loader.store.shards import id_key
from paddlevideo.utils.errors import DataError

ROOT = Path(__file__).parents[2]
SIZES = Sizes(region=12, action=10, region_classes=9, action_classes=7)


def make_clip(number=0, name=None, regions=3, actions=2, **changes):
    rng = np.random.default_rng(number)
    corner = rng.uniform(0, 100, (regions, 2))
    fields = {
        "id": name or f"clip{number}",
        "regions": rng.normal(size=(regions, 12)).astype("float32"),
        "boxes": np.concatenate([corner, corner + 20], axis=1).astype("float32"),
        "image_h": 240,
        "image_w": 320,
        "actions": rng.normal(size=(actions, 10)).astype("float32"),
        "action_classes": rng.integers(0, 7, actions),
        "region_classes": ClassTargets.of(rng.dirichlet(np.ones(9), regions)),
        "captions": [f"caption {number}", "ein zweiter, mit Umlauten: äöü"],
        "times": [(0.5, 2.0), (2.0, 3.25)],
        "video": "video7",
        "extra": {"license": "CC"},
    }
    return Clip(**{**fields, **changes})


def write(path, clips, **options):
    with StoreWriter(path, SIZES, **options) as writer:
        for clip in clips:
            writer.add(clip)
        writer.finish()
    return FeatureStore(path)


def assert_same(first, second, tolerance=0.0):
    for name in ("id", "image_h", "image_w", "captions", "video", "extra"):
        assert getattr(first, name) == getattr(second, name)
    assert [tuple(time) for time in first.times] == [tuple(time) for time in second.times]
    for name in ("regions", "boxes", "actions", "action_classes"):
        a, b = getattr(first, name), getattr(second, name)
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(
        first.region_classes.dense(), second.region_classes.dense(), rtol=1e-3, atol=1e-4
    )


# ------------------------------------------------------------------------------ records


@pytest.mark.parametrize("dtype, tolerance", [("float32", 0.0), ("float16", 1e-3)])
def test_a_record_holds_a_clip(dtype, tolerance):
    clip = make_clip()
    found = decode(encode(clip, dtype), "here")
    assert_same(found, clip, tolerance)
    assert found.regions.dtype == found.boxes.dtype == np.float32
    assert found.action_classes.dtype == np.int64
    assert found.regions.flags.owndata and found.boxes.flags.owndata


def test_a_record_is_what_safetensors_reads():
    from safetensors.numpy import load

    tensors = load(encode(make_clip(), "float16")[PREFIX.size :])
    assert tensors["regions"].dtype == np.float16 and tensors["boxes"].shape == (3, 4)


@pytest.mark.parametrize("empty", ["regions", "actions", "classes"])
def test_a_clip_may_lack_things(empty):
    changes = {
        "regions": {"regions": 0, "region_classes": ClassTargets.of(np.zeros((0, 9)))},
        "actions": {"actions": 0},
        "classes": {"action_classes": None, "region_classes": None, "captions": [], "times": []},
    }[empty]
    clip = make_clip(**changes)
    found = decode(encode(clip), "here")
    assert found.regions.shape == clip.regions.shape
    assert found.actions.shape == clip.actions.shape
    assert (found.region_classes is None) == (clip.region_classes is None)


@given(st.integers(0, 999), st.sampled_from([0.9, 0.999, 1.0]))
@settings(max_examples=30, deadline=None)
def test_kept_classes_hold_the_mass_that_is_asked_for(seed, kept):
    rng = np.random.default_rng(seed)
    rows = rng.dirichlet(np.full(50, 0.1), 4).astype(np.float32)
    targets = ClassTargets.of(rows, kept)
    assert (targets.lost(rows) <= 1 - kept + 1e-6).all()
    dense = targets.dense()
    assert ((dense == 0) | (dense == rows)).all()
    fewer = targets.counts.sum() - 1
    assert fewer < np.count_nonzero(rows) or kept == 1.0


def test_values_that_half_cannot_hold_are_refused():
    clip = make_clip()
    clip.regions[1, 3] = 1e6
    with pytest.raises(DataError, match=r'clip "clip0": regions\[1, 3\].*store float32'):
        encode(clip)
    assert decode(encode(clip, "float32"), "").regions[1, 3] == 1e6
    clip.regions[1, 3] = np.nan
    with pytest.raises(DataError, match="compute the features again"):
        encode(clip, "float32")


@pytest.mark.parametrize("place", [0, 5, 9, 40, 400, -1])
def test_a_flipped_byte_is_noticed(place):
    record = bytearray(encode(make_clip()))
    record[place] ^= 0x10
    with pytest.raises(DataError, match="^here: the record is damaged"):
        decode(bytes(record), "here")


def hostile_records():
    """Records whose checksum is right and whose header lies."""
    body = encode(make_clip())[PREFIX.size :]
    for old, new in (
        (b'"shape":[3,12]', b'"shape":[9,12]'),
        (b'"shape":[3,12]', b'"shape":[-3,1]'),
        (b'"dtype":"F16"', b'"dtype":"F99"'),
        (b'"data_offsets"', b'"data_0ffsets"'),
        (b"region_classes", b"region_clusses"),
    ):
        changed = body.replace(old, new, 1)
        assert changed != body
        yield changed
    yield (1 << 60).to_bytes(8, "little") + body[8:]
    yield body[:20]
    yield b""


@pytest.mark.parametrize("body", list(hostile_records()))
def test_a_header_that_lies_is_an_error(body):
    record = PREFIX.pack(zlib.crc32(body), 1) + body
    with pytest.raises(DataError, match="^here: the record is damaged"):
        decode(record, "here")


def test_a_record_of_a_newer_version_is_refused():
    record = encode(make_clip())
    newer = record[:4] + (2).to_bytes(4, "little") + record[8:]
    with pytest.raises(DataError, match="version 2"):
        decode(newer, "here")


# ---------------------------------------------------------------------------- the store


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


def test_many_shards_are_one_sequence(tmp_path, monkeypatch):
    monkeypatch.setattr(writer_module, "BATCH_BYTES", 1)
    clips = [make_clip(number) for number in range(9)]
    store = write(tmp_path / "s", clips, shard_bytes=40_000)
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
        ({"regions": np.zeros((3, 5), "float32")}, r"regions of shape \(3, 5\)"),
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
    with pytest.raises(DataError, match="is no feature store"):
        FeatureStore(tmp_path)
    write(tmp_path / "s", [make_clip()])
    with pytest.raises(DataError, match="is a finished store"):
        StoreWriter(tmp_path / "s", SIZES)


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
    with pytest.raises(DataError, match="shard-00000.lmdb: is no whole shard"):
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
    with pytest.raises(DataError, match=r'"clip0"\): regions of shape \(12,\), where \(13,\)'):
        FeatureStore(tmp_path / "s")[0]


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
    assert len(lmdb_files._environments) <= 2


# ------------------------------------------------------------------------------- order


def test_an_order_has_every_clip_once_and_is_decided_by_seed_and_epoch(tmp_path, monkeypatch):
    monkeypatch.setattr(writer_module, "BATCH_BYTES", 1)
    store = write(tmp_path / "s", [make_clip(n) for n in range(30)], shard_bytes=60_000)
    shards = len(store.manifest.shards)
    assert shards > 3
    orders = [list(store.shuffled(seed, epoch)) for seed, epoch in ((0, 0), (0, 0), (0, 1), (1, 0))]
    assert all(sorted(order) == list(range(30)) for order in orders)
    assert orders[0] == orders[1] != orders[2] != orders[3]
    parts = [list(store.shuffled(0, 0, rank, 3, window=4)) for rank in range(3)]
    assert sorted(sum(parts, [])) == list(range(30))


def test_a_window_bounds_how_far_a_clip_moves(tmp_path):
    store = write(tmp_path / "s", [make_clip(n, regions=1) for n in range(60)])
    order = list(store.shuffled(0, 0, window=8))
    assert sorted(order) == list(range(60)) and order != sorted(order)
    assert max(number - place for place, number in enumerate(order)) <= 16


# ---------------------------------------------------------------------- interruptions

KILLED = """
import os, signal, sys
sys.path.insert(0, {root!r})
from paddlevideo.loader.store import StoreWriter, writer as writer_module
from tests.loader.test_store import SIZES, make_clip

writer_module.BATCH_BYTES = 2_000
save = StoreWriter._save
calls = []

def save_or_die(self):
    calls.append(1)
    if len(calls) == {when}:
        os.kill(os.getpid(), signal.SIGKILL)
    save(self)

StoreWriter._save = save_or_die
with StoreWriter({path!r}, SIZES, shard_bytes=60_000) as writer:
    for number in range(writer.written, 60):
        writer.add(make_clip(number, regions=8))
    writer.finish()
"""


@pytest.mark.parametrize("when", [2, 4, 9])
def test_writing_goes_on_after_kill_9(tmp_path, when):
    """Killed between a batch's commit and the manifest that counts it: the worst moment."""
    path = tmp_path / "s"
    script = KILLED.format(root=str(ROOT), path=str(path), when=when)
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=False)
    assert done.returncode == -signal.SIGKILL
    with pytest.raises(DataError, match="this store is not finished"):
        FeatureStore(path)
    again = KILLED.format(root=str(ROOT), path=str(path), when=0)
    subprocess.run([sys.executable, "-c", again], cwd=ROOT, check=True)
    store = FeatureStore(path)
    assert [store[number].id for number in range(len(store))] == [f"clip{n}" for n in range(60)]
    assert store.manifest.captions == 120 and not (path / UNFINISHED).exists()
    for number in (0, 17, 59):
        assert_same(store[number], make_clip(number, regions=8), 1e-3)


def test_an_unfinished_store_takes_no_other_sizes(tmp_path):
    with StoreWriter(tmp_path / "s", SIZES) as writer:
        writer.add(make_clip())
    with pytest.raises(DataError, match="an unfinished store with dtype float16"):
        StoreWriter(tmp_path / "s", SIZES, dtype="float32")
    with StoreWriter(tmp_path / "s", SIZES) as writer:
        assert writer.written == 1
        with pytest.raises(DataError, match="another process is writing"):
            StoreWriter(tmp_path / "s", SIZES)


def test_a_full_disk_loses_nothing_that_was_written(tmp_path):
    """A file-size limit stands for the full disk: LMDB's write fails in the same way."""
    path = tmp_path / "s"
    script = f"""
import resource, signal, sys
sys.path.insert(0, {str(ROOT)!r})
from paddlevideo.loader.store import StoreWriter, writer as writer_module
from paddlevideo.utils.errors import DataError
from tests.loader.test_store import SIZES, make_clip

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
writer_module.BATCH_BYTES = 20_000
writer = StoreWriter({str(path)!r}, SIZES)
try:
    for number in range(200):
        writer.add(make_clip(number, regions=8))
except DataError as fault:
    print(fault)
    sys.exit(3)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 3, done.stderr
    assert "clips are whole. Make room and run the same command again" in done.stdout
    with StoreWriter(path, SIZES) as writer:
        assert writer.written > 0
        for number in range(writer.written, 50):
            writer.add(make_clip(number, regions=8))
        writer.finish()
    assert [FeatureStore(path)[n].id for n in range(50)] == [f"clip{n}" for n in range(50)]


def test_lost_mass_is_noted(tmp_path):
    with StoreWriter(tmp_path / "s", SIZES) as writer:
        writer.lost(np.array([0.1, 0.3]))
        writer.lost(np.array([]))
        writer.lost(np.array([0.2]))
        writer.add(make_clip())
        noted = writer.finish().lost_mass
    assert noted == {"rows": 3, "mean": pytest.approx(0.2), "largest": 0.3}


def test_ids_of_any_length_have_short_keys():
    assert len(id_key("x" * 10_000)) == len(id_key("")) == 16
