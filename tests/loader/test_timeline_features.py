"""Videos as one row a second, from arrays, stores and records."""

from __future__ import annotations

import pickle
import tracemalloc

import numpy as np
import pytest

from paddlevideo.loader.clips.records import write_records
from paddlevideo.loader.timeline.features import (
    ArrayFolder,
    check_length,
    open_timelines,
    time_is_last,
)
from paddlevideo.loader.timeline.windows import Layout, Windows
from paddlevideo.utils.errors import ConfigError, DataError
from tests.loader.clips import make_clip, write


@pytest.fixture
def arrays(tmp_path):
    """Second t of the video is t everywhere, in both layouts."""
    rows = np.repeat(np.arange(9, dtype=np.float32)[:, None], 4, axis=1)
    np.save(tmp_path / "first.npy", rows)
    np.save(tmp_path / "last.npy", rows.T)
    return tmp_path


@pytest.mark.parametrize("name", ["first", "last"])
def test_both_layouts_give_the_same_rows(arrays, name):
    timeline = open_timelines(str(arrays), 4, 3).open(name)
    rows = timeline.read(7, 11)
    assert timeline.seconds == 9
    assert rows.actions[:, 0].tolist() == [7, 8, 0, 0]
    assert rows.present.tolist() == [True, True, False, False]
    assert rows.regions.shape == (0, 3)


def test_a_square_array_needs_the_key(tmp_path):
    assert not time_is_last((9, 4), 4, "auto", "x.npy")
    assert time_is_last((4, 9), 4, "auto", "x.npy")
    assert time_is_last((4, 4), 4, "last", "x.npy")
    with pytest.raises(
        DataError, match=r'x\.npy: has the shape \(4, 4\).*set time_axis to "first"'
    ):
        time_is_last((4, 4), 4, "auto", "x.npy")
    with pytest.raises(DataError, match=r"action_feature_dim is 5; expected \(seconds, 5\) or"):
        time_is_last((9, 4), 5, "auto", "x.npy")
    with pytest.raises(DataError, match=r"expected \(4, seconds\)"):
        time_is_last((9, 4), 4, "last", "x.npy")
    with pytest.raises(DataError, match="expected one row a second"):
        time_is_last((9,), 4, "auto", "x.npy")


def test_features_that_are_not_numbers_name_the_second(tmp_path):
    rows = np.zeros((5, 4), np.float32)
    rows[3, 1] = np.nan
    np.save(tmp_path / "v.npy", rows)
    timeline = ArrayFolder(tmp_path, 4, 3).open("v")
    assert timeline.read(0, 3).present.all()
    with pytest.raises(DataError, match=r"v\.npy: the features of second 3 are not finite"):
        timeline.read(2, 5)
    np.save(tmp_path / "v.npy", np.full((5, 4), 1e300))  # beyond float32
    with pytest.raises(DataError, match=r"v\.npy: the features of second 2 are not finite"):
        ArrayFolder(tmp_path, 4, 3).open("v").read(2, 5)
    np.save(tmp_path / "v.npy", np.full((5, 4), "1.0"))
    with pytest.raises(DataError, match=r"v\.npy: holds values of type <U3; expected numbers"):
        ArrayFolder(tmp_path, 4, 3).open("v")


def test_an_array_is_a_video_of_its_own(arrays):
    timelines = open_timelines(str(arrays / "last.npy"), 4, 3)
    assert timelines.names() == ["last"]
    assert timelines.open("last").seconds == 9


def test_a_folder_without_videos(tmp_path):
    with pytest.raises(DataError, match=r"is empty; expected <video>\.npy, an array of a row"):
        open_timelines(str(tmp_path), 4, 3)


def test_an_unknown_video_is_an_error_with_the_nearest_name(arrays):
    with pytest.raises(DataError, match='no features of video "lost".*Did you mean "last"'):
        open_timelines(str(arrays), 4, 3).open("lost")


def test_a_video_can_be_sent_to_another_process(arrays):
    timeline = open_timelines(str(arrays), 4, 3).open("first")
    other = pickle.loads(pickle.dumps(timeline))
    np.testing.assert_array_equal(other.read(0, 9).actions, timeline.read(0, 9).actions)


def test_clips_of_a_store_are_spread_over_their_spans(tmp_path):
    clips = [
        make_clip(0, "a_1", actions=2, video="a", span=(0.0, 4.0)),
        make_clip(1, "a_2", actions=3, video="a", span=(6.0, 9.0)),
        make_clip(2, "b_1", actions=1, video="b", span=(0.0, 2.5)),
    ]
    stored = write(tmp_path / "store", clips)
    timelines = open_timelines(str(tmp_path / "store"), 10, 12)
    assert timelines.names() == ["a", "b"] and timelines.has_regions
    timeline = timelines.open("a")
    assert timeline.seconds == 9 and timelines.open("b").seconds == 3
    rows = timeline.read(0, 10)
    first, second = stored.read(0).actions, stored.read(1).actions
    expected = [*first[[0, 0, 1, 1]], *np.zeros((2, 10)), *second, np.zeros(10)]
    np.testing.assert_array_equal(rows.actions, np.array(expected, np.float32))
    assert rows.present.tolist() == [True] * 4 + [False] * 2 + [True] * 3 + [False]
    assert rows.regions.shape == (6, 12) and rows.boxes.shape == (6, 5)
    assert timeline.read(4, 6).regions.shape == (0, 12)  # between the clips
    assert len(timeline.read(5, 7).regions) == 3


def test_a_record_without_a_span_is_a_video_of_one_action_a_second(tmp_path):
    clip = make_clip(0, "video0", actions=7)
    write_records(tmp_path / "test.lmdb", [clip])
    timeline = open_timelines(str(tmp_path / "test.lmdb"), 10, 12).open("video0")
    assert timeline.seconds == 7
    np.testing.assert_allclose(timeline.read(2, 5).actions, clip.actions[2:5], rtol=1e-6)


def test_widths_of_clips_must_be_those_of_the_keys(tmp_path):
    write_records(tmp_path / "test.lmdb", [make_clip(0, "video0")])
    timeline = open_timelines(str(tmp_path / "test.lmdb"), 11, 12).open("video0")
    with pytest.raises(DataError, match="action_feature_dim is 11"):
        timeline.read(0, 1)


def test_features_and_labels_may_differ_by_a_second(arrays):
    timeline = open_timelines(str(arrays), 4, 3).open("first")
    check_length(timeline, 10, "labels.txt")
    check_length(timeline, 8, "labels.txt")
    with pytest.raises(DataError, match='^labels.txt: 11 seconds of labels.*"first" have 9'):
        check_length(timeline, 11, "labels.txt")


# ---------------------------------------------------------------------------- windows


def test_windows_cover_a_video_and_end_with_it():
    layout = Layout(10, 4, 2)
    assert layout.starts(25) == [0, 6, 12, 15]
    assert layout.starts(10) == [0] and layout.starts(3) == [0]
    with pytest.raises(ConfigError, match="window_overlap is 10"):
        Layout(10, 10, 2)


def test_windows_are_input_arrays_without_text(arrays):
    timeline = open_timelines(str(arrays), 4, 3).open("first")
    batches = list(Windows(timeline, 9, Layout(5, 1, 2)).batches(2))
    assert [starts for starts, _ in batches] == [[0, 4]]
    _, batch = batches[0]
    assert batch["action_feat"][:, :, 0].tolist() == [[0, 1, 2, 3, 4], [4, 5, 6, 7, 8]]
    assert batch["image_feat"].shape == (2, 2, 3) and not batch["image_mask"].any()
    assert not batch["text_mask"].any()
    short = list(Windows(timeline, 3, Layout(5, 1, 2)).batches(2))
    assert short[0][1]["action_feat"].shape == (1, 3, 4)


def test_regions_of_a_window_are_spread_over_it(tmp_path):
    clips = [
        make_clip(i, f"a_{i}", regions=4, video="a", span=(3.0 * i, 3.0 * i + 3)) for i in range(3)
    ]
    stored = write(tmp_path / "store", clips)
    timeline = open_timelines(str(tmp_path / "store"), 10, 12).open("a")
    batch = Windows(timeline, 9, Layout(9, 0, 4)).window(0)
    every = np.concatenate([stored.read(i).regions for i in range(3)])
    np.testing.assert_allclose(batch["image_feat"][0], every.mean(axis=0), rtol=1e-5)
    np.testing.assert_array_equal(batch["image_feat"][1:], every[[0, 5, 11]])
    assert batch["image_mask"].tolist() == [1, 1, 1, 1]
    assert batch["image_loc"][0].tolist() == [0, 0, 1, 1, 1]


@pytest.mark.parametrize("layout", ["first", "last"])
def test_memory_does_not_grow_with_the_video(tmp_path, layout):
    """Five hours of 64 numbers a second are 4.6 MB; two windows of a minute are 31 KB."""
    rows = np.ones((18_000, 64), np.float32)
    np.save(tmp_path / "v.npy", rows if layout == "first" else rows.T.copy())
    timeline = open_timelines(str(tmp_path), 64, 3).open("v")
    windows = Windows(timeline, 18_000, Layout(60, 15, 2))
    tracemalloc.start()
    count = sum(len(starts) for starts, _ in windows.batches(2))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 400
    assert peak < 400_000
