"""A checksum at the end of a file."""

import zlib

import pytest

from paddlevideo.files import whole


@pytest.mark.parametrize("size", [0, 1, (1 << 20) - 1, (2 << 20) + 3])
def test_any_change_is_noticed(tmp_path, size):
    path, content = tmp_path / "f", bytes(range(256)) * (size // 256) + bytes(size % 256)
    path.write_bytes(content)
    assert whole.crc32_of(path) == zlib.crc32(content)
    assert not whole.has_crc32(path)
    whole.add_crc32(path)
    assert whole.has_crc32(path)
    good = path.read_bytes()
    assert good[:-4] == content
    for at in {0, len(good) // 2, len(good) - 1}:
        path.write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
        assert not whole.has_crc32(path)
    for damaged in (good[:-1], good + b"\0", bytes(len(good))):
        path.write_bytes(damaged)
        assert whole.has_crc32(path) == (damaged == good)
