"""What a video file says of itself by its structure."""

import struct

import pytest

from paddlevideo.extract.container import codec_name, is_cut_short, is_encrypted, lacks_index
from tests.extract import samples


@pytest.mark.parametrize("name, codec", [("a.mp4", "mp4v"), ("a.avi", "MJPG"), ("a.mkv", "XVID")])
def test_a_file_that_is_cut_is_shorter_than_it_says(tmp_path, name, codec):
    path = samples.write_video(tmp_path / name, codec=codec)
    data = path.read_bytes()
    assert not is_cut_short(path)
    path.write_bytes(data + b"more")
    assert not is_cut_short(path)
    for share in (0.3, 0.6, 0.95):
        path.write_bytes(data[: int(len(data) * share)])
        assert is_cut_short(path)


def test_files_that_say_nothing_are_not_cut(tmp_path):
    path = tmp_path / "x"
    unknown = b"\x1aE\xdf\xa3\x80\x18S\x80g\x01\xff\xff\xff\xff\xff\xff\xff" + bytes(9)
    to_the_end = struct.pack(">I4s", 8, b"ftyp") + struct.pack(">I4s", 0, b"mdat") + bytes(90)
    for content in (b"", b"x", bytes(300), unknown, to_the_end, b"\x47" * 600, b"\x1aE\xdf\xa3"):
        path.write_bytes(content)
        assert not is_cut_short(path)


def test_an_mp4_without_its_index(tmp_path):
    path = samples.write_video(tmp_path / "a.mp4")
    assert not lacks_index(path)
    data = path.read_bytes()
    path.write_bytes(data[: data.rindex(b"moov") - 4])
    assert lacks_index(path)
    large = struct.pack(">I4sQ", 1, b"mdat", 1 << 33)
    path.write_bytes(struct.pack(">I4s", 8, b"ftyp") + large)
    assert lacks_index(path) and is_cut_short(path)


@pytest.mark.parametrize(
    "text, name",
    [
        ("av01", "AV1 (av01)"),
        ("hev1", "HEVC (H.265) (hev1)"),
        ("VP90", "VP9 (VP90)"),
        ("xyzw", "xyzw"),
        ("\0\0\0\0", ""),
        ("\x01\0\0\0", ""),
    ],
)
def test_codecs_have_names(text, name):
    assert codec_name(int.from_bytes(text.encode("latin-1"), "little")) == name
    assert not is_encrypted(int.from_bytes(text.encode("latin-1"), "little"))


def test_encrypted_files_say_so():
    assert is_encrypted(int.from_bytes(b"encv", "little"))
