"""Stores that somebody changed on purpose: one clear error each, never a crash or wrong data."""

from __future__ import annotations

import json
import zlib
from dataclasses import replace

import lmdb
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paddlevideo.loader.clips.check import clip_faults
from paddlevideo.loader.store import ClassTargets, FeatureStore, StoreWriter
from paddlevideo.loader.store.manifest import COMPLETE
from paddlevideo.loader.store.records import HEADER, PREFIX, decode, encode
from paddlevideo.loader.store.shards import id_key
from paddlevideo.utils.errors import DataError
from tests.loader.clips import SIZES, make_clip, write


def rebuilt(change_about=lambda about: about, change_header=lambda header: header, text=None):
    """A record with a right checksum and another JSON."""
    body = encode(make_clip())[PREFIX.size :]
    (length,) = HEADER.unpack_from(body)
    header = json.loads(body[HEADER.size : HEADER.size + length])
    about = change_about(json.loads(header["__metadata__"]["clip"]))
    header["__metadata__"]["clip"] = json.dumps(about) if text is None else text
    written = json.dumps(change_header(header)).encode()
    body = HEADER.pack(len(written)) + written + body[HEADER.size + length :]
    return PREFIX.pack(zlib.crc32(body), 1) + body


def about(**changes):
    return rebuilt(lambda old: {**old, **changes})


def shaped(name, shape):
    return rebuilt(change_header=lambda h: {**h, name: {**h[name], "shape": shape}})


HOSTILE = {
    "nested": rebuilt(text="[" * 100_000),
    "a number": rebuilt(text="5"),
    "id number": about(id=5),
    "id null": about(id=None),
    "id surrogate": about(id="\ud800"),
    "captions text": about(captions="abc", times=[]),
    "captions numbers": about(captions=[1, 2]),
    "captions map": about(captions={"a": 1}),
    "caption surrogate": about(captions=["\udfff", "x"]),
    "times short": about(times=[[0, 1]]),
    "times texts": about(times=[["a", "b"], ["c", "d"]]),
    "times infinite": about(times=[[0, 1], [0, float("inf")]]),
    "video number": about(video=5),
    "extra number": about(extra=5),
    "size infinite": about(size=[float("inf"), 1]),
    "size zero": about(size=[0, 10]),
    "size huge": about(size=[10**300, 1]),
    "size fraction": about(size=[10.5, 1]),
    "classes infinite": about(region_classes=float("inf")),
    "classes few": about(region_classes=1),
    "regions flat": shaped("regions", [36]),
    "regions scalar": shaped("regions", []),
    "boxes flat": shaped("boxes", [12]),
    "actions deep": shaped("actions", [2, 10, 1]),
    "action classes deep": shaped("action_classes", [2, 1]),
    "counts deep": shaped("class_counts", [3, 1]),
    "no header": rebuilt(change_header=lambda header: 5),
    "metadata text": rebuilt(change_header=lambda header: {**header, "__metadata__": "x"}),
    "tensor number": rebuilt(change_header=lambda header: {**header, "regions": 5}),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_record_that_was_made_up_is_one_error(kind):
    with pytest.raises(DataError, match="^here: the record is damaged"):
        decode(HOSTILE[kind], "here")


def test_an_unchanged_record_is_read():
    assert decode(rebuilt(), "here").id == "clip0"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"action_classes": np.array([0])}, "1 classes of 2 actions"),
        ({"action_classes": np.array([0, 700])}, "action class 700, but there are 7"),
        ({"action_classes": np.array([-7, 0])}, "action class -7"),
        ({"boxes": np.full((3, 4), np.nan)}, r"boxes\[0, 0\] is nan"),
        ({"boxes": np.full((3, 4), 900.0)}, "box 0 is"),
        ({"captions": "abc", "times": []}, "captions are one text"),
        ({"times": [(0.0, 1.0)]}, "1 times of 2 captions"),
        ({"times": [(0.0, 1.0), (3.0, 1.0)]}, "not a start and an end"),
        ({"region_classes": ClassTargets.of(np.ones((2, 9)))}, "of 2 regions for 3"),
        ({"region_classes": ClassTargets.of(np.full((3, 9), np.nan))}, "class"),
        ({"region_classes": ClassTargets.of(np.zeros((3, 9)))}, "all zero"),
    ],
)
def test_a_writer_takes_nothing_that_could_not_be_used(tmp_path, changes, message):
    with (
        StoreWriter(tmp_path / "s", SIZES) as writer,
        pytest.raises(DataError, match=f'clip "clip0": .*{message}'),
    ):
        writer.add(replace(make_clip(), **changes))


FAULTY = [
    {"action_classes": np.array([0])},
    {"action_classes": np.array([0, 700])},
    {"action_classes": np.array([-7, 0])},
    {"boxes": np.full((3, 4), np.nan)},
    {"boxes": np.full((3, 4), 900.0)},
    {"regions": np.full((3, 12), np.nan)},
    {"actions": np.full((2, 10), np.inf)},
    {"regions": np.ones((3, 13))},
    {"times": [(3.0, 1.0), (0.0, 1.0)]},
    {"region_classes": ClassTargets.of(np.ones((3, 4)))},
    {"region_classes": ClassTargets.of(np.zeros((3, 9)))},
    {"region_classes": ClassTargets(np.ones(3, int), np.arange(3), np.full(3, np.nan), 9)},
    {"region_classes": ClassTargets(np.ones(3, int), np.arange(3), np.full(3, -1.0), 9)},
    {"region_classes": ClassTargets(np.ones(3, int), np.arange(3), np.zeros(3), 9)},
]


@pytest.mark.parametrize("changes", FAULTY)
def test_a_faulty_clip_has_faults(changes):
    assert list(clip_faults(replace(make_clip(), **changes), SIZES))


TWO_KEPT_ONE_ZERO = ClassTargets(np.full(3, 2), np.arange(6), np.tile([1.0, 0.0], 3), 9)


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_a_single_value_that_is_not_finite_is_named(value):
    regions = np.zeros((3, 12), np.float32)
    regions[2, 7] = value
    ((kind, text),) = clip_faults(replace(make_clip(), regions=regions), SIZES)
    assert (kind, text) == ("not finite", f"regions[2, 7] is {value}")


@pytest.mark.parametrize(
    "changes",
    [
        {"regions": np.full((3, 12), np.finfo(np.float32).max)},  # the squares overflow
        {"actions": np.full((2, 10), np.finfo(np.float16).min)},
        {"region_classes": TWO_KEPT_ONE_ZERO},
    ],
)
def test_unusual_values_are_no_faults(changes):
    assert not list(clip_faults(replace(make_clip(), **changes), SIZES))


@given(st.integers(0, 10_000), st.integers(1, 9), st.integers(0, 4))
@settings(max_examples=60, deadline=None)
def test_a_sound_clip_has_no_faults(number, regions, actions):
    clip = decode(encode(make_clip(number, regions=regions, actions=actions)), "here")
    assert not list(clip_faults(clip, SIZES))


def test_values_of_numpy_are_taken(tmp_path):
    clip = make_clip(times=[(np.float32(0.5), np.float64(2)), (np.int64(1), 2)])
    store = write(tmp_path / "s", [replace(clip, image_h=np.int64(240))])
    assert store[0].times[0] == (0.5, 2.0) and store[0].image_h == 240
    with StoreWriter(tmp_path / "t", SIZES) as writer, pytest.raises(DataError, match="UTF-8"):
        writer.add(make_clip(captions=["\ud800"], times=[]))


@pytest.mark.parametrize("scale", [1e5, 1e-9])
def test_distributions_that_do_not_sum_to_1_survive_float16(scale):
    rows = np.random.default_rng(0).dirichlet(np.ones(9), 3)
    clip = make_clip(region_classes=ClassTargets.of(rows * scale, 1.0))
    np.testing.assert_allclose(decode(encode(clip), "").region_classes.dense(), rows, rtol=1e-3)


def test_an_id_table_that_leads_elsewhere_is_noticed(tmp_path):
    write(tmp_path / "s", [make_clip(number) for number in range(3)])
    entries = {"clip0": (1).to_bytes(8, "big"), "clip1": (99).to_bytes(8, "big"), "clip2": b"xx"}
    shard = str(tmp_path / "s" / "shard-00000.lmdb")
    with (
        lmdb.open(shard, subdir=False, lock=False, max_dbs=2) as environment,
        environment.begin(write=True) as transaction,
    ):
        table = environment.open_db(b"ids", transaction)
        for name, entry in entries.items():
            transaction.put(id_key(name), entry, db=table)
    for name in entries:
        with pytest.raises(DataError, match=f'maps "{name}" to another clip'):
            FeatureStore(tmp_path / "s").read_named(name)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: "[" * 100_000,
        lambda text: text.replace('"clips": 1', f'"clips": {2**70}'),
        lambda text: text.replace('"clips": 1', '"clips": 1.0'),
        lambda text: text.replace('"clips": 1', '"clips": true'),
        lambda text: text.replace("shard-00000.lmdb", ".."),
        lambda text: text.replace("shard-00000.lmdb", ""),
        lambda text: text.replace('"captions": 2', '"captions": "x"'),
        lambda text: text.replace('"vocabularies": {}', '"vocabularies": {"region": 5}'),
        lambda text: text.replace('"lost_mass": {', '"lost_mass": {"x": 1}, "other": {'),
        lambda text: text.replace('"action": 10', '"action": -1'),
    ],
)
def test_a_manifest_that_was_made_up_is_one_error(tmp_path, change):
    write(tmp_path / "s", [make_clip()])
    manifest = tmp_path / "s" / COMPLETE
    changed = change(manifest.read_text())
    assert changed != manifest.read_text()
    manifest.write_text(changed)
    with pytest.raises(DataError, match=COMPLETE):
        FeatureStore(tmp_path / "s")


def test_threads_may_open_a_store_together(tmp_path):
    from concurrent.futures import ThreadPoolExecutor

    write(tmp_path / "s", [make_clip(number) for number in range(40)], shard_bytes=3_000)
    for _ in range(5):
        store = FeatureStore(tmp_path / "s")
        with ThreadPoolExecutor(8) as threads:
            names = list(threads.map(lambda number, s=store: s[number].id, range(40)))
        assert names == [f"clip{number}" for number in range(40)]
