"""The progress bar: drawn on a terminal, and nowhere else."""

import io
import os
import pty
import re
import select
import subprocess
import sys
import time
from pathlib import Path

from paddlevideo.utils import progress as progress_module
from paddlevideo.utils.progress import progress, track

ROOT = Path(__file__).parents[2]
SCRIPT = """
import logging, time
from paddlevideo.utils.log import set_up_logging
from paddlevideo.utils.progress import track
set_up_logging()
for number in track(range(3), "working", 3, "pairs", 100):
    time.sleep(0.2)
    logging.getLogger("paddlevideo").info("line %d", number)
"""


def in_a_terminal():
    """What the script shows on a terminal of 60 columns."""
    parent, child = pty.openpty()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "60", "TERM": "xterm"}
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT], stdout=child, stderr=child, env=environment
    )
    os.close(child)
    shown = b""
    while select.select([parent], [], [], 20)[0]:
        try:
            part = os.read(parent, 4096)
        except OSError:  # the other end was closed
            break
        if not part:
            break
        shown += part
    os.close(parent)
    assert process.wait(timeout=20) == 0
    return shown.decode()


def test_a_terminal_shows_a_bar_and_whole_log_lines():
    shown = in_a_terminal()
    assert "working" in shown and "pairs/s" in shown
    for number in range(3):
        assert f"INFO: line {number}" in shown


def test_a_pipe_shows_lines_only():
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == 3 and "working" not in done.stdout


def test_long_work_in_a_pipe_logs_lines(monkeypatch, caplog):
    now = [0.0]
    monkeypatch.setattr(progress_module.time, "monotonic", lambda: now[0])

    def work(seconds, times, **words):
        caplog.clear()
        for _ in track(range(times), "gallery", times, "clips", 100, **words):
            now[0] += seconds
        return [record.getMessage() for record in caplog.records]

    with caplog.at_level("INFO", "paddlevideo"):
        assert work(1, 59) == [], "it took less than a minute"
        assert work(1, 200) == [
            "gallery: 30 %, 100 clips/s, 0:02:20 left",
            "gallery: 60 %, 100 clips/s, 0:01:20 left",
            "gallery: 90 %, 100 clips/s, 0:00:20 left",
        ]
        fields = caplog.records[0].fields
        assert fields == {"event": "progress", "work": "gallery", "done": 6000, "total": 20000}
        assert work(1, 200, logged=False) == []
        with progress(False):
            assert work(1, 200) == []
        caplog.clear()
        for _ in track(iter(range(2)), "videos", unit="videos"):
            now[0] += 60
        assert caplog.messages == [f"videos: {n} videos, 0.017 videos/s" for n in (1, 2)]


def test_a_library_can_be_silent_on_a_terminal(monkeypatch):
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", terminal)
    with progress(False):
        assert list(track(range(3), "working", 3)) == [0, 1, 2]
        with progress(True):
            started = track(range(3), "in between", 3)
            assert next(started) == 0
        started.close()
    assert "in between" in terminal.getvalue() and "working" not in terminal.getvalue()
    assert list(track(range(3), "working", 3)) == [0, 1, 2]
    assert "working" in terminal.getvalue()


def test_a_notebook_shows_a_line_while_long_work_lasts(monkeypatch):
    class Notebook(io.StringIO):
        """Of the module of a notebook's standard error, and no terminal like that."""

        __module__ = "ipykernel.iostream"

    shown = Notebook()
    monkeypatch.setattr(sys, "stderr", shown)
    monkeypatch.setattr("paddlevideo.utils.progress.EVERY", 0.05)
    assert list(track(range(3), "quick", 3)) == [0, 1, 2]
    with progress(False):
        for _ in track(range(2), "hidden", 2):
            time.sleep(0.06)
    assert shown.getvalue() == ""
    for _ in track(range(3), "working", 3, "clips", 32):
        time.sleep(0.06)
    first, *_, last = shown.getvalue().strip("\r").split("\r")
    assert re.fullmatch(r"working 33% \d{2,3} clips/s *", first) and not last.strip()


def test_a_reader_that_goes_away_does_not_end_the_run():
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT + "print('done', file=__import__('sys').stderr)"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    process.stdout.readline()
    process.stdout.close()
    assert "done" in process.stderr.read()
    process.stderr.close()
    process.wait(timeout=20)
