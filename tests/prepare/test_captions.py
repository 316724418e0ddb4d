"""Captions of every kind of file, and which clip each belongs to."""

import json
import os

import pytest

from paddlevideo.loader.captions import files as caption_files
from paddlevideo.loader.captions import json_stream
from paddlevideo.loader.captions.bank import open_bank
from paddlevideo.loader.captions.files import kind_of, read_lines
from paddlevideo.loader.captions.json_stream import json_entries
from paddlevideo.prepare.caption_book import CaptionBook, SeenIds
from paddlevideo.utils.errors import DataError
from paddlevideo.utils.printable import Tally

FILES = {
    "clip,caption": ("c.csv", "v1,a man, cooking\nv2,a dog\n"),
    "MSR-VTT": (
        "m.json",
        json.dumps(
            {
                "info": {"year": 2016},
                "videos": [{"video_id": "v1"}],
                "sentences": [
                    {"video_id": "v1", "caption": "a man, cooking", "sen_id": 0},
                    {"video_id": "v2", "caption": "a dog", "sen_id": 1},
                ],
            }
        ),
    ),
    "HowTo100M": (
        "h.json",
        json.dumps(
            {
                "v1": {"start": [0.0], "end": [2.5], "text": ["a man, cooking"]},
                "v2": {"start": [1, 2], "end": [2, 3], "text": ["a dog", float("nan")]},
            }
        ),
    ),
    "narration": ("v1.csv", 'start,end,text\n0.0,2.5,"a man, cooking"\n3,4,\n'),
    "YouCook2": (
        "y.json",
        json.dumps(
            {
                "database": {
                    "v1": {"annotations": [{"segment": [0, 2], "sentence": "a man, cooking"}]},
                    "v9": {"subset": "testing"},
                }
            }
        ),
    ),
    "clips.json": (
        "l.json",
        json.dumps(
            [{"clip": "v1", "video": "w", "start": 1, "end": 2, "caption": "a man, cooking"}]
        ),
    ),
    "JSON lines": (
        "j.jsonl",
        '{"clip": "v1", "caption": "a man, cooking"}\n\n{"clip": "v2", "caption": "a dog"}\n',
    ),
}


@pytest.mark.parametrize("kind", FILES)
def test_a_kind_is_told_by_its_content(tmp_path, kind):
    name, text = FILES[kind]
    path = tmp_path / name
    path.write_text(text)
    assert kind_of(path)[0] == kind
    lines = list(read_lines(path))
    assert (lines[0].name, lines[0].text) == ("v1", "a man, cooking")
    assert lines[0].is_video == (kind in ("HowTo100M", "narration", "YouCook2"))
    assert len(lines) <= 2


def test_a_folder_of_narrations(tmp_path):
    for name in ("v1", "v2"):
        (tmp_path / f"{name}.csv").write_text(f"start,end,text\n1,2,words of {name}\n")
    (tmp_path / "._v1.csv").write_bytes(b"\0\5\26\7 Mac OS X")
    assert [(line.name, line.text) for line in read_lines(tmp_path)] == [
        ("v1", "words of v1"),
        ("v2", "words of v2"),
    ]


def test_what_a_folder_of_narrations_holds_besides_is_counted(tmp_path, caplog):
    (tmp_path / "v1.csv").write_text("start,end,text\n1,2,words\n")
    (tmp_path / "v2.csv.gz").write_bytes(b"")
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "v3.csv").write_text("start,end,text\n1,2,words\n")
    assert [line.name for line in read_lines(tmp_path)] == ["v1"]
    assert "2 other files left out: .csv 1, .gz 1" in caplog.text


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "is empty"),
        (b"just words\n", "holds no captions of a known kind"),
        (b"{}", "no entries"),
        (b'{"a": 1}', "the first entry is"),
        (b'[{"clip": "a", "caption": 3}]', "caption is 3"),
        (b'{"clip": "a", "caption": "b"}\n{"clip"', "line 2: is not JSON"),
        (b'{"v": {"start": [1], "end": [], "text": []}}', "have 1, 0, 0 entries"),
        (b'{"v": {"start": [3], "end": [1], "text": ["x"]}}', "begins at 3 s, but ends at 1 s"),
        ("v1,Käse\n".encode("latin-1"), "cannot be read as UTF-8"),
        (b'{"v": {"start": [1], "end": [2], "text": ["x"]}', "is not valid JSON"),
        (b'{"v": {"start": [1], "end": [2], "text": ["x"]}} {"w"', "content after its end"),
        (b"[] x", "content after its end"),
        (b'[{"clip": "a", "caption": "\\ud800"}]', "entry 0: .* holds half of a character"),
        (b'{"clip": "a\\udc00", "caption": "b"}', "line 1: .* holds half of a character"),
        (b'{"\\ud800": {"start": [1], "end": [2], "text": ["x"]}}', "holds half of a character"),
        (b'{"database": {"v": "x"}}', "video \"v\": expected an object, got 'x'"),
        (b'{"clip": "a", "x": ' + b"[" * 30_000 + b"]" * 30_000 + b"}", "line 1: is not JSON"),
        (b"[" * 30_000 + b"]" * 30_000, "is not valid JSON"),
        (b'{"clip": "a", "end": 1, "start": 1' + b"0" * 400 + b"}", "expected seconds, got 10"),
        (b'{"clip": "a", "start": 1' + b"0" * 5000 + b"}", "line 1: is not JSON"),
        (b'[{"clip": "a", "start": 1' + b"0" * 5000 + b"}]", "is not valid JSON"),
        (b"a,one\nb," + b"x" * 140_000, "line 2: is not CSV"),
        (b"start,end,text\n1,2,a\n,3,b\n", "line 3: expected seconds, got ''"),
        (b"start,end,text\n1,2,a\nStart,End,b\n", "line 3: expected seconds, got 'Start'"),
        (b"start,end,text\n1,2,a\nb\n", "line 3: .* is not a start, an end and a text"),
    ],
)
def test_a_damaged_file_is_one_clear_error(tmp_path, content, message):
    path = tmp_path / "captions"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        list(read_lines(path))
    assert str(path) in str(caught.value)


def test_a_stray_quote_swallows_no_narration(tmp_path):
    path = tmp_path / "v1.csv"
    path.write_text('start,end,text\n1,2,"so\n2,3,a dog\n\n,,\n3,4,"yes, a ""dog"""\n')
    assert [line.text for line in read_lines(path)] == ["so", "a dog", 'yes, a "dog"']


def test_only_newlines_end_a_line(tmp_path):
    path = tmp_path / "c.csv"
    path.write_text("v1,a\u2028man\r\nv2,a\x0cdog\x85 runs\n", encoding="utf-8", newline="")
    assert [line.text for line in read_lines(path)] == ["a\u2028man", "a\x0cdog\x85 runs"]


def test_the_first_json_line_may_be_long(tmp_path):
    path = tmp_path / "c.jsonl"
    path.write_text(json.dumps({"caption": "a" * 100_000, "clip": "v1"}) + '\n{"clip": "v2"}\n')
    assert [line.name for line in read_lines(path)] == ["v1", "v2"]


def test_a_pipe_is_refused_before_it_is_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="pipe: is not a regular file"):
        list(read_lines(tmp_path / "pipe"))


def test_a_list_of_captions_is_checked_for_half_characters(tmp_path):
    path = tmp_path / "list.json"
    path.write_text('["a dog", "\\ud800"]')
    with pytest.raises(DataError, match="caption 1: .* holds half of a character"):
        open_bank(str(path))


def test_a_clip_of_two_videos_is_refused(tmp_path):
    path = tmp_path / "c.jsonl"
    path.write_text('{"clip": "c", "video": "v"}\n{"clip": "c"}\n{"clip": "c", "video": "w"}\n')
    with pytest.raises(DataError, match='clip "c": belongs to video "w", but to "v"'):
        CaptionBook([path])


def test_an_id_that_ends_in_numbers_may_be_a_video(tmp_path):
    path = tmp_path / "h.json"
    texts = {"start": [0, 10], "end": [10, 20], "text": ["first", "second"]}
    path.write_text(json.dumps({"tube_1_2": texts, "film": texts}))
    book = CaptionBook([path])
    assert book.location("tube_1_2") == ("tube_1_2", None)
    assert [text for text, _ in book.captions("tube_1_2")] == ["first", "second"]
    assert book.location("film_1_2") == ("film", (1.0, 2.0))


def test_captions_of_a_video_go_to_the_clips_that_overlap_them(tmp_path):
    path = tmp_path / "h.json"
    texts = {"start": [0, 10, 20], "end": [10, 20, 30], "text": ["first", "second", "third"]}
    path.write_text(json.dumps({"v_1": texts, "nobody": texts}))
    book = CaptionBook([path])
    assert [text for text, _ in book.captions("v_1_5_12")] == ["first", "second"]
    assert book.captions("v_1_10_20") == [("second", (10.0, 20.0))]
    assert book.location("v_1_5_12") == ("v_1", (5.0, 12.0))
    assert [text for text, _ in book.captions("v_1")] == ["first", "second", "third"]
    assert book.captions("absent") == []
    assert book.unused() == Tally(1, ["nobody"])


def test_captions_beside_all_clips_of_their_video_are_counted(tmp_path):
    path = tmp_path / "c.csv"
    path.write_text("video,start,end,caption\nv,0,5,in\nv,4,9,in too\nv,20,25,late\nother,0,5,x\n")
    book = CaptionBook([path])
    for clip in ("v_0_5", "v_5_10"):
        book.captions(clip)
    assert book.report()["captions of videos at times that no clip covers"] == Tally(1)


def test_a_clips_own_place_comes_before_its_id(tmp_path):
    spoken = tmp_path / "v.csv"
    spoken.write_text("start,end,text\n0,5,early\n5,9,late\n")
    places = tmp_path / "places.jsonl"
    places.write_text('{"clip": "clip7", "video": "v", "start": 6, "end": 8}\n')
    book = CaptionBook([spoken, places])
    assert book.captions("clip7") == [("late", (5.0, 9.0))]


def test_equal_captions_of_a_clip_count_once(tmp_path):
    path = tmp_path / "c.csv"
    path.write_text("v1,a dog\nv1,a dog\nv1,a cat\n")
    assert [text for text, _ in CaptionBook([path]).captions("v1")] == ["a dog", "a cat"]


def test_ids_are_met_once():
    seen = SeenIds()
    seen.add_old([b"x" * 16])
    assert [seen.add(key) for key in (b"x" * 16, b"x" * 16, b"y" * 16, b"y" * 16)] == [
        *("old", "again", "new", "again")
    ]


@pytest.mark.parametrize("chunk", [1, 3, 7, 1 << 20])
def test_json_is_read_in_pieces(tmp_path, monkeypatch, chunk):
    monkeypatch.setattr(json_stream, "CHUNK", chunk)
    value = {"a": [1, {"b": 'x,]}\\" ä'}], "c": 12345, "d": None, "": "e" * 50}
    path = tmp_path / "x.json"
    path.write_text(json.dumps(value, indent=1), encoding="utf-8")
    assert dict(json_entries(path)) == value
    path.write_text(json.dumps(list(value.values())))
    assert [item for _, item in json_entries(path)] == list(value.values())
    path.write_text("[ ]")
    assert list(json_entries(path)) == []


def test_every_kind_is_listed_for_who_asks():
    for word in ("MSRVTT_data.json", "caption.json", "youcookii", "JSON lines", "start,end,text"):
        assert word in caption_files.KINDS
