"""The video of a clip is found where extraction found it, and its frame is that of its seconds."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from paddlevideo.report.clip_pictures import ClipPictures
from paddlevideo.report.clip_videos import ClipVideos, Origin, Shot
from paddlevideo.utils.errors import DataError


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


@pytest.mark.parametrize(
    ("file", "clip"),
    [
        ("a.mp4", "a"),
        ("CLIP.MP4", "CLIP"),
        ("a.ts", "a"),
        ("a.f4v", "a"),
        ("a", "a"),
        ("a.JPG", "a"),
        ("sub/cook/a.webm", "sub/cook/a"),
        ("sub/cook/a.webm", "a"),
        ("a.mp4", "a.mp4"),  # where two files differ in their endings alone, ids have these
        ("10:30.webm", "10:30"),
        ("a.b.mkv", "a.b"),
        ("cafe\u0301.mp4", "caf\u00e9"),  # as macOS writes it
        ("caf\udce9.mp4", "caf\\xe9"),  # in Latin-1, and as extraction calls it
    ],
)
def test_a_clip_is_found_by_its_id(tmp_path, file, clip):
    found = ClipVideos(touch(tmp_path, file)).find(Origin(clip))
    assert found == Shot(tmp_path / file)


@pytest.mark.parametrize(
    ("origin", "span"),
    [
        (Origin("sub/p_2_4.5"), (2, 4.5)),
        (Origin("p_2_4.5"), (2, 4.5)),
        (Origin("own name", video="p", span=(1, 3)), (1, 3)),
        (Origin("own name", video="sub/p", span=(1, 3)), (1, 3)),
        (Origin("p_7", video="sub/p", span=(7, 9)), (7, 9)),
        (Origin("own name", source="/far/away/sub/p.webm", span=(1, 3)), (1, 3)),
        (Origin("own name", source="/far/away/p.webm", span=(1, 3)), (1, 3)),
        (Origin("p", source="/far/away/p.mp4", span=(1, 3)), (1, 3)),  # encoded anew
        (Origin("own name", source="/far/away/sub/p.webm"), None),
    ],
)
def test_a_piece_is_found_in_its_video(tmp_path, origin, span):
    videos = ClipVideos(touch(tmp_path, "sub/p.webm", "other.mp4"))
    assert videos.find(origin) == Shot(tmp_path / "sub" / "p.webm", span)


def test_the_file_that_the_record_names_comes_first(tmp_path):
    source = touch(tmp_path, "first/a.mp4") / "first" / "a.mp4"
    origin = Origin("a", source=str(source), span=(1, 2))
    assert ClipVideos().find(origin) == Shot(source, (1, 2))
    assert ClipVideos(touch(tmp_path / "moved", "a.mp4")).find(origin) == Shot(source, (1, 2))
    source.unlink()
    assert ClipVideos().find(origin) is None
    moved = Shot(tmp_path / "moved" / "a.mp4", (1, 2))
    assert ClipVideos(tmp_path / "moved").find(origin) == moved


def test_a_piece_that_was_cut_out_is_shown_whole(tmp_path):
    folder = touch(tmp_path, "p_2_4.mp4", "p.mp4")
    origin = Origin("p_2_4", video="p", source="/far/p.mkv", span=(2, 4))
    assert ClipVideos(folder).find(origin) == Shot(folder / "p_2_4.mp4")


def test_of_several_files_the_best_is_taken_and_a_wrong_one_never(tmp_path):
    folder = touch(tmp_path, "a.jpg", "a.txt", "x/a.mp4", "a.webm", "x/b.mp4", "y/b.mp4", ".c.mp4")
    videos = ClipVideos(folder)
    assert videos.find(Origin("a")) == Shot(folder / "a.webm")
    assert videos.find(Origin("x/a")) == Shot(folder / "x" / "a.mp4")
    assert videos.find(Origin("b")) is None  # either of two
    for name in ("c", "", "..", "../a", "/etc/passwd", "a\0", "\ud83d", "n" * 5000):
        assert videos.find(Origin(name)) is None
    assert videos.find(Origin("q", source="../a.jpg")) == Shot(folder / "a.jpg")


def test_a_missing_folder_is_explained(tmp_path):
    with pytest.raises(DataError, match="no such folder of videos"):
        ClipVideos(tmp_path / "absent")


# ------------------------------------------------------------------------------- frames


def grey_video(path: Path, levels, codec: str = "VP80", rate: float = 10) -> Path:
    from tests.extract.samples import write_video

    return write_video(
        path, [np.full((48, 64, 3), level, np.uint8) for level in levels], codec, rate
    )


def level_of(path: Path, span=None) -> int:
    from paddlevideo.report.thumbnails import frame_of

    return int(frame_of(Shot(path, span))[24, 32, 0])


def test_the_frame_is_that_in_the_middle_of_the_span(tmp_path):
    pytest.importorskip("cv2")
    path = grey_video(tmp_path / "a.avi", range(20, 220, 20), "MJPG")
    assert level_of(path) == pytest.approx(120, abs=4)
    assert level_of(path, (0.0, 0.3)) == pytest.approx(40, abs=4)
    assert level_of(path, (0.6, 0.9)) == pytest.approx(160, abs=4)
    assert level_of(path, (50, 60)) == pytest.approx(200, abs=4)  # beyond its end: the last


def without_duration(data: bytes) -> bytes:
    """A WebM file as a live recording leaves it: its head does not say how long it is."""
    place = data.index(b"\x44\x89\x88")
    return data[:place] + b"\xec\x89" + bytes(9) + data[place + 11 :]


def with_times(data: bytes, times) -> bytes:
    """A WebM file of one cluster whose blocks have other times, in milliseconds."""
    changed, place = bytearray(data), data.index(b"\x1f\x43\xb6\x75")
    for time in times:
        while (
            changed[place] != 0xA3
            or not (size := changed[place + 1]) > 0
            or (changed[place + 1 + _vint(size)] != 0x81)
        ):
            place += 1
        place += 1 + _vint(size)
        changed[place + 1 : place + 3] = time.to_bytes(2, "big")
    return bytes(changed)


def _vint(first: int) -> int:
    """The length of a number of EBML, by its first byte."""
    return 9 - first.bit_length()


def test_a_live_recording_is_shown_by_its_middle(tmp_path):
    import cv2

    path = grey_video(tmp_path / "a.webm", range(20, 220, 20))
    path.write_bytes(without_duration(path.read_bytes()))
    assert cv2.VideoCapture(str(path)).get(cv2.CAP_PROP_FRAME_COUNT) <= 0
    assert level_of(path) == pytest.approx(120, abs=6)


def test_seconds_are_those_of_the_time_stamps(tmp_path):
    path = grey_video(tmp_path / "a.webm", range(20, 220, 20))
    times = [0, 10, 20, 30, 40, 50, 60, 70, 500, 900]  # a still of 0.4 s, where frames are rare
    path.write_bytes(with_times(path.read_bytes(), times))
    assert level_of(path, (0.2, 0.6)) == pytest.approx(160, abs=6)
    assert level_of(path, (0.5, 0.7)) == pytest.approx(180, abs=6)
    assert level_of(path, (0.01, 0.03)) == pytest.approx(60, abs=6)


def test_late_seconds_of_a_long_video(tmp_path):
    path = grey_video(tmp_path / "a.mp4", [*[50] * 70, 150, 200, 250], "mp4v", 1)
    assert level_of(path, (70.2, 70.6)) == pytest.approx(150, abs=6)
    assert level_of(path, (71.2, 71.6)) == pytest.approx(200, abs=6)


def test_a_name_that_is_not_utf8_is_no_trouble(tmp_path):
    path = grey_video(tmp_path / "a.webm", range(20, 220, 20))
    strange = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.webm"))
    path.rename(strange)
    assert level_of(strange) == pytest.approx(120, abs=6)


def test_pictures_are_made_once_and_failures_counted(tmp_path):
    pytest.importorskip("cv2")
    (tmp_path / "bad.mp4").write_bytes(b"<html>")
    (tmp_path / "empty.png").touch()
    grey_video(tmp_path / "good.avi", [100], "MJPG")
    from paddlevideo.report.thumbnails import frame_of

    pictures = ClipPictures(tmp_path)
    made = [pictures.read(name, frame_of) for name in ("bad", "good", "empty", "absent", "bad")]
    assert [picture is not None for picture in made] == [False, True, False, False, False]
    unreadable, absent = pictures.remarks()
    assert unreadable.startswith("2 of 4 clips have no picture: ") and "bad.mp4" in unreadable
    assert absent.startswith("1 of 4 clips: no file in ") and '"absent.mp4"' in absent


def crashing(shot: Shot) -> bytes:
    """Reads a clip, but for one as a decoder that crashes."""
    if shot.path.stem == "crash":
        os.abort()
    return shot.path.read_bytes()


def test_a_crash_of_a_decoder_costs_one_picture(tmp_path):
    for name in ("a", "crash", "b"):
        (tmp_path / f"{name}.mp4").write_text(name)
    pictures = ClipPictures(tmp_path)
    made = [pictures.read(name, crashing) for name in ("a", "crash", "b", "crash")]
    assert made == [b"a", None, b"b", None]
    (line,) = pictures.remarks()
    assert "1 of 3 clips have no picture: " in line and "crash.mp4: crashes its decoder" in line


def test_a_search_page_says_which_files_browsers_do_not_play(tmp_path):
    from paddlevideo.report import Hit, write_search_page

    pytest.importorskip("cv2")
    grey_video(tmp_path / "old.avi", [100] * 3, "MJPG")
    (tmp_path / "still.png").write_bytes(b"damaged")
    lines = write_search_page(
        tmp_path / "x.html",
        {"a <dog>": [Hit("old", -1.5, ["<b>"] * 5), Hit("still", -2)]},
        tmp_path,
    )
    text = (tmp_path / "x.html").read_text("utf-8")
    assert "do not play .avi files" in text and "-1.50" in text and "and 2 more" in text
    assert "<video" not in text and "data:image/jpeg;base64," in text
    assert "1 of 2 clips have no picture: " in lines[0] and lines[0] in text.replace("&#x27;", "'")
    assert "<b>" not in text and "a &lt;dog&gt;" in text
