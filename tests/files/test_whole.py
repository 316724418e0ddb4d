"""Files and folders are whole or absent, with any number of writers and whenever one dies."""

import errno
import os
import threading
from itertools import count

import numpy as np
import pytest

from paddlevideo.files import partials
from paddlevideo.files.whole import (
    damage_of,
    describe_whole,
    write_folder_whole,
    write_text_whole,
    write_whole,
)
from tests.killing import dies_at


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def fill(folder, text="new"):
    for number in range(3):
        (folder / f"{number}").write_text(text)


def test_two_writers_of_one_number_do_not_meet(tmp_path, monkeypatch):
    numbers = iter([7, 7, 7, 8])
    monkeypatch.setattr(partials.secrets, "randbelow", lambda limit: next(numbers))
    monkeypatch.setattr(os, "getpid", lambda: 1)
    path, seen = tmp_path / "f", []

    def outer(partial):
        partial.write_text("outer")
        write_whole(path, lambda inner: (seen.append(inner), inner.write_text("inner")))
        assert partial.read_text() == "outer" and path.read_text() == "inner"
        seen.append(partial)

    write_whole(path, outer)
    assert seen[0] != seen[1] and path.read_text() == "outer" and names(tmp_path) == ["f"]


def test_writers_at_once_leave_a_whole_folder_and_nothing_else(tmp_path):
    def work(text):
        for _ in range(40):
            write_folder_whole(tmp_path / "e", lambda folder: fill(folder, text))

    threads = [threading.Thread(target=work, args=(text,)) for text in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert names(tmp_path) == ["e"] and names(tmp_path / "e") == ["0", "1", "2"]
    assert len({file.read_text() for file in (tmp_path / "e").iterdir()}) == 1


@pytest.mark.parametrize("exchanges", [True, False])
def test_a_killed_writer_leaves_the_old_or_the_new_and_the_next_one_sweeps(
    tmp_path, monkeypatch, exchanges
):
    if not exchanges:
        monkeypatch.setattr(partials, "_exchange", lambda first, second: False)
    for moment in count():
        folder = tmp_path / str(moment)
        write_folder_whole(folder / "e", lambda partial: fill(partial, "old"))
        write_text_whole(folder / "f", "old")
        died = dies_at(
            lambda folder=folder: (
                write_folder_whole(folder / "e", fill),
                write_text_whole(folder / "f", "new"),
            ),
            moment,
        )
        if exchanges or (folder / "e").exists():  # else it died between two renames
            assert {file.read_text() for file in (folder / "e").iterdir()} in ({"old"}, {"new"})
            assert names(folder / "e") == ["0", "1", "2"]
        assert (folder / "f").read_text() in ("old", "new")
        write_text_whole(folder / "g", "")
        assert names(folder) == ["e", "f", "g"] and names(folder / "e") == ["0", "1", "2"]
        if not died:
            break
    assert moment > 8


def test_a_child_of_a_killed_writer_does_not_keep_its_leftover(tmp_path):
    reading, writing = os.pipe()
    started, starting = os.pipe()

    def fork_and_die(partial):
        if not os.fork():
            os.write(starting, b"x")
            os.read(reading, 1)  # lives on
        os._exit(0)

    writer = os.fork()
    if not writer:
        os.close(writing)
        write_whole(tmp_path / "f", fork_and_die)
    os.waitpid(writer, 0)
    os.close(starting)
    assert os.read(started, 1) == b"x"
    write_text_whole(tmp_path / "f", "x")
    assert names(tmp_path) == ["f"]
    for end in (reading, writing, started):
        os.close(end)


def test_where_locks_of_other_hosts_are_not_seen_age_decides(tmp_path, monkeypatch):
    monkeypatch.setattr(partials, "_is_local", lambda path: False)
    leftover = tmp_path / ".f.12.partial"
    leftover.write_text("")
    write_text_whole(tmp_path / "f", "x")
    assert leftover.exists()
    os.utime(leftover, (1, 1))
    write_text_whole(tmp_path / "f", "x")
    assert names(tmp_path) == ["f"]


def test_a_file_of_the_user_is_not_taken_for_a_leftover(tmp_path):
    for name in ("f.12.partial", ".f.partial", ".f.x.partial", ".f.12.partial.txt"):
        (tmp_path / name).write_text("mine")
    write_text_whole(tmp_path / "f", "x")
    assert len(names(tmp_path)) == 5


def test_a_name_of_any_length_can_be_written(tmp_path):
    write_text_whole(tmp_path / ("ä" * 127), "x")
    write_folder_whole(tmp_path / ("b" * 255), fill)
    assert len(names(tmp_path)) == 2


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "full"), OSError("800 requested and 12 written")]
)
def test_what_a_full_disk_says_names_the_file(tmp_path, error):
    def fail(partial):
        raise error

    for write in (write_whole, write_folder_whole):
        with pytest.raises(OSError) as caught:
            write(tmp_path / "rows", fail)
        assert caught.value.errno == errno.ENOSPC and caught.value.filename.endswith("/rows")
        assert names(tmp_path) == []


def test_an_error_about_another_file_keeps_its_name(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        write_whole(tmp_path / "f", lambda partial: np.load(tmp_path / "absent"))
    assert caught.value.filename.endswith("absent")


def test_a_pipe_is_written_to(tmp_path):
    os.mkfifo(tmp_path / "p")
    read = []
    reader = threading.Thread(target=lambda: read.append((tmp_path / "p").read_text()))
    reader.start()
    write_text_whole(tmp_path / "p", "text")
    reader.join(10)
    assert read == ["text"] and names(tmp_path) == ["p"]


def test_a_folder_does_not_replace_a_file(tmp_path):
    (tmp_path / "f").write_text("mine")
    with pytest.raises(NotADirectoryError):
        write_folder_whole(tmp_path / "f", fill)
    assert (tmp_path / "f").read_text() == "mine" and names(tmp_path) == ["f"]


def test_damage_is_told_by_size_and_checksum(tmp_path):
    path = tmp_path / "a"
    path.write_text("abc")
    expected = describe_whole(path)
    assert expected["bytes"] == 3 and damage_of(path, expected, "its manifest") == ""
    for text, says in (("ab", "has 2 bytes, its manifest says 3"), ("abd", "is damaged")):
        path.write_text(text)
        assert damage_of(path, expected, "its manifest").startswith(f"{path} {says}")
    path.unlink()
    assert damage_of(path, expected, "a.json") == f"{path} is missing, a.json names it"
