"""Frames by number, of files as they are."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from paddlevideo.extract import decode
from paddlevideo.extract.decode import Shorter, VideoFault, VideoFile
from tests.extract import samples


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """Frame n is as bright as 20 + 10 n."""
    frames = [np.full((48, 64, 3), 20 + 10 * n, np.uint8) for n in range(20)]
    return samples.write_video(tmp_path_factory.mktemp("video") / "v.avi", frames, "MJPG")


def changed(monkeypatch, **methods):
    """Readers of videos from now on have these methods in place of their own."""
    real = cv2.VideoCapture

    def reader(path):
        capture = real(path)
        names = ("get", "grab", "retrieve", "isOpened", "release")
        return SimpleNamespace(**{name: getattr(capture, name) for name in names} | methods)

    monkeypatch.setattr(cv2, "VideoCapture", reader)


def test_frames_that_are_asked_for_and_no_others(video):
    file = VideoFile(video)
    assert (file.count, file.rate) == (20, samples.RATE)
    found = {number: frame.mean() for number, frame in file.take([0, 3, 17])}
    assert found == pytest.approx({0: 20, 3: 50, 17: 190}, abs=3)
    assert file.frames == 18, "what comes after the last one is not read"
    assert 0 < file.seconds < 60


def test_a_head_that_says_no_count_means_counting(video, monkeypatch):
    changed(monkeypatch, get=lambda what: -1.0)
    file = VideoFile(video)
    assert (file.count, file.rate, file.frames) == (20, decode.USUAL_RATE, 20)


def test_a_head_that_says_too_much_means_planning_again(video):
    file = VideoFile(video)
    file.count = file.announced = 25
    with pytest.raises(Shorter):
        list(file.take([0, 24]))
    assert file.count == 20 and len(list(file.take([0, 19]))) == 2
    file.announced = 50
    with pytest.raises(VideoFault, match="ends after 20 of 50 frames") as fault:
        list(file.take([49]))
    assert fault.value.cause == "cut short"


def test_a_head_without_frames(video, monkeypatch):
    file = VideoFile(video)
    changed(monkeypatch, grab=lambda: False)
    with pytest.raises(VideoFault, match="holds no frame") as fault:
        list(file.take([0]))
    assert fault.value.cause == "no frames"


def test_a_library_that_fails_is_a_bad_video(video, monkeypatch):
    def fails(path):
        raise cv2.error("inside")

    monkeypatch.setattr(cv2, "VideoCapture", fails)
    with pytest.raises(VideoFault, match="inside"):
        VideoFile(video)


def test_a_folder_and_a_name_that_no_file_has(tmp_path):
    with pytest.raises(VideoFault, match="is a folder"):
        VideoFile(tmp_path)
    for name in ("x" * 600, "a\0b"):
        with pytest.raises(VideoFault, match="cannot be read") as fault:
            VideoFile(tmp_path / name)
        assert fault.value.cause == "missing"


def test_grey_frames_get_three_channels():
    grey = np.arange(6, dtype=np.uint8).reshape(2, 3)
    assert decode._in_colour(grey).tolist() == np.repeat(grey[..., None], 3, 2).tolist()
