"""The work folder: what is not whole is noticed; and parts of a list."""

import json

import numpy as np
import pytest

from paddlevideo.extract.work import FAILED, Status, WorkFolder, part_of
from paddlevideo.loader.store.records import encode
from paddlevideo.utils.errors import ConfigError, DataError
from tests.loader.clips import make_clip


@pytest.fixture
def work(tmp_path):
    """Two clips of a video whose id no file could have."""
    folder = WorkFolder(tmp_path / "work")
    clips = [(f"c{n}", 0, None, None) for n in range(2)]
    folder.save(
        Status(LONG, "p", clips=clips, fingerprint="f"), [encode(make_clip(n)) for n in (0, 1)]
    )
    return folder


LONG = "a/" * 300 + "ü.mp4"


def test_what_was_saved_is_found_again(work):
    status = work.checked(LONG, "f")
    assert status is not None and [clip[0] for clip in status.clips] == ["c0", "c1"]
    assert list(work.records(LONG)) == [encode(make_clip(n)) for n in (0, 1)]
    assert work.checked(LONG, "other settings") is None and work.checked("other", "f") is None
    work.forget(LONG)
    assert work.status(LONG, "f") is None


def flip(data, place):
    return data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :]


@pytest.mark.parametrize("part", [0.0, 0.1, 0.4, 0.7, 0.999])
def test_a_flipped_byte_is_noticed(work, part):
    path = work.path_of(LONG, ".clips")
    path.write_bytes(flip(path.read_bytes(), int(len(path.read_bytes()) * part)))
    assert work.checked(LONG, "f") is None


@pytest.mark.parametrize("kept", [0.0, 0.3, 0.5, 0.99])
def test_a_file_that_was_cut_is_noticed(work, kept):
    path = work.path_of(LONG, ".clips")
    path.write_bytes(path.read_bytes()[: int(len(path.read_bytes()) * kept)])
    assert work.checked(LONG, "f") is None


def test_a_status_that_is_damaged_or_missing_counts_as_none(work):
    path = work.path_of(LONG, ".json")
    text = path.read_text("utf-8")
    record = json.loads(text)
    for damaged in (text[:50], "[]", json.dumps({**record, "status": "?"}), '{"video": 1}'):
        path.write_text(damaged)
        assert work.status(LONG, "f") is None
    path.write_text(text)
    work.path_of(LONG, ".clips").unlink()
    assert work.checked(LONG, "f") is None and work.status(LONG, "f") is not None


def test_a_failure_is_known_but_done_again(work):
    work.save(Status("v", "p", FAILED, "empty file", "no bytes", fingerprint="f"), [])
    assert work.status("v", "f").cause == "empty file" and work.checked("v", "f") is None


def test_a_disk_that_cannot_be_written_stops_everything(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot be written .* Make room"):
        WorkFolder(tmp_path / "file").save(Status("v", "p"), [])


# ------------------------------------------------------------------------------ parts


def test_parts_cover_a_list_without_talking():
    videos = list(range(23))
    for count in (1, 2, 7, 30):
        shares = [videos[part_of(f"{k}/{count}", {})[0] :: count] for k in range(1, count + 1)]
        assert sorted(np.concatenate(shares).tolist()) == videos


def test_a_launcher_says_the_part():
    environment = {"PADDLE_TRAINER_ID": "2", "PADDLE_TRAINERS_NUM": "4"}
    assert part_of("", environment) == (2, 4)
    assert part_of("1/3", environment) == (0, 3), "the command line wins"
    assert part_of("", {}) == (0, 1)


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "a/b", "1/0", "-1/2"])
def test_no_part(text):
    with pytest.raises(ConfigError, match="--part is K/N"):
        part_of(text, {})


def test_a_launcher_that_makes_no_sense():
    with pytest.raises(ConfigError, match="PADDLE_TRAINER_ID=4"):
        part_of("", {"PADDLE_TRAINER_ID": "4", "PADDLE_TRAINERS_NUM": "4"})
    with pytest.raises(ConfigError, match="unset them"):  # left over: half of the list is not all
        part_of("", {"PADDLE_TRAINERS_NUM": "2"})
