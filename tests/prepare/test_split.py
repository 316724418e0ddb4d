"""``paddlevideo split``: no video on two sides, equal seeds equal splits, mistakes one line."""

from __future__ import annotations

import json

import pytest

from paddlevideo.cli import split
from paddlevideo.loader.store import FeatureStore
from paddlevideo.loader.store.split import SplitFile, clips_of_split, split_path
from paddlevideo.utils.errors import DataError
from tests.loader.clips import make_clip, write

SIDES = ("train", "valid", "test")


def of_video(video, number, **changes):
    """A clip cut from a video, as extraction names it."""
    name = f"{video}_{2 * number}_{2 * number + 2}"
    span = (2.0 * number, 2.0 * number + 2)
    fields = {"source": f"/videos/{video}.mp4", "video": "", "span": span, "times": []}
    return make_clip(number, name, **{**fields, **changes})


def make_store(path, videos=20, clips=3):
    names = [f"v{video:02d}" for video in range(videos)]
    write(path, [of_video(name, number) for name in names for number in range(clips)])
    return path


@pytest.fixture
def store(tmp_path):
    return make_store(tmp_path / "videos.store")


def read(store):
    return dict(SplitFile.read(split_path(store)).clips)


def run(capsys, store, *words):
    assert split.main([str(store), *map(str, words)]) == 0
    return capsys.readouterr().out


def refused(capsys, store, *words):
    """The one line that is printed; the split must stay as it was."""
    path = split_path(store)
    before = path.read_bytes() if path.exists() else None
    try:
        code = split.main([str(store), *map(str, words)])
    except SystemExit as stop:
        code = stop.code
    output = capsys.readouterr()
    assert code in {1, 2} and not output.out
    assert (path.read_bytes() if path.exists() else None) == before
    (line,) = output.err.splitlines()
    return line


def listing(path, *names):
    path.write_text("".join(f"{name}\n" for name in names))
    return path


def videos_in(clips):
    return {clip.split("_")[0] for clip in clips}


# ------------------------------------------------------------------------------ dividing


def test_videos_are_divided_by_shares_and_never_cut(capsys, store):
    out = run(capsys, store, "--valid", "0.2", "--test", "0.1")
    sides = read(store)
    videos = {side: videos_in(sides[side]) for side in SIDES}
    assert [len(videos[side]) for side in SIDES] == [14, 4, 2]
    assert len(set.union(*videos.values())) == 20
    assert [len(sides[side]) for side in SIDES] == [42, 12, 6] and not sides["no_captions"]
    rows = [line.split() for line in out.splitlines()[1:]]
    assert rows == [
        ["videos", "clips", "captions", "seconds"],
        ["train", "14", "42", "84", "84.0"],
        ["valid", "4", "12", "24", "24.0"],
        ["test", "2", "6", "12", "12.0"],
    ]
    features = FeatureStore(store)
    for side in SIDES:
        indices = clips_of_split(features, side)
        assert [features.about(int(index)).id for index in indices] == sides[side]


def test_equal_seeds_give_equal_splits_wherever_the_videos_are(capsys, store, tmp_path):
    moved = tmp_path / "moved.store"
    clips = [
        of_video(f"v{v:02d}", n, source=f"/other/{v}.avi") for v in range(20) for n in range(3)
    ]
    write(moved, reversed(clips))
    run(capsys, store)
    run(capsys, moved)
    assert {side: set(ids) for side, ids in read(store).items()} == {
        side: set(ids) for side, ids in read(moved).items()
    }
    first = read(store)
    run(capsys, store, "--overwrite", "--seed", "1")
    assert read(store) != first


def test_lists_name_clips_or_videos(capsys, store, tmp_path):
    test = listing(tmp_path / "test.txt", "v03", "v07_0_2", "# v09")
    valid = listing(tmp_path / "valid.txt", "v01.mp4")
    run(capsys, store, "--test_list", test, "--valid_list", valid)
    sides = read(store)
    assert videos_in(sides["test"]) == {"v03", "v07"} and len(sides["test"]) == 6
    assert videos_in(sides["valid"]) == {"v01"}
    assert len(videos_in(sides["train"])) == 17


def test_an_id_that_another_continues_names_one_clip_only(capsys, tmp_path):
    """A file may be called cat, and another one cat_2."""
    store = tmp_path / "pets.store"
    names = ["cat", "cat_2", "dog", "dog_2"]
    write(store, [make_clip(i, name, source=f"/{name}.mp4") for i, name in enumerate(names)])
    test = listing(tmp_path / "test.txt", "cat")
    run(capsys, store, "--test_list", test)
    assert read(store)["test"] == ["cat"]


def test_clips_without_captions_are_on_no_side(capsys, tmp_path):
    store = tmp_path / "videos.store"
    clips = [of_video(f"v{video}", number) for video in range(5) for number in range(2)]
    bare = [of_video(name, 9, captions=[" "], times=[]) for name in ("v0", "silent")]
    write(store, [*clips, *bare])
    out = run(capsys, store)
    assert read(store)["no_captions"] == ["v0_18_20", "silent_18_20"]
    assert out.splitlines()[-1].split() == ["without", "captions", "2", "2", "0", "4.0"]


def test_without_files_and_names_the_ids_decide(capsys, tmp_path):
    store = tmp_path / "packed.store"
    names = [f"{video}_{number:02d}" for video in ("a_1", "b", "c") for number in range(3)]
    write(store, [make_clip(i, name, source="", video="") for i, name in enumerate(names)])
    run(capsys, store)
    assert sorted(len(ids) for ids in read(store).values()) == [0, 3, 3, 3]
    assert {clip.rpartition("_")[0] for clip in read(store)["test"]} in ({"a_1"}, {"b"}, {"c"})
    timed = tmp_path / "timed.store"
    names = [f"v{video}_{start}_{start + 9}" for video in range(3) for start in (0, 30, 61)]
    write(timed, [make_clip(i, name, source="", video="") for i, name in enumerate(names)])
    run(capsys, timed)
    assert sorted(len(ids) for ids in read(timed).values()) == [0, 3, 3, 3]


def test_clips_of_one_video_are_divided_on_request(capsys, tmp_path):
    store = tmp_path / "one.store"
    write(store, [of_video("v", number) for number in range(10)])
    assert "one video" not in refused(capsys, store, "--by", "scene")
    assert "1 video(s) only: /videos/v.mp4" in refused(capsys, store)
    run(capsys, store, "--by", "clip")
    assert [len(ids) for ids in read(store).values()] == [8, 1, 1, 0]
    assert len(clips_of_split(FeatureStore(store), "train")) == 8


# ------------------------------------------------------------------------------ once more


def test_new_videos_are_divided_and_what_is_assigned_stays(capsys, store, tmp_path):
    run(capsys, store, "--valid", "0.2", "--test", "0.2")
    before = read(store)
    rename(store, tmp_path / "old.store")
    clips = [of_video(f"v{v:02d}", n) for v in range(1, 30) for n in range(4)]
    write(store, clips)
    with pytest.raises(DataError, match="59 clips .* in none of its lists.*paddlevideo split"):
        clips_of_split(FeatureStore(store), "train")
    out = run(capsys, store)
    after = read(store)
    assert "57 clips stay where they were, 59 are new, 3 are gone" in out.splitlines()[0]
    for side in SIDES:
        kept = {clip for clip in before[side] if not clip.startswith("v00_")}
        assert kept <= set(after[side])
    assert [len(videos_in(after[side])) for side in ("valid", "test")] == [6, 6]
    assert len(videos_in(after["train"])) == 17
    assert all(len(after[side]) == 4 * len(videos_in(after[side])) for side in SIDES)
    assert "nothing to do" in run(capsys, store)


def rename(store, other):
    store.rename(other)


def test_another_store_may_begin_with_a_split(capsys, store, tmp_path):
    run(capsys, store)
    larger = make_store(tmp_path / "larger.store", videos=25)
    run(capsys, larger, "--like", store)
    for side in SIDES:
        assert set(read(store)[side]) <= set(read(larger)[side])
    assert "exists already" in refused(capsys, larger, "--like", store)
    bare = make_store(tmp_path / "bare.store")
    assert "has no split" in refused(capsys, store, "--like", bare, "--overwrite")


def test_captions_that_came_later_join_their_videos(capsys, store, tmp_path):
    bare = tmp_path / "videos.store"
    run(capsys, store)
    side = next(side for side in SIDES if "v05_0_2" in read(store)[side])
    rename(store, tmp_path / "old.store")
    clips = [of_video(f"v{v:02d}", n) for v in range(20) for n in range(3)]
    write(bare, [*clips, of_video("v05", 7)])
    run(capsys, bare)
    assert "v05_14_16" in read(bare)[side]


def test_a_split_may_be_edited(capsys, store):
    run(capsys, store)
    record = json.loads(split_path(store).read_text())
    video = next(iter(videos_in(record["train"])))
    moved = [clip for clip in record["train"] if clip.startswith(video)]
    record["train"] = [clip for clip in record["train"] if clip not in moved]
    split_path(store).write_text(json.dumps({**record, "test": [*record["test"], *moved]}))
    assert set(moved) <= set(read(store)["test"])
    assert len(clips_of_split(FeatureStore(store), "test")) == len(record["test"]) + 3
    run(capsys, store)
    assert set(moved) <= set(read(store)["test"])


# ------------------------------------------------------------------------------ mistakes


def test_settings_that_cannot_be(capsys, store):
    assert "--valid: expected more than 0" in refused(capsys, store, "--valid", "0")
    assert "--test: expected" in refused(capsys, store, "--test", "1")
    assert "below 1" in refused(capsys, store, "--valid", "0.5", "--test", "0.5")
    line = refused(capsys, store, "--valid", "0.49", "--test", "0.5")
    assert "no captioned video is left for train, of 20" in line
    assert "no such feature store" in refused(capsys, store.with_name("absent"))
    assert "--like" in refused(capsys, store, "--like", store)


def test_a_split_that_exists_is_not_replaced_by_other_settings(capsys, store, tmp_path):
    run(capsys, store)
    test = listing(tmp_path / "test.txt", "v03")
    for words in (["--seed", "1"], ["--valid", "0.2"], ["--test_list", test], ["--by", "clip"]):
        assert "--overwrite" in refused(capsys, store, *words)
    run(capsys, store, "--seed", "0", "--valid", "0.1")
    run(capsys, store, "--overwrite", "--test_list", test)
    assert videos_in(read(store)["test"]) == {"v03"}
    more = listing(tmp_path / "more.txt", "v03", read(store)["train"][0])
    assert "for train: an earlier split has it" in refused(capsys, store, "--test_list", more)


def test_lists_that_do_not_fit(capsys, store, tmp_path):
    path = listing(tmp_path / "test.txt", "v03", "v4_0_2", "dog")
    line = refused(capsys, store, "--test_list", path)
    assert "test.txt: 2 of 3 lines name no clip of" in line and 'nearest to "dog"' not in line
    test = listing(tmp_path / "test.txt", "v03_0_2")
    valid = listing(tmp_path / "valid.txt", "v03_2_4")
    line = refused(capsys, store, "--test_list", test, "--valid_list", valid)
    assert '"v03_0_2" is for test' in line and f'"v03_2_4" in {valid}' in line
    line = refused(capsys, store, "--test_list", test, "--test", "0.1")
    assert "--test and --test_list" in line
    everything = listing(tmp_path / "all.txt", *(f"v{video:02d}" for video in range(20)))
    assert "left for train and valid" in refused(capsys, store, "--test_list", everything)


def test_a_store_without_captions(capsys, tmp_path):
    write(tmp_path / "bare", [make_clip(i, captions=[], times=[]) for i in range(5)])
    assert "--captions FILE" in refused(capsys, tmp_path / "bare")


EDITS = {
    "not JSON": (lambda record: None, "cannot be read as a split"),
    "another file": (lambda record: {"format": "x"}, "cannot be read as a split"),
    "a newer version": (lambda record: {**record, "version": 2}, "version 2; expected 1"),
    "no settings": (lambda record: {**record, "settings": None}, "cannot be read as a split"),
    "a share of text": (
        lambda record: {**record, "settings": {**record["settings"], "test": "a lot"}},
        "settings: test: 'a lot' is not possible",
    ),
    "a number": (lambda record: {**record, "test": [7]}, "test: 7 is not the id of a clip"),
    "twice": (
        lambda record: {**record, "test": [*record["test"], record["train"][0]]},
        "is in train and in test",
    ),
    "a video on two sides": (
        lambda record: {
            **record,
            "train": record["train"][1:],
            "test": [*record["test"], record["train"][0]],
        },
        "are of one video, /videos/",
    ),
}


@pytest.mark.parametrize("name", EDITS)
def test_an_edited_split_that_is_wrong(name, capsys, store):
    run(capsys, store)
    change, message = EDITS[name]
    record = json.loads(split_path(store).read_text())
    split_path(store).write_text(json.dumps(change(record)) if change(record) else "{")
    assert message in refused(capsys, store)
    with pytest.raises(DataError) as caught:
        clips_of_split(FeatureStore(store), "train")
    assert message in str(caught.value)


def test_an_unknown_id_and_a_side_without_clips(capsys, store):
    with pytest.raises(DataError, match="has no split into .* paddlevideo split .*videos.store"):
        clips_of_split(FeatureStore(store), "train")
    run(capsys, store)
    record = json.loads(split_path(store).read_text())
    text = json.dumps({**record, "test": ["v00_0_3", *record["test"]]})
    split_path(store).write_text(text)
    with pytest.raises(DataError, match='1 of its ids .* "v00_0_2"'):
        clips_of_split(FeatureStore(store), "test")
    rest = [*record["train"], *record["test"]]
    split_path(store).write_text(json.dumps({**record, "train": rest, "test": []}))
    with pytest.raises(DataError, match="test names no clips"):
        clips_of_split(FeatureStore(store), "test")
