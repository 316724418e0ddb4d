"""A folder's lock: one holder, free once it dies, nothing left behind."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from paddlevideo.files import lock as folder_lock
from paddlevideo.files.lock import FolderLock
from paddlevideo.utils.errors import ConfigError

ROOT = Path(__file__).parents[2]


def test_a_lock_is_held_by_one_and_leaves_nothing_behind(tmp_path):
    folder = tmp_path / "new" / "folder"
    with FolderLock(folder, "train").acquire():
        with pytest.raises(ConfigError, match=f"process {os.getpid()} on .* since"):
            FolderLock(folder, "train").acquire()
        with FolderLock(folder, "test").acquire():
            pass  # for another purpose
    assert not (tmp_path / "new").exists()
    FolderLock(folder, "train").release()  # never acquired


def test_the_lock_of_a_killed_process_is_free_though_its_child_lives(tmp_path):
    code = textwrap.dedent(
        """
        import os, sys, time
        from paddlevideo.files.lock import FolderLock
        lock = FolderLock(sys.argv[1], "train").acquire()
        if not os.fork():  # the child, which has let go of the lock
            print("held", flush=True)
        time.sleep(60)
        """
    )
    words = [sys.executable, "-c", code, str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    holder = subprocess.Popen(
        words, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(ConfigError, match=f"process {holder.pid}"):
            FolderLock(tmp_path, "train").acquire()
        holder.kill()
        holder.wait()
        with FolderLock(tmp_path, "train").acquire():
            pass
        assert not list(tmp_path.iterdir())
    finally:
        os.killpg(holder.pid, signal.SIGKILL)


@pytest.mark.parametrize("code", [38, 37, 95, 25])  # ENOSYS, ENOLCK, EOPNOTSUPP, ENOTTY
def test_a_file_system_without_locks_gets_a_warning(tmp_path, monkeypatch, caplog, code):
    def refuse(descriptor, operation):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(folder_lock.fcntl, "flock", refuse)
    monkeypatch.setattr(logging.getLogger("paddlevideo"), "propagate", True)
    with FolderLock(tmp_path, "train").acquire():
        assert "has no locks" in caplog.text


def test_a_file_in_the_place_of_the_folder_is_told(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to("nowhere")
    for folder in ("file", "file/below", "dangling"):
        with pytest.raises(ConfigError, match="not a folder.*choose another output_dir"):
            FolderLock(tmp_path / folder, "train", "output_dir").acquire()
