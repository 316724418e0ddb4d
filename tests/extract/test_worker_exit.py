"""A worker that is asked to end does so wherever the signal reaches it."""

from __future__ import annotations

import subprocess
import sys

CODE = """
import signal, sys
from paddlevideo.extract import worker

def frames():
    try:
        yield
    finally:
        worker._leave(signal.SIGTERM, None)

sys.unraisablehook = worker._leave_anyway
opened = frames()
next(opened)
del opened
print("went on")
"""


def test_an_exit_that_python_would_ignore_ends_the_worker():
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (143, "", "")
