"""How commands end: messages and exit codes."""

import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from paddlevideo.utils.command import exit_code_of
from paddlevideo.utils.errors import ConfigError, DataError


def fail(error):
    raise error


@pytest.mark.parametrize(
    "error, code, line",
    [
        (ConfigError("a key"), 2, "error: a key\n"),
        (DataError("a clip"), 1, "error: a clip\n"),
        (KeyboardInterrupt(), 130, "interrupted; once more\n"),
        (FileNotFoundError(2, "No such file", "a/b"), 1, "error: a/b: No such file\n"),
        (OSError(28, "No space left on device"), 1, "error: No space left on device\n"),
    ],
)
def test_a_mistake_is_one_line_and_an_exit_code(capsys, error, code, line):
    with warnings.catch_warnings():
        assert exit_code_of(lambda: fail(error), again="once more") == code
    assert capsys.readouterr().err == line


def test_what_is_not_a_users_mistake_keeps_its_traceback():
    with warnings.catch_warnings():
        assert exit_code_of(lambda: None) == 0
        with pytest.raises(ZeroDivisionError):
            exit_code_of(lambda: 1 / 0)
        for error in (
            OSError("no number"),
            ConnectionResetError(104, "x"),
            BrokenPipeError(32, ""),
        ):
            with pytest.raises(type(error)):
                exit_code_of(lambda error=error: fail(error))


PRINTING = """
import sys
sys.path.insert(0, {root!r})
from paddlevideo.utils.command import exit_code_of
sys.exit(exit_code_of(lambda: print({what})))
"""


def printing(what, stdout, *flags):
    code = PRINTING.format(root=str(Path(__file__).parents[2]), what=what)
    command = [sys.executable, *flags, "-c", code]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    return subprocess.run(
        command, check=False, stdout=stdout, stderr=subprocess.PIPE, env=environment
    )


@pytest.mark.parametrize("flags", [(), ("-u",)])
@pytest.mark.parametrize("what", ["'x'", "'x' * 100_000"])
def test_output_without_a_reader_ends_it_quietly(what, flags):
    reading, writing = os.pipe()
    os.close(reading)
    ended = printing(what, writing, *flags)
    os.close(writing)
    assert (ended.returncode, ended.stderr) == (141, b"")


def test_output_on_a_full_disk_is_one_line():
    with open("/dev/full", "w") as full:
        ended = printing("'x'", full)
    assert (ended.returncode, ended.stderr) == (
        1,
        b"error: standard output: No space left on device\n",
    )


def test_what_the_terminal_cannot_show_is_spelled():
    ended = printing(r"'\udcff \u00e4'", subprocess.PIPE)
    assert (ended.returncode, ended.stdout) == (0, rb"\udcff \xe4" + b"\n")


def test_a_name_that_the_locale_cannot_express_is_one_line(tmp_path):
    opens = f"lambda: open({str(tmp_path)!r} + '/\\u00fc', 'w')"
    command = f"from paddlevideo.utils import command; command.exit_code_of({opens})"
    environment = {**os.environ, "LC_ALL": "POSIX", "PYTHONUTF8": "0"}
    ended = subprocess.run(
        [sys.executable, "-c", command], check=False, capture_output=True, env=environment
    )
    assert b"Traceback" not in ended.stderr and b"LC_ALL=C.UTF-8" in ended.stderr
