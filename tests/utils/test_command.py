"""How commands end."""

import warnings

import pytest

from paddlevideo.utils.command import exit_code_of
from paddlevideo.utils.errors import ConfigError, DataError


def fail(fault):
    raise fault


@pytest.mark.parametrize(
    "fault, code, line",
    [
        (ConfigError("a key"), 2, "tool: a key\n"),
        (DataError("a clip"), 1, "tool: a clip\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
    ],
)
def test_a_mistake_is_one_line_and_an_exit_code(capsys, fault, code, line):
    with warnings.catch_warnings():
        assert exit_code_of(lambda: fail(fault), "tool") == code
    assert capsys.readouterr().err == line


def test_what_is_no_users_mistake_keeps_its_traceback():
    with warnings.catch_warnings():
        assert exit_code_of(lambda: None) == 0
        with pytest.raises(ZeroDivisionError):
            exit_code_of(lambda: 1 / 0)
