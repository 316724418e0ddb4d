"""A clip as bytes: damaged nowhere unnoticed, and no header is believed."""

import json
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paddlevideo.loader.store import ClassTargets
from paddlevideo.loader.store.records import PREFIX, decode, decode_about, encode
from paddlevideo.utils.errors import DataError
from tests.loader.clips import assert_same, make_clip


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


def test_a_record_from_before_sources_were_kept_has_none():
    record = encode(make_clip(source="", span=None))
    assert b'"source"' not in record and b'"span"' not in record
    for about in (decode(record, "here"), decode_about(record, "here")):
        assert about.source == "" and about.span is None
    about = decode_about(encode(make_clip()), "here")
    assert about.source == "/videos/sub/фильм.mp4" and about.span == (0.5, 3.25)


@pytest.mark.parametrize(
    "change", [{"source": 3}, {"span": [1]}, {"span": "ab"}, {"span": [0, 1e999]}]
)
def test_a_source_of_another_kind_is_damage(change):
    body = encode(make_clip(source="", span=None))[PREFIX.size :]
    header = json.loads(body[8 : 8 + int.from_bytes(body[:8], "little")])
    about = json.loads(header["__metadata__"]["clip"]) | change
    header["__metadata__"]["clip"] = json.dumps(about)
    text = json.dumps(header).encode()
    changed = len(text).to_bytes(8, "little") + text
    changed += body[8 + int.from_bytes(body[:8], "little") :]
    record = PREFIX.pack(zlib.crc32(changed), 1) + changed
    for read in (decode, decode_about):
        with pytest.raises(DataError, match="here: the record is damaged"):
            read(record, "here")


@given(st.integers(0, 999), st.sampled_from([0.9, 0.999, 1.0]))
@settings(max_examples=30, deadline=None)
def test_kept_classes_hold_the_mass_that_is_asked_for(seed, kept):
    rng = np.random.default_rng(seed)
    rows = rng.dirichlet(np.full(50, 0.1), 4).astype(np.float32)
    targets = ClassTargets.of(rows, kept)
    assert (targets.lost() <= 1 - kept + 1e-6).all()
    dense = targets.dense()
    for number, row in enumerate(rows):
        classes = np.argsort(-row, kind="stable")[: targets.counts[number]]
        others = np.setdiff1d(np.arange(50), classes)
        np.testing.assert_array_equal(dense[number, classes], row[classes])
        assert len(set(dense[number, others].tolist())) <= 1  # each of them the same
    np.testing.assert_allclose(dense.sum(axis=1), rows.sum(axis=1), rtol=1e-5)
    again = decode(encode(make_clip(regions=4, region_classes=targets), "float32"), "")
    np.testing.assert_allclose(again.region_classes.dense(), dense, rtol=1e-6, atol=1e-9)
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
