"""Calls in another process: a crash costs one of them, and nothing is left over."""

import os
import signal
import subprocess
import sys
import time

import pytest

from paddlevideo.utils.errors import DataError
from paddlevideo.utils.isolated import Crash, Isolated


def number_of_process():
    return os.getpid()


def refuse(text):
    raise DataError(f"{text} is damaged")


def is_alive(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    with open(f"/proc/{process}/stat") as file:
        return file.read().rpartition(")")[2].split()[0] != "Z"


def test_calls_are_made_in_one_other_process_and_a_crash_costs_one():
    isolated = Isolated()
    first = isolated.call(number_of_process)
    assert first == isolated.call(number_of_process) != os.getpid()
    with pytest.raises(DataError, match="x is damaged"):
        isolated.call(refuse, "x")
    for end in (os.abort, os._exit):
        with pytest.raises(Crash):
            isolated.call(end, *([] if end is os.abort else [0]))
    last = isolated.call(number_of_process)
    assert last not in (first, os.getpid())
    isolated.close()
    assert not is_alive(first) and not is_alive(last)


def test_a_call_that_takes_too_long_counts_as_a_crash():
    isolated = Isolated(seconds=10)
    first = isolated.call(number_of_process)
    isolated._seconds = 0.1
    with pytest.raises(Crash):
        isolated.call(time.sleep, 60)
    assert not is_alive(first)
    isolated._seconds = 10
    assert isolated.call(number_of_process) != first
    isolated.close()


def test_the_process_does_not_outlive_its_caller():
    code = (
        "import os, sys; from paddlevideo.utils.isolated import Isolated; isolated = Isolated(); "
        "print(isolated.call(os.getpid), flush=True); sys.stdin.read()"
    )
    caller = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    child = int(caller.stdout.readline())
    assert is_alive(child)
    caller.send_signal(signal.SIGKILL)
    caller.communicate()
    for _ in range(500):
        if not is_alive(child):
            return
        time.sleep(0.01)
    raise AssertionError("it is still there")
