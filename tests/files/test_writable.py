"""Places that cannot be written to are told before the work."""

import os

import pytest

from paddlevideo.files.writable import check_file, check_folder
from paddlevideo.utils.errors import ConfigError


def test_a_place_that_can_be_written_to_is_left_as_it_is(tmp_path):
    (tmp_path / "there.html").write_text("old")
    for path in (tmp_path / "x.html", tmp_path / "new" / "er" / "x.html", tmp_path / "there.html"):
        check_file(path, "--report")
    check_folder(tmp_path / "new", "--draw")
    check_folder(tmp_path, "--draw")
    check_file(None, "--report")
    check_folder(None, "--draw")
    assert os.listdir(tmp_path) == ["there.html"]
    assert (tmp_path / "there.html").read_text() == "old"


@pytest.mark.parametrize("place", ["file/x.html", "file/new/x.html", "folder", "n" * 300, "link/x"])
def test_a_place_that_cannot_is_named(tmp_path, place):
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(ConfigError, match=r"^--report /.*(cannot be written|is a folder)"):
        check_file(tmp_path / place, "--report")
    assert sorted(os.listdir(tmp_path)) == ["file", "folder", "link"]


@pytest.mark.skipif(
    not os.path.isdir("/proc/self"), reason="a folder that not even root can change"
)
def test_a_folder_that_is_read_only_even_for_root():
    for path in ("/proc/x.html", "/proc/new/x.html"):
        with pytest.raises(ConfigError, match="cannot be written"):
            check_file(path, "--report")
