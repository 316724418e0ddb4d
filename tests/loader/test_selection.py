"""Lists of clips to take or to leave out."""

from __future__ import annotations

from pathlib import Path

import pytest

from paddlevideo.loader import ActBertDataset, MSRVTTDataset
from paddlevideo.loader.selection import read_list, select_clips
from paddlevideo.prepare import PackOptions, pack
from paddlevideo.utils.errors import DataError
from tests.loader.data import F, G, make_record, make_row, save_lmdb, save_rows

CLIPS = ["ab_c_00", "ab_c_01", "dog", "ab_00"]


@pytest.fixture
def listing(tmp_path):
    def write(text, name="list.txt"):
        (tmp_path / name).write_text(text, encoding="utf-8")
        return str(tmp_path / name)

    return write


@pytest.mark.parametrize(
    ("names", "kept"),
    [("ab_c\n", [0, 1]), ("ab\n", [3]), ("dog\nab_c_01\n", [1, 2]), ("# dog\n\n ab_c_00 \n", [0])],
)
def test_a_list_names_videos_or_clips(listing, names, kept):
    path = listing(names)
    assert select_clips(CLIPS, only=path).tolist() == kept
    others = [place for place in range(len(CLIPS)) if place not in kept]
    assert select_clips(iter(CLIPS), exclude=path).tolist() == others


def test_both_lists_at_once_and_none(listing):
    only, exclude = listing("ab_c"), listing("ab_c_01", "other.txt")
    assert select_clips(CLIPS, only, exclude).tolist() == [0]
    assert select_clips(CLIPS).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("names", "message"), [("", "names no clips"), ("# x\n", "names no clips"), ("cat", "such as")]
)
def test_a_list_that_names_nothing_is_refused(listing, names, message):
    path = listing(names)
    with pytest.raises(DataError, match=message) as caught:
        select_clips(CLIPS, exclude=path, source="rows.npy")
    assert path in str(caught.value)


def test_a_list_that_leaves_nothing_is_refused(listing):
    with pytest.raises(DataError, match="leave no clip"):
        select_clips(["dog"], exclude=listing("dog"), source="rows.npy")
    with pytest.raises(DataError, match="cannot be read"):
        read_list("absent.txt")


def test_rows_and_captions_follow_the_same_list(tmp_path, listing):
    names = [f"v{video}_{clip:02d}" for video in range(3) for clip in range(2)]
    rows = save_rows(tmp_path / "rows.npy", [make_row(name) for name in names])
    store = save_lmdb(tmp_path / "clips.lmdb", {name: make_record(name) for name in names})
    (tmp_path / "clips.csv").write_text("".join(f"{name},about {name}\n" for name in names))
    held_out = listing("v1\n")
    training = ActBertDataset(rows, exclude=held_out)
    sizes = {"vision_feature_dim": F, "action_feature_dim": G}
    testing = MSRVTTDataset(str(tmp_path / "clips.csv"), store, only=held_out, **sizes)
    assert [training.name_of(i) for i in range(len(training))] == [names[i] for i in (0, 1, 4, 5)]
    assert testing.video_ids == ["v1_00", "v1_01"] and testing.truth().tolist() == [0, 1]
    assert testing.captions == ["about v1_00", "about v1_01"]
    everything = ActBertDataset(rows)
    assert (training[2]["region_feat"] == everything[4]["region_feat"]).all()
    assert training[2]["index"] == 2 and training.describe()["samples"] == 4


def test_a_line_that_matches_nothing_is_named(listing):
    path = listing("dog\nab_c_01\nab_d\ncat\n")
    message = r'2 of 4 lines name no clip .*rows.npy: "ab_d" \(the nearest is "ab_.*"\), "cat"'
    with pytest.raises(DataError, match=f"{message}.*missing_ids: warn") as caught:
        select_clips(CLIPS, exclude=path, source="rows.npy")
    assert path in str(caught.value)


def test_each_line_that_matches_nothing_is_named(listing):
    mistyped = [f"dgo{number}" for number in range(30)]
    with pytest.raises(DataError, match="30 of 31 lines") as caught:
        select_clips(CLIPS, exclude=listing("\n".join(["dog", *mistyped])), source="rows.npy")
    assert all(f'"{name}"' in str(caught.value) for name in mistyped)


def test_a_line_may_match_nothing_where_that_is_asked_for(listing, caplog):
    path = listing("dog\ncat\n")
    assert select_clips(CLIPS, exclude=path, missing_ids="warn").tolist() == [0, 1, 3]
    assert "1 of 2 lines name no clip" in caplog.text and '"cat"' in caplog.text


@pytest.mark.parametrize(
    ("names", "kept"),
    [
        ("dog.mp4\nvideos/ab_c_00\n", [0, 2]),
        ("AB_C.webm\n", [0, 1]),
        ("v\n", [4, 5]),
        ("video_id\ndog\n", [2]),
        ("split,video_id\ntest,dog\ntest,ab_c_01\n", [1, 2]),
        ("  # a comment\ndog\r\n", [2]),
    ],
)
def test_lists_name_clips_as_captions_do(listing, caplog, names, kept):
    clips = [*CLIPS, "v_0_2.5", "v_2.5_5"]
    caplog.set_level("INFO", "paddlevideo")
    assert select_clips(iter(clips), only=listing(names)).tolist() == kept
    assert ("matched" in caplog.text) == ("." in names or "AB" in names or names == "v\n")


def test_a_store_is_gone_through_as_often_as_needed(tmp_path, listing):
    store = packed_store(tmp_path, ["a_00", "a_01", "b"])
    dataset = ActBertDataset(store, exclude=listing("a.mp4\n"))
    assert [dataset.name_of(index) for index in range(len(dataset))] == ["b"]
    with pytest.raises(DataError, match='"c"'):
        ActBertDataset(store, exclude=listing("a\nc\n"))
    assert len(ActBertDataset(store, exclude=listing("a\nc\n"), missing_ids="warn")) == 1


def packed_store(tmp_path, names):
    rows = save_rows(tmp_path / "rows.npy", [make_row(name) for name in names])
    pack(PackOptions([Path(rows)], tmp_path / "s"))
    return str(tmp_path / "s")
