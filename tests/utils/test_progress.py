"""The progress bar: drawn on a terminal, and nowhere else."""

import os
import pty
import select
import subprocess
import sys
from pathlib import Path

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
