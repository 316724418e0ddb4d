"""Captions whose names are not the clips' ids: matched by rules that are counted, or refused."""

from __future__ import annotations

import json

import numpy as np
import pytest

from paddlevideo.loader.captions.matching import ClipNames, match_all
from paddlevideo.loader.store import FeatureStore
from paddlevideo.prepare import PackOptions, pack
from paddlevideo.prepare.caption_book import CaptionBook
from paddlevideo.prepare.caption_names import match_names
from paddlevideo.utils.errors import DataError
from tests.loader.clips import make_clip, write

COMPOSED, DECOMPOSED = "caf\u00e9", "cafe\u0301"


@pytest.mark.parametrize(
    "name, meant, rule",
    [
        ("x", "x", 0),
        (DECOMPOSED, COMPOSED, 1),
        (" x ", "x", 1),
        ("\u200bx\ufeff", "x", 1),
        ("\u202ax.mp4", "x", 2),
        ("x.mp4", "x", 2),
        (f"{DECOMPOSED}.MP4", COMPOSED, 2),
        ("y", "y.webm", 2),
        ("x.xyz", "x", 2),
        ("clips/x.xyz", "x", 3),
        ("v2.part1", None, None),
        ("videos/x", "x", 3),
        ("C:\\clips\\x.avi", "x", 3),
        ("/data/sub/z.mkv", "sub/z", 3),
        ("z", "sub/z", 3),
        ("X", "x", 4),
        ("other/z", None, None),
        ("v1.5", None, None),
        ("w", None, None),
    ],
)
def test_the_rules_in_their_order(name, meant, rule):
    names = ClipNames(["x", COMPOSED, "y.webm", "sub/z", "v1.4", "v2.part2"])
    found = names.find(name)
    assert (found and (found.target, found.rule)) == (meant and (meant, rule))


def test_what_may_mean_two_clips_is_refused():
    with pytest.raises(DataError, match='"z" may mean "a/z" or "b/z"'):
        ClipNames(["a/z", "b/z"]).find("z")
    assert ClipNames(["a/z", "b/z"]).find("videos/a/z.mp4").target == "a/z"
    with pytest.raises(DataError, match='"x.mp4" and "x.webm" may both mean "x"'):
        match_all(["x.mp4", "x.webm"], ["x"])
    with pytest.raises(DataError, match='"a/x" and "b/x" may both mean "x"'):
        match_all(["a/x", "b/x"], ["x"])
    assert list(match_all(["x", "old/x"], ["x"])) == ["x"]


@pytest.fixture
def packed(tmp_path):
    """Packs clips of these ids with captions of this text; the store and the summary."""

    def make(ids, text, name="c.csv", **options):
        clips = tmp_path / "clips"
        for clip in ids:
            path = clips / f"{clip}.npz"
            path.parent.mkdir(parents=True, exist_ok=True)
            np.savez(
                path,
                regions=np.ones((1, 4), np.float32),
                boxes=np.array([[0, 0, 5, 5]], np.float32),
                image_h=10,
                image_w=10,
                actions=np.ones((1, 3), np.float32),
            )
        (tmp_path / name).write_text(text, encoding="utf-8")
        summary = pack(PackOptions([clips], tmp_path / "s", [tmp_path / name], **options))
        store = FeatureStore(tmp_path / "s")
        return {store[number].id: store[number].captions for number in range(len(store))}, summary

    return make


def test_captions_are_counted_by_the_rule_that_matched_them(packed):
    text = "a,by id\nb.mp4,by ending\nclips/c.mp4,by path\nE,by case\nf,none\n"
    text += f"{DECOMPOSED},by form\n"
    captions, summary = packed(["a", "b", "c", COMPOSED, "e"], text)
    assert captions["b"] == ["by ending"] and captions[COMPOSED] == ["by form"]
    told = {what: (tally.count, tally.names) for what, tally in summary.tallies.items()}
    assert told == {
        "captions matched by id": (1, []),
        "captions matched by Unicode normalisation": (1, [DECOMPOSED]),
        "captions matched after dropping the file's ending": (1, ["b.mp4"]),
        "captions matched by the end of its path": (1, ["clips/c.mp4"]),
        "captions matched ignoring upper and lower case": (1, ["E"]),
        "clips or videos whose captions were not used": (1, ["f"]),
    }


def test_a_caption_without_times_belongs_to_all_pieces_of_its_video(packed):
    captions, summary = packed(["v_0_2.5", "v_2.5_5", "w_00", "w_01", "x"], "v.mp4,one\nw,two\n")
    assert captions == {
        **{"v_0_2.5": ["one"], "v_2.5_5": ["one"], "w_00": ["two"], "w_01": ["two"]},
        "x": [],
    }
    tally = summary.tallies["captions of whole videos, given to all clips of them"]
    assert (tally.count, tally.names) == (2, ["v.mp4", "w"])


def test_narrations_find_their_videos_by_the_same_rules(packed):
    text = json.dumps({"v.mp4": {"start": [0, 3], "end": [2, 4], "text": ["one", "two"]}})
    captions, _ = packed(["v_0_2", "v_2_5"], text, "h.json")
    assert captions == {"v_0_2": ["one"], "v_2_5": ["two"]}


@pytest.mark.parametrize(
    "text, reason",
    [
        ("q1,one\nq2,two\n", 'Captions name "q1", "q2", ...; clips are called "clip1"'),
        ("clip9,one\n", 'The nearest to "clip9" is "clip'),
        ("one,clip1\ntwo,clip2\n", "seem to be in another column: write a header line"),
        ("a man, cooking,clip1\n", "seem to be in another column"),
        ("0,clip1,a man\n1,clip2,a dog\n", "seem to be in another column"),
        (
            '{"w": {"start": [0], "end": [1], "text": ["one"]}}',
            "the spans of the clips in them are not known",
        ),
        (
            '{"database": {"w": {"annotation": [{"segment": [0, 1], "label": "cut"}]}}}',
            "looks like the annotation of COIN",
        ),
        ('{"database": {"w": {"subset": "testing"}}}', "holds no captions"),
        ("", "is empty"),
        ("clip,caption\n", "holds no captions"),
    ],
)
def test_captions_that_fit_no_clip_are_refused_with_a_reason(packed, tmp_path, text, reason):
    with pytest.raises(DataError, match=reason) as caught:
        packed(["clip1", "clip2", "w_00"], text, "c.txt")
    assert "c.txt" in str(caught.value) and not (tmp_path / "s").exists()


def store_of_pieces(path, **changes):
    pieces = {"video": "film", "captions": [], "times": [], "span": None, **changes}
    write(path, [make_clip(number, name, **pieces) for number, name in enumerate("pq")])
    return path


def test_a_store_knows_the_videos_of_its_clips(tmp_path):
    source = store_of_pieces(tmp_path / "a")
    (tmp_path / "c.csv").write_text("film.mp4,one\n")
    pack(PackOptions([source], tmp_path / "b", [tmp_path / "c.csv"]))
    store = FeatureStore(tmp_path / "b")
    assert [store[number].captions for number in (0, 1)] == [["one"], ["one"]]
    (tmp_path / "n.csv").write_text("video,start,end,caption\nfilm,0,1,one\n")
    with pytest.raises(DataError, match="the spans of the clips in them are not known"):
        pack(PackOptions([source], tmp_path / "c", [tmp_path / "n.csv"]))
    source = store_of_pieces(tmp_path / "d", span=(0.5, 2.0))
    pack(PackOptions([source], tmp_path / "e", [tmp_path / "n.csv"]))
    assert FeatureStore(tmp_path / "e")[0].captions == ["one"]


def test_ambiguous_names_are_refused_with_their_file(packed):
    with pytest.raises(DataError, match=r'c\.csv: "x" may mean "a/x" or "b/x"'):
        packed(["a/x", "b/x"], "x,one\n")


def test_names_of_two_files_are_not_taken_for_one_clip(packed):
    with pytest.raises(DataError, match=r'"d/x.mp4" and "e/x.mp4" may both mean "x"'):
        packed(["x", "y"], "d/x.mp4,one\ne/x.mp4,two\n")
    captions, summary = packed(["x", "y"], "x,one\ne/x.mp4,another\ny.mp4,two\nf/y.mp4,three\n")
    assert captions == {"x": ["one"], "y": ["two", "three"]}
    unused = summary.tallies["clips or videos whose captions were not used"]
    assert unused.names == ["e/x.mp4"]


def test_a_file_of_places_alone_is_no_caption_file(packed):
    captions, _ = packed(["x"], '{"clip": "x", "video": "v", "start": 1, "end": 2}\n')
    assert captions == {"x": []}


def test_wrong_entries_are_named_and_skipped_like_clips(packed, tmp_path):
    entry = {"start": [0, 3, 4, 5], "end": [2, 1, 5, 6], "text": ["one", "back", None, "two"]}
    text = json.dumps({"v": entry, "w": {"start": [1], "end": [], "text": []}})
    with pytest.raises(DataError, match=r'video "v": entry 1: begins at 3 s.*\n--skip_bad N'):
        packed(["v", "w"], text, "h.json")
    captions, summary = packed(["v", "w"], text, "h.json", skip_bad=2)
    assert captions == {"v": ["one", "two"], "w": []}
    assert summary.tallies["invalid entries of captions, left out"].count == 2
    assert summary.tallies["entries without text (silences)"].count == 1
    listed = (tmp_path / "s.skipped.jsonl").read_text().splitlines()
    assert len(listed) == 2 and 'video \\"w\\": start, end and text have 1, 0, 0' in listed[1]


def test_json_lines_with_other_keys(packed):
    captions, _ = packed(
        ["a", "b"], '{"video_id": "a", "sentence": "x"}\n{"id": "b", "text": "y"}\n'
    )
    assert captions == {"a": ["x"], "b": ["y"]}


@pytest.mark.parametrize(
    "text, message",
    [
        ('{"img": "a", "caption": "x"}\n', "none of the keys img, caption names the clip"),
        ('{"clip": "a", "title": "x"}\n', 'line 1: has no "caption", but title'),
        ('{"clip": "a", "caption": "x"}\n{"caption": "y"}\n', 'line 2: has no "clip"'),
    ],
)
def test_json_lines_that_lack_a_key_name_it(packed, text, message):
    with pytest.raises(DataError, match=message):
        packed(["a"], text, "c.jsonl")


def test_a_clip_in_a_list_of_places_may_have_an_ending(tmp_path):
    (tmp_path / "n.csv").write_text("start,end,text\n0,2,one\n2,4,two\n")
    (tmp_path / "p.jsonl").write_text('{"clip": "c.mp4", "video": "n", "start": 2, "end": 3}\n')
    book = CaptionBook([tmp_path / "n.csv", tmp_path / "p.jsonl"])
    match_names(book, [("c", "", None)])
    assert book.captions("c") == [("two", (2.0, 4.0))]
