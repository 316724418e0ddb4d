"""Lists of videos: folders, text files, CSVs; and what is wrong with them."""

import os

import pytest

from paddlevideo.extract.videos import each_row, read_videos
from paddlevideo.utils.errors import DataError


def touched(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def named(videos):
    return [(video.id, row.clip) for video, row in each_row(videos)]


def listed(tmp_path, text, name="list.csv"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def test_a_folder_is_searched_and_sorted(tmp_path):
    touched(tmp_path, "b.mp4", "a/z.AVI", "a/note.txt", "c.webm", "c.mkv")
    found = read_videos(tmp_path)
    assert named(found) == [
        ("a/z.AVI", "a/z"),
        ("b.mp4", "b"),
        ("c.mkv", "c.mkv"),  # an ending alone tells these two apart
        ("c.webm", "c.webm"),
    ]
    assert found[0].path == tmp_path / "a/z.AVI"


def test_a_list_is_relative_to_its_folder(tmp_path):
    text = f"\ufeffx.mp4\n\nsub/y.avi\n{tmp_path}/z.mp4\n/elsewhere/w.mp4\n"
    found = read_videos(listed(tmp_path, text, "list.txt"))
    assert [video.id for video in found] == ["x.mp4", "sub/y.avi", "z.mp4", "elsewhere/w.mp4"]
    assert found[1].path == tmp_path / "sub/y.avi" and str(found[3].path) == "/elsewhere/w.mp4"


def test_one_video_is_a_list(tmp_path):
    touched(tmp_path, "x.mp4")
    assert named(read_videos(tmp_path / "x.mp4")) == [("x.mp4", "x")]


def test_a_csv_names_clips_and_captions(tmp_path):
    text = (
        "video,clip,start,end,caption\n"
        'a.mp4,,1,2.5,"one, two"\n'
        "b.mp4,mine,,,\n"
        "a.mp4,,1,2.5,again\n"
        "a.mp4,,4,,\n"
    )
    found = read_videos(listed(tmp_path, text))
    assert named(found) == [("a.mp4", "a_1_2.5"), ("a.mp4", "a_4"), ("b.mp4", "mine")]
    assert found[0].rows[0].captions == ["one, two", "again"]
    assert found[0].name == "a" and (found[0].rows[1].start, found[0].rows[1].end) == (4.0, None)


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "expected a header with the column video"),
        ("path\nx.mp4\n", "expected a header with the column video"),
        ("video,captoin\nx.mp4,b\n", 'unknown column "captoin". Did you mean "caption"'),
        ("video,colour\nx.mp4,b\n", "Known: video, clip, start, end, caption"),
        ("video\n", "names no video"),
        ("video,clip\n,b\n", "line 2: the column video is empty"),
        ("video,start\nx.mp4,soon\n", "line 2: start is 'soon', where seconds >= 0 are expected"),
        ("video,start\nx.mp4,-1\n", "start is '-1'"),
        ("video,end\nx.mp4,nan\n", "end is 'nan'"),
        ("video,start,end\nx.mp4,5,4\n", "ends at 4 s, but begins at 5 s"),
        ("video,clip\nx.mp4,a\ny.mp4,a\n", 'line 3: the clip "a" is in .* line 2 already'),
        ("video,caption\nx.mp4,a,b\n", "more columns than the header"),
        ('video,caption\nx.mp4,"a\n', "line 2: is not CSV .* not closed"),
    ],
)
def test_what_is_wrong_with_a_csv_is_named(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        read_videos(listed(tmp_path, text))


def test_what_is_wrong_with_a_list_is_named(tmp_path):
    with pytest.raises(DataError, match="no such file or folder"):
        read_videos(tmp_path / "none.txt")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="is a device or pipe"):
        read_videos(tmp_path / "pipe")
    with pytest.raises(DataError, match="line 3: ./a.mp4 is listed above already"):
        read_videos(listed(tmp_path, "a.mp4\n\n./a.mp4\n", "list.txt"))
    (tmp_path / "list.bin").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="is a text file in UTF-16 .* a list of them in UTF-8"):
        read_videos(tmp_path / "list.bin")
    with pytest.raises(DataError, match="is an HTML page .* a list of them"):
        read_videos(listed(tmp_path, "<!DOCTYPE html>\n<html></html>", "list.txt"))
    touched(tmp_path / "empty", "note.txt")
    with pytest.raises(DataError, match=r"holds no video, .*\n1 other file left out: .txt 1"):
        read_videos(tmp_path / "empty")


# ------------------------------------------------------------------------------ folders


def test_all_endings_that_ffmpeg_reads_are_taken_and_the_others_counted(tmp_path):
    videos = "a.mp4 b.3g2 c.gif d.divx e.F4V f.mxf g.m2v h.rmvb i.dv j.qt k.tod l.y4m m.ogm n.hevc"
    touched(tmp_path, *videos.split(), "a.json", "a.vtt", "b.vtt", "noending", "x.mp4.part")
    lines = []
    assert [video.id for video in read_videos(tmp_path, lines.append)] == videos.split()
    assert lines == ["5 other files left out: .vtt 2, .json 1, .part 1, no ending 1"]


@pytest.mark.parametrize(
    "name, head, is_taken",
    [
        ("x", b"\x1aE\xdf\xa3", True),
        ("x.bin", b"\0\0\0\x20ftypisom", True),
        ("x.dat", b"\x00\x00\x01\xba", True),
        ("Lecture 3. Limits", b"RIFF\0\0\0\0AVI LIST", True),
        ("10.5", b"GIF89a", True),
        ("stream", (b"\x47" + bytes(187)) * 5, True),
        ("camera", (bytes(4) + b"\x47" + bytes(187)) * 5, True),
        ("x.ogg", b"OggS" + bytes(24) + b"\x80theora", True),
        ("x.ogg", b"OggS" + bytes(24) + b"\x01vorbis", False),
        ("x.m4a", b"\0\0\0\x20ftypisom", False),
        ("x", b"\0\0\0\x20ftypM4A ", False),
        ("x", b"\0\0\0\x20ftypheic", False),
        ("x.mp4.part", b"\0\0\0\x20ftypisom", False),
        ("x", b"RIFF\0\0\0\0WAVEfmt ", False),
        ("G", b"G" * 20, False),
        ("x", b"", False),
    ],
)
def test_without_a_known_ending_the_first_bytes_decide(tmp_path, name, head, is_taken):
    touched(tmp_path, "a.mp4")
    (tmp_path / name).write_bytes(head)
    found = [video.name for video in read_videos(tmp_path)]
    stem = {"x.bin": "x", "x.dat": "x", "x.ogg": "x"}.get(name, name)
    assert found == sorted(["a", stem] if is_taken else ["a"])


def test_hidden_files_links_and_broken_links(tmp_path):
    folder = tmp_path / "v"
    touched(folder, "a.mp4", "._a.mp4", ".Trash/b.mp4", "__MACOSX/a.mp4")
    touched(tmp_path / "other", "c.mp4")
    (folder / "self").symlink_to(".")
    (folder / "b.mp4").symlink_to("a.mp4")
    (folder / "gone.mp4").symlink_to("nowhere")
    (folder / "more").symlink_to(tmp_path / "other")
    lines = []
    found = [video.id for video in read_videos(folder, lines.append)]
    assert found == ["a.mp4", "b.mp4", "gone.mp4", "more/c.mp4"], "gone.mp4 is reported as missing"
    assert lines == [
        "3 other files left out: hidden 3",
        "1 videos are links to others: each name is a clip of its own",
    ]


def test_a_name_that_is_not_utf8_has_an_id_that_is(tmp_path):
    path = tmp_path / os.fsdecode(b"caf\xe9.mp4")
    path.touch()
    for source in (tmp_path, path):
        (video,) = read_videos(source)
        assert (video.id, video.name, video.path) == (r"caf\xe9.mp4", r"caf\xe9", path)
