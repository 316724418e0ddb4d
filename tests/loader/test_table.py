"""The one reader of CSV files: separators, encodings, headers, quotes, lines of other lengths."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from paddlevideo.extract.videos import each_row, read_videos
from paddlevideo.loader.captions import read_captions, read_lines
from paddlevideo.loader.captions.table import Table
from paddlevideo.utils.errors import DataError

EXPECTED = [("a", "one, two"), ("b", "three")]
ALIKE = {
    "header": b'clip,caption\na,"one, two"\nb,three\n',
    "blanks after commas": b'video_id, caption\na, "one, two"\nb, three\n',
    "blanks, no quotes": b"video_id, caption\na, one, two\nb, three\n",
    "words": b'Video ID,Caption\na,"one, two"\nb,three\n',
    "capitals": b'Filename,Sentence\na,"one, two"\nb,three\n',
    "quoted header": b'"id","text"\na,"one, two"\nb,three\n',
    "other columns": b'n,image_id,caption,split\n0,a,"one, two",x\n1,b,three,x\n',
    "commas in the middle": b"id,caption,split\na,one, two,x\nb,three,x\n",
    "caption first": b"caption,id\none, two,a\nthree,b\n",
    "semicolons": b"video;caption\na;one, two\nb;three\n",
    "semicolons, no header": b"a;one, two\nb;three\n",
    "tabs": b"video_id\tsentence\na\tone, two\nb\tthree\n",
    "tabs, no header": b"a\tone, two\nb\tthree\n",
    "separator named": b"sep=;\nclip;caption\na;one, two\nb;three\n",
    "Windows": b'\xef\xbb\xbfclip,caption\r\na,"one, two"\r\n\r\nb,three\r\n',
    "UTF-16": "clip\tcaption\r\na\tone, two\r\nb\tthree\r\n".encode("utf-16"),
    "empty rows": b'clip,caption\n,\na,"one, two"\n  \n,,,\nb,three\n',
    "empty columns": b'clip,caption,,\na,"one, two",,\nb,three,,\n',
}


@pytest.mark.parametrize("name", ALIKE)
def test_spellings_of_one_table(tmp_path, name):
    path = tmp_path / "c.csv"
    path.write_bytes(ALIKE[name])
    assert read_captions(str(path)) == EXPECTED
    assert [(line.name, line.text) for line in read_lines(path)] == EXPECTED


@pytest.mark.parametrize(
    "content, message",
    [
        (b"clip,caption,Caption \na,b,c\n", 'line 1: 2 columns are called "caption"'),
        (b"clip,caption\na,one\nb\n", "line 3: .* is not a clip id"),
        ("a,one\nb,Käse\n".encode("latin-1"), "line 2: cannot be read as UTF-8 .* iconv"),
        ("clip,caption\na,one\n".encode("utf-16-le"), "line 1: holds NUL bytes"),
        (b"clip,caption\n", "holds no captions"),
        (b"a," + b"x" * 140_000, "line 1: is not CSV"),
        (b"clip,caption,start,end\na,one,3,1\n", "line 2: begins at 3 s, but ends at 1 s"),
    ],
)
def test_what_cannot_be_read_is_named_with_its_line(tmp_path, content, message):
    path = tmp_path / "c.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"c\.csv: .*{message}"):
        list(read_lines(path))


def test_a_quoted_field_may_hold_lines_below_a_header(tmp_path):
    path = tmp_path / "c.csv"
    path.write_text('clip,caption\na,"one\ntwo, three"\nb,"stray\nc,four\n')
    assert read_captions(str(path)) == [("a", "one\ntwo, three"), ("b", "stray"), ("c", "four")]
    assert [row.where[-6:] for row in Table(path, lambda names: "clip" in names)] == [
        *("line 2", "line 4", "line 5")
    ]


def test_captions_of_a_table_have_times(tmp_path):
    path = tmp_path / "c.csv"
    path.write_text("video,clip,start,end,caption\nv,c,1,2,one\nv,,3,4,two\nw,,,,three\n")
    lines = [(line.name, line.span, line.is_video) for line in read_lines(path)]
    assert lines == [("c", (1, 2), False), ("v", (3, 4), True), ("w", None, False)]


VIDEOS = {
    "blanks": 'video, clip, start, end, caption\na.mp4, x, 0, 1, "one, two"\n',
    "semicolons": "video;clip;start;end;caption\na.mp4;x;0;1;one, two\n",
    "tabs": "Video\tClip\tStart\tEnd\tCaption\r\na.mp4\tx\t0\t1\tone, two\r\n",
    "empty row": 'video,clip,start,end,caption\n,,,,\na.mp4,x,0,1,"one, two"\n',
}


@pytest.mark.parametrize("name", VIDEOS)
def test_a_list_of_videos_is_read_by_the_same_rules(tmp_path, name):
    path = tmp_path / "list.csv"
    path.write_text(VIDEOS[name], encoding="utf-16" if name == "tabs" else "utf-8", newline="")
    ((video, row),) = each_row(read_videos(path))
    assert (video.id, row.clip, row.start, row.end) == ("a.mp4", "x", 0, 1)
    assert row.captions == ["one, two"]


@pytest.mark.parametrize(
    "text, message",
    [
        ("video,clip,video\na.mp4,b,c.mp4\n", 'line 1: 2 columns are called "video"'),
        ('video,caption\na.mp4,x\nb.mp4,"y\nc.mp4,z\n', "line 3: .* in this line is not closed"),
        ('video,caption\na.mp4,"x\ny"\nb.mp4,"y"z\n', "line 4: is not CSV"),
        ("video,caption\na.mp4,one, two\n", "line 2: has more columns than the header"),
    ],
)
def test_a_mistake_in_a_list_of_videos_is_named_with_its_line(tmp_path, text, message):
    path = tmp_path / "list.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=rf"list\.csv: {message}"):
        read_videos(path)


def test_there_is_one_reader_of_csv_files():
    root = Path(__file__).parents[2]
    files = [
        root / "main.py",
        *(root / "paddlevideo").rglob("*.py"),
        *(root / "tools").rglob("*.py"),
    ]
    readers = [path.name for path in files if re.search(r"csv\.(Dict)?[rR]eader", path.read_text())]
    assert readers == ["table.py"]


def test_a_column_without_a_name_is_not_the_clip(tmp_path):
    path = tmp_path / "c.csv"
    path.write_text(",video_id,caption\n0,a,one\n1,b,two\n")  # as pandas writes it
    assert read_captions(str(path)) == [("a", "one"), ("b", "two")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("videoid,url,name\na,http,one\n", "line 1: looks like a header .* the caption"),
        ("\nmovie,start,sentence\na,0,one\n", "line 2: looks like a header .* the clip"),
        ("video_id,caption_1,caption_2\na,one,two\n", "line 1: looks like a header .* caption"),
        ("a\t0:00:01\t0:00:02\tone\n", "line 1: has 4 columns and no header"),
        ("video,start,caption\na,3,one\n", "line 2: has a start but no end"),
    ],
)
def test_no_column_becomes_part_of_the_caption_or_is_lost(tmp_path, text, message):
    path = tmp_path / "c.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        read_captions(str(path))


@pytest.mark.parametrize(
    "text",
    [
        "video,start_time,end_time,caption\nv,1.5,3,one\n",
        "video;begin;stop;caption\nv;1.5;3;one\n",
        '{"video": "v", "start_sec": 1.5, "end_sec": 3, "caption": "one"}\n',
    ],
)
def test_times_have_several_names(tmp_path, text):
    path = tmp_path / "c"
    path.write_text(text)
    (line,) = read_lines(path)
    assert (line.name, line.span, line.is_video) == ("v", (1.5, 3.0), True)
