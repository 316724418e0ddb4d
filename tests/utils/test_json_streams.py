"""``--log_format json``: from any source, every line is a JSON object."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from paddlevideo.utils.json_streams import as_json, json_line
from paddlevideo.utils.log import run_in_format

ROOT = Path(__file__).parents[2]
HEAD = ["time", "level", "logger", "event", "message"]


def parsed(text):
    """The objects of a log; the test fails if a line is not one, or lacks a field."""
    lines = [json.loads(line) for line in text.splitlines()]
    for line in lines:
        assert list(line)[:5] == HEAD and line["message"], line
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"])
    return lines


def test_a_line_that_is_not_json_becomes_a_message():
    def wrapped(line, stream):
        return json.loads(as_json(line, stream))

    [info] = parsed(as_json(b"  3 clips  ", "stdout").decode())
    assert (info["level"], info["logger"], info["message"]) == ("info", "stdout", "3 clips")
    assert wrapped(b"W1128 gpu", "stderr")["level"] == "warning"
    error = wrapped(b"error: x.mp4: no such file", "stderr")
    assert (error["level"], error["message"]) == ("error", "x.mp4: no such file")
    assert wrapped(b"error: is the first word", "stdout")["level"] == "info"
    assert wrapped(b"\xff\x1b[31m", "stderr")["message"] == "\ufffd\x1b[31m"
    assert as_json(b" \r", "stdout") == b"" == as_json(b"", "stderr")


def test_a_line_of_ours_is_passed_on_also_after_text_without_an_end():
    line = json_line("info", "a", "b", "c", clips=3).encode()
    assert as_json(line, "stdout") == line + b"\n"
    before, after = as_json(b"50 %" + line, "stdout").splitlines()
    assert json.loads(before)["message"] == "50 %" and after == line
    mixed = json.loads(as_json(line + b"50 %", "stdout"))
    assert mixed["event"] == "output" and mixed["message"] == f"{line.decode()}50 %"


def test_values_that_json_does_not_have_are_null():
    line = json_line("info", "a", "b", "c", loss=float("nan"), more={"x": [float("inf"), 1.5]})
    assert "NaN" not in line and json.loads(line)["loss"] is None
    assert json.loads(line)["more"] == {"x": [None, 1.5]}
    assert json.loads(json_line("info", "a", "\udcff\u4e2d", "c", path=Path("x")))["path"] == "x"


def script(body, *flags, format="json", **more):
    """Starts a command whose action is ``body``, in a process of its own."""
    text = f"""
import os, subprocess, sys, threading, warnings, logging, time
from paddlevideo.utils.command import begin_command, exit_code_of
from paddlevideo.utils.log import run_in_format, tell, log_json
from paddlevideo.utils.errors import DataError
begin_command()
def action():
    def work():
        {body}
    return exit_code_of(work)
sys.exit(run_in_format(["--log_format", "{format}"], action))
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    words = [sys.executable, *flags, "-c", text]
    return subprocess.Popen(words, env=environment, **{**pipes, **more})


def ran(body, *flags, **more):
    """The exit code, and the parsed output and errors, of such a command."""
    process = script(body, *flags, **more)
    out, error = process.communicate(timeout=60)
    return process.returncode, parsed(out), parsed(error)


def test_all_that_prints_is_a_line():
    """Python, native code, a child process, a library's log, a warning and a thread that fails."""
    code, out, error = ran(
        "print('plain'); tell('video', 'a: done', video='a', failed=0); "
        "os.write(1, b'native\\n'); os.write(2, b'no end'); "
        "subprocess.run(['echo', 'child']); "
        "logging.getLogger('library').warning('two\\nlines'); "
        "logging.getLogger('paddlevideo').info('read %d', 3); warnings.warn('old', stacklevel=1); "
        "thread = threading.Thread(target=lambda: 1 / 0); thread.start(); thread.join()"
    )
    assert code == 0
    assert [line["message"] for line in out] == ["plain", "a: done", "native", "child"]
    assert (out[1]["event"], out[1]["video"], out[1]["failed"]) == ("video", "a", 0)
    by_logger = {line["logger"]: line for line in error if line["level"] != "critical"}
    assert by_logger["library"]["message"] == "two\nlines"
    assert by_logger["paddlevideo"]["message"] == "read 3"
    assert by_logger["py.warnings"]["level"] == "warning"
    assert by_logger["stderr"]["message"] == "no end"
    [failed] = [line for line in error if line["level"] == "critical"]
    assert failed["error"] == "ZeroDivisionError: division by zero"
    assert failed["traceback"].startswith("Traceback") and failed["traceback"].count("\n") >= 3


def test_a_mistake_is_a_line_of_the_level_error():
    code, out, error = ran("raise DataError('x.mp4: is empty')")
    assert (code, out) == (1, [])
    assert [(line["level"], line["message"]) for line in error] == [("error", "x.mp4: is empty")]


def test_a_bug_is_one_line_with_its_traceback():
    code, out, error = ran("{}['clip']")
    assert (code, out, len(error)) == (1, [], 1)
    assert error[0]["level"] == "critical" and error[0]["error"] == "KeyError: 'clip'"
    assert "in work" in error[0]["traceback"]


def test_what_a_crash_prints_is_kept():
    """The lines of a process that dies are not lost with it."""
    code, out, error = ran("print('begun'); os.abort()", "-X", "faulthandler")
    assert code == -signal.SIGABRT and [line["message"] for line in out] == ["begun"]
    assert error[0]["message"] == "Fatal Python error: Aborted"


@pytest.mark.parametrize(
    "body", ["time.sleep(60)", "exit_on_interrupt().__enter__(); time.sleep(60)"]
)
def test_an_interrupt_is_a_line(body):
    """Also during imports, when the process ends at once."""
    within = f"from paddlevideo.utils.command import exit_on_interrupt; print('ready'); {body}"
    process = script(within)
    assert json.loads(process.stdout.readline())["message"] == "ready"
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    out, error = process.communicate(timeout=60)
    assert process.returncode == 130 and out == ""
    assert [line["message"] for line in parsed(error)] == [
        "interrupted; run the same command again"
    ]


def test_what_a_service_manager_sends_to_all_processes_loses_no_line():
    """The one that wraps lines ends when the command has, and not before."""
    process = script("print('begun'); time.sleep(0.5); print('ended')")
    assert json.loads(process.stdout.readline())["message"] == "begun"
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    for child in children:
        os.kill(int(child), signal.SIGTERM)
    out, _ = process.communicate(timeout=60)
    assert len(children) == 1 and process.returncode == 0
    assert [line["message"] for line in parsed(out)] == ["ended"]


def test_a_reader_that_leaves_ends_it_quietly():
    process = script("[print(n, flush=True) or time.sleep(0.001) for n in range(100000)]")
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(60) == 141 and process.stderr.read() == ""


def test_in_text_nothing_is_changed():
    process = script(
        "print('a\\n b'); log_json('video', 'b'); tell('x', ' c', news=True)", format="text"
    )
    assert process.communicate(timeout=60) == ("a\n b\n", " c\n") and process.returncode == 0


def test_afterwards_the_streams_are_those_of_before(capfd):
    def action():
        print("inside")
        return 7

    threads = len(os.listdir("/proc/self/fd"))
    assert run_in_format(["x", "--log_format=json"], action) == 7
    print("outside")
    out, error = capfd.readouterr()
    assert error == "" and out.splitlines()[-1] == "outside"
    assert json.loads(out.splitlines()[0])["message"] == "inside"
    assert len(os.listdir("/proc/self/fd")) == threads, "no descriptor is left open"
