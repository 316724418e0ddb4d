"""Frames by number, of files as they are."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from paddlevideo.extract import decode
from paddlevideo.extract.decode import Replan, VideoFault, VideoFile
from paddlevideo.extract.timeline import Timeline
from tests.extract import samples


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """Frame n is as bright as 20 + 10 n."""
    frames = [np.full((48, 64, 3), 20 + 10 * n, np.uint8) for n in range(20)]
    return samples.write_video(tmp_path_factory.mktemp("video") / "v.avi", frames, "MJPG")


def changed(monkeypatch, only_decoding=False, **methods):
    """Readers of videos from now on have these methods in place of their own."""
    real = cv2.VideoCapture

    def reader(path, *how):
        capture = real(path, *how)
        names = ("get", "grab", "retrieve", "isOpened", "release")
        own = {name: getattr(capture, name) for name in names}
        return SimpleNamespace(**own | ({} if only_decoding and how else methods))

    monkeypatch.setattr(cv2, "VideoCapture", reader)


def brightness(file, numbers):
    return {number: frame.mean() for number, frame in file.read(numbers)}


def test_frames_that_are_asked_for_and_no_others(video):
    file = VideoFile(video)
    assert (file.count, file.rate, file.notes) == (20, samples.RATE, [])
    assert file.frames == 0, "time stamps are read without decoding"
    assert brightness(file, [0, 3, 17]) == pytest.approx({0: 20, 3: 50, 17: 190}, abs=3)
    assert file.frames == 18, "what comes after the last one is not read"
    assert 0 < file.seconds < 60


def test_heads_decide_nothing(video, monkeypatch):
    real = cv2.VideoCapture(str(video))
    for wrong in (-1.0, 0.0, float("nan"), 7.0, 1e12):
        answers = {cv2.CAP_PROP_FRAME_COUNT: wrong}
        with monkeypatch.context() as patch:
            changed(patch, get=lambda what, all=answers: all.get(what, real.get(what)))
            assert VideoFile(video).count == 20


def test_a_file_without_rate_and_time_stamps(video, monkeypatch):
    changed(monkeypatch, get=lambda what: -1.0)
    file = VideoFile(video)
    assert (file.count, file.rate, file.frames) == (20, decode.USUAL_RATE, 0)
    assert file.notes == [decode.GUESSED]


def test_an_opencv_that_reads_no_packets_decodes_twice(video, monkeypatch):
    real = cv2.VideoCapture

    def reader(path, *how):
        if how:
            raise cv2.error("no such parameter")
        return real(path)

    monkeypatch.setattr(cv2, "VideoCapture", reader)
    file = VideoFile(video)
    assert (file.count, file.frames) == (20, 20)
    assert brightness(file, [19]) == pytest.approx({19: 210}, abs=3)


@pytest.mark.parametrize("ending", ["mkv", "mp4"])
def test_frames_of_a_variable_rate_are_found_by_time(tmp_path, ending):
    times = [0, 1, 2, 3, *(3.5 + number / 25 for number in range(26))]
    file = VideoFile(samples.write_stamped(tmp_path / f"v.{ending}", times))
    assert file.count == 30 and file.timeline.seconds == pytest.approx(4.54, abs=0.01)
    assert not file.notes
    numbers = [file.timeline.shown_at(second * file.rate) for second in (0.5, 2.2, 4.0)]
    assert numbers == [0, 2, 16]
    assert brightness(file, numbers) == pytest.approx({0: 20, 2: 28, 16: 84}, abs=3)


def test_what_decoding_shows_otherwise_is_planned_again(video, monkeypatch):
    file = VideoFile(video)
    file.timeline = Timeline(25, 10.0)
    with pytest.raises(Replan):
        list(file.read([0, 24]))
    assert file.count == 20 and len(list(file.read([0, 19]))) == 2
    file = VideoFile(video)
    file.timeline = Timeline(20, 10.0, np.arange(20) * 2.0)
    with pytest.raises(Replan):
        list(file.read([0, 10]))
    assert file.timeline == Timeline(20, 10.0) and len(brightness(file, [10])) == 1


def test_a_frame_that_does_not_become_a_picture_ends_the_video(video, monkeypatch):
    file = VideoFile(video)
    real = cv2.VideoCapture
    left = iter([True] * 2)

    def reader(path):
        capture = real(path)
        retrieve = lambda: capture.retrieve() if next(left, False) else (False, None)  # noqa: E731
        return SimpleNamespace(
            **{name: getattr(capture, name) for name in ("get", "grab", "isOpened", "release")},
            retrieve=retrieve,
        )

    monkeypatch.setattr(cv2, "VideoCapture", reader)
    with pytest.raises(Replan):
        list(file.read([0, 10, 18]))
    assert file.count == 18 and file.notes == [decode.INCOMPLETE]


def test_frames_that_do_not_decode_do_not_end_a_video(tmp_path):
    path = samples.write_stamped(tmp_path / "v.mkv", [n / 25 for n in range(50)], damaged=10)
    file = VideoFile(path)
    with pytest.raises(Replan):
        list(file.read([30]))
    assert file.count == 40 and file.notes == [decode.INCOMPLETE]
    numbers = [0, file.timeline.shown_at(1.0 * file.rate), 39]
    assert numbers == [0, 15, 39], "times are right behind the damage"
    assert brightness(file, numbers) == pytest.approx({0: 20, 15: 120, 39: 216}, abs=3)


def test_less_than_half_can_be_decoded(video, monkeypatch):
    file = VideoFile(video)
    grabs = iter([True] * 5)
    changed(monkeypatch, grab=lambda: next(grabs, False))
    with pytest.raises(VideoFault, match="only 5 of its 20 frames can be decoded") as error:
        list(file.read([9]))
    assert error.value.cause == "damaged"


def test_a_codec_without_a_decoder_is_named_with_the_remedy(tmp_path, video, monkeypatch):
    data = samples.write_video(tmp_path / "v.mp4").read_bytes().replace(b"esds", b"free")
    (tmp_path / "w.mp4").write_bytes(data.replace(b"mp4v", b"xyzw"))
    with pytest.raises(VideoFault, match="its codec, xyzw. Convert it: ffmpeg -i 'w.mp4'") as error:
        list(VideoFile(tmp_path / "w.mp4").read([0]))
    assert error.value.cause == "codec that cannot be decoded"
    (tmp_path / "w.mp4").write_bytes(data.replace(b"mp4v", b"encv"))
    with pytest.raises(VideoFault, match="is encrypted"):
        list(VideoFile(tmp_path / "w.mp4").read([0]))
    file = VideoFile(video)
    changed(monkeypatch, only_decoding=True, grab=lambda: False)
    with pytest.raises(VideoFault, match="its codec, MJPG"):
        list(file.read([0]))


def test_a_library_that_fails_is_a_bad_video(video, monkeypatch):
    def fails(path, *how):
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


@pytest.mark.parametrize(
    "content, cause, message",
    [
        (b"<!DOCTYPE html><html></html>", "not a video", "an HTML page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "not a video", "git lfs pull"),
        (b"\x1f\x8b\x08\x00", "not a video", "gunzip"),
        (b"RIFF\x10\x00\x00\x00WAVEfmt ", "not a video", "a sound file"),
        (bytes(4000), "not a video", "a file of zeros"),
        (bytes(range(256)), "cannot be opened", "a file of an unknown kind"),
        (b"\x00\x00\x00\x18ftypisom" + bytes(12), "cannot be opened", "without its index"),
        (b"\x1aE\xdf\xa3" + bytes(50), "cannot be opened", "finds no video stream"),
    ],
)
def test_what_is_not_a_video_is_named(tmp_path, content, cause, message):
    (tmp_path / "v.mp4").write_bytes(content)
    with pytest.raises(VideoFault, match=message) as error:
        VideoFile(tmp_path / "v.mp4")
    assert error.value.cause == cause


def test_grey_frames_get_three_channels():
    grey = np.arange(6, dtype=np.uint8).reshape(2, 3)
    assert decode._in_colour(grey).tolist() == np.repeat(grey[..., None], 3, 2).tolist()
