"""Children end with their parent."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

PARENT = """
import sys
from paddlevideo.utils.children import Children, terminable
from paddlevideo.utils.command import exit_code_of

SLEEPING = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
children = Children()

def work():
    with terminable():
        try:
            children.call([sys.executable, "-c", SLEEPING], None)
        except BaseException:
            children.end()
            raise

sys.exit(exit_code_of(work))
"""


@pytest.mark.parametrize("number, code", [(signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_a_child_does_not_outlive_its_parent(number, code):
    root = str(Path(__file__).parents[2])
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": root},
    )
    child = int(parent.stdout.readline())
    parent.send_signal(number)
    assert parent.wait(20) == code
    for _ in range(200):
        if not Path(f"/proc/{child}").exists() or is_zombie(child):
            return
        time.sleep(0.05)
    pytest.fail("the child goes on")


def is_zombie(pid):
    return ") Z" in Path(f"/proc/{pid}/stat").read_text()
