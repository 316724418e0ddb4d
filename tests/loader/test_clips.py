"""One interface for all that clips are read from: the same clips come out of every kind of file."""

from __future__ import annotations

import numpy as np
import pytest

from paddlevideo.loader import ActBertDataset, MSRVTTDataset
from paddlevideo.loader.clips.folder import ClipFolder
from paddlevideo.loader.clips.opening import open_clips
from paddlevideo.loader.clips.records import RecordFile, write_records
from paddlevideo.loader.clips.rows import RowFile, write_rows
from paddlevideo.loader.store import FeatureStore
from paddlevideo.utils.errors import DataError
from tests.loader.clips import SIZES, make_clip, write

NAMES = ["a", "b_01", "c"]
CLIPS = [
    make_clip(number, name, captions=[f"a caption {number}"], times=[])
    for number, name in enumerate(NAMES)
]


@pytest.fixture
def paths(tmp_path):
    write(tmp_path / "store", CLIPS, dtype="float32")
    write_rows(tmp_path / "rows.npy", CLIPS, len(CLIPS))
    write_records(tmp_path / "records.lmdb", CLIPS)
    (tmp_path / "folder").mkdir()
    for clip in CLIPS:
        held = ("regions", "boxes", "image_h", "image_w", "actions", "action_classes")
        arrays = {name: getattr(clip, name) for name in held}
        distributions = {"region_classes": clip.region_classes.dense()}
        np.savez(tmp_path / "folder" / f"{clip.id}.npz", **arrays, **distributions)
    return tmp_path


KINDS = {
    "store": FeatureStore,
    "rows.npy": RowFile,
    "records.lmdb": RecordFile,
    "folder": ClipFolder,
}


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_gives_the_same_clips(paths, name):
    source = open_clips(paths / name)
    assert type(source) is KINDS[name] and len(source) == 3
    assert list(source.ids()) == NAMES == list(source.ids())
    assert [source.find(each) for each in (*NAMES, "absent")] == [0, 1, 2, None]
    assert source.missing(["absent", "c"]) == ["absent"]
    assert source.about(1).id == "b_01"
    sizes = source.sizes()
    assert (sizes.region, sizes.action) == (SIZES.region, SIZES.action)
    for index, expected in enumerate(CLIPS):
        for clip in (source.read(index), source.read_named(expected.id)):
            assert clip.id == expected.id and (clip.image_h, clip.image_w) == (240, 320)
            for field in ("regions", "boxes", "actions"):
                array = getattr(clip, field)
                assert array.dtype == np.float32
                np.testing.assert_array_equal(array, getattr(expected, field))
    with pytest.raises(DataError, match=f'{name}: clip "absent": has no record'):
        source.read_named("absent")


@pytest.mark.parametrize("name", ["store", "rows.npy", "folder"])
def test_classes_come_with_the_clips_that_have_them(paths, name):
    source = open_clips(paths / name)
    largest = max(int(clip.action_classes.max()) for clip in CLIPS)
    assert source.action_classes() == (SIZES.action_classes if name == "store" else largest + 1)
    for index, expected in enumerate(CLIPS):
        clip = source.read(index)
        np.testing.assert_array_equal(clip.action_classes, expected.action_classes)
        rows = clip.dense_classes()
        np.testing.assert_allclose(rows, expected.region_classes.dense(), rtol=1e-3, atol=1e-4)


def test_a_gallery_comes_from_every_kind(paths):
    (paths / "captions.csv").write_text("c,three\na,one\n")
    sizes = {"vision_feature_dim": SIZES.region, "action_feature_dim": SIZES.action}
    batches = []
    for name in KINDS:
        dataset = MSRVTTDataset(str(paths / "captions.csv"), str(paths / name), **sizes)
        [batch] = dataset.context()
        batches.append(batch)
    for batch in batches[1:]:
        for key, array in batches[0].items():
            np.testing.assert_array_equal(batch[key], array, err_msg=key)


@pytest.mark.parametrize("name", ["records.lmdb", "folder"])
def test_pre_training_needs_captions(paths, name):
    with pytest.raises(DataError, match=f"{name}: holds no captions.*pack"):
        ActBertDataset(str(paths / name))


@pytest.mark.parametrize(
    ("name", "message"),
    [("absent", "No such file"), ("a.txt", "is a text file, which holds no clips. Known kinds:")],
)
def test_what_holds_no_clips_is_refused(tmp_path, name, message):
    (tmp_path / "a.txt").write_text("clips")
    with pytest.raises(DataError, match=f"{name}: {message}"):
        open_clips(tmp_path / name)


def test_a_row_without_its_classes_is_not_written(tmp_path):
    with pytest.raises(DataError, match='clip "x": a HowTo100M row needs classes and a caption'):
        write_rows(tmp_path / "a.npy", [make_clip(0, "x", action_classes=None)], 1)
    assert not list(tmp_path.iterdir())
