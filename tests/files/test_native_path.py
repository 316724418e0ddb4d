"""Names that libraries in C and C++ can open."""

import os
from pathlib import Path

import pytest

from paddlevideo.files.paths import as_text, native_path


def test_usual_names_become_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("10:30.webm", "größe 中.mp4", "a.mp4"):
        with native_path(name) as found:
            assert found == str(tmp_path / name)


@pytest.mark.parametrize("name", [b"f/caf\xe9.mp4", b"f\xff/a.mp4", b"f/a.\xe9"])
def test_a_name_that_is_not_utf8_is_opened_by_a_link(tmp_path, name):
    path = tmp_path / os.fsdecode(name)
    path.parent.mkdir()
    path.write_bytes(b"content")
    with native_path(path) as found:
        assert found.isascii() and Path(found).read_bytes() == b"content"
        assert found.endswith(".mp4") == name.endswith(b".mp4")
    assert not os.path.lexists(found) and path.exists()


def test_names_as_text():
    assert as_text("größe") == "größe"
    assert as_text(os.fsdecode(b"caf\xe9")) == r"caf\xe9"
