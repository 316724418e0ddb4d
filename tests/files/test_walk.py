"""The files below a folder: links, hidden files, and what is left out."""

import os

import pytest

from paddlevideo.files import walk as module
from paddlevideo.files.walk import walk
from paddlevideo.utils.errors import DataError


def touched(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return folder


def names(result):
    return [path.relative_to(result.folder).as_posix() for path in result.files]


def is_mp4(path):
    return path.suffix.lower() == ".mp4"


def test_files_are_sorted_by_path_and_others_counted_by_ending(tmp_path):
    touched(tmp_path, "b.mp4", "a/z.MP4", "a/y.gif", "c.GIF", "note", "x.txt")
    result = walk(tmp_path, is_mp4)
    assert names(result) == ["a/z.MP4", "b.mp4"]
    assert result.left_out() == ["4 other files left out: .gif 2, .txt 1, no ending 1"]


def test_hidden_files_and_what_systems_leave_behind_are_no_input(tmp_path):
    hidden = [".x.mp4", "._a.mp4", ".Trash/b.mp4", "__MACOSX/a.mp4", "Thumbs.db", "@eaDir/a.mp4"]
    touched(tmp_path, "a.mp4", *hidden, "$RECYCLE.BIN/c.mp4", "sub/.git/d.mp4", "desktop.ini")
    result = walk(tmp_path)
    assert names(result) == ["a.mp4"]
    assert result.left_out() == ["9 other files left out: hidden 9"]


def test_a_hidden_folder_that_is_asked_for_is_walked(tmp_path):
    assert names(walk(touched(tmp_path / ".cache", "a.mp4"))) == ["a.mp4"]


def test_each_real_folder_is_visited_once(tmp_path):
    folder = touched(tmp_path / "v", "b/x.mp4", "y.mp4")
    outside = touched(tmp_path / "outside", "z.mp4", "deep/w.mp4")
    (folder / "self").symlink_to(".")
    (folder / "b" / "up").symlink_to("..")
    (folder / "a").symlink_to("b")  # sorted before the real folder
    (folder / "first").symlink_to(outside)
    (folder / "second").symlink_to(outside / "deep")
    (outside / "back").symlink_to(folder)
    assert names(walk(folder)) == ["b/x.mp4", "first/deep/w.mp4", "first/z.mp4", "y.mp4"]
    (tmp_path / "link").symlink_to(folder)
    assert len(walk(tmp_path / "link").files) == 4


def test_links_to_files_are_files_and_broken_ones_are_named(tmp_path):
    touched(tmp_path, "a.mp4")
    (tmp_path / "b.mp4").symlink_to("a.mp4")
    (tmp_path / "gone.mp4").symlink_to("nowhere")
    (tmp_path / "loop.mp4").symlink_to("loop.mp4")
    result = walk(tmp_path)
    assert names(result) == ["a.mp4", "b.mp4", "gone.mp4", "loop.mp4"], "their reader reports them"
    result = walk(tmp_path, lambda path: False)
    assert result.left_out() == [
        "2 other files left out: .mp4 2",
        "broken links left out: 2: gone.mp4, loop.mp4",
    ]


def test_pipes_are_counted(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert walk(tmp_path, is_mp4).left_out() == ["1 other file left out: special 1"]


def test_a_folder_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    touched(tmp_path, "a.mp4", "closed/b.mp4")
    real = os.scandir

    def scandir(path):
        if os.path.basename(path) == "closed":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(module.os, "scandir", scandir)
    result = walk(tmp_path)
    assert names(result) == ["a.mp4"]
    assert result.left_out() == ["unreadable folders left out: 1: closed"]
    with pytest.raises(DataError, match="cannot be read as a folder .Permission denied"):
        walk(tmp_path / "closed")


def test_names_that_are_not_text_or_steer_a_terminal(tmp_path):
    (tmp_path / os.fsdecode(b"caf\xe9.\x1b[1m")).write_bytes(b"")
    result = walk(tmp_path, lambda path: False)
    assert result.left_out() == [r"1 other file left out: .\x1b[1m 1"]
    assert len(walk(tmp_path).files) == 1
