"""Errors that the user can fix, which commands print in one line, and the end of a stopped run."""

from __future__ import annotations

import signal

#: Exit code of a stopped run, except after Ctrl-C: "try again later" in sysexits.h.
STOPPED = 75


class UserError(Exception):
    """An error in the user's input: the message says what is wrong, where, and what to do."""

    exit_code = 1


class ConfigError(UserError, ValueError):
    """An error in the configuration or on the command line."""

    exit_code = 2


class DataError(UserError, ValueError):
    """An error in a data file: the message names the file and the row, key or clip."""


class ToldElsewhere(UserError):
    """An error that rank 0 reports: this rank ends without a message."""

    def __init__(self, exit_code: int) -> None:
        """``exit_code``: that of the error."""
        super().__init__("rank 0 says why the run ends")
        self.exit_code = exit_code


class WeightsError(UserError, ValueError):
    """Weights or a checkpoint that cannot be read or do not fit the model."""


class Stopped(Exception):
    """The run was stopped by a signal, and everything is saved."""

    def __init__(self, signum: int | None) -> None:
        """``signum``: the signal, or None if another rank received it."""
        super().__init__("stopped on request; --resume auto continues from here")
        self.exit_code = 128 + signal.SIGINT if signum == signal.SIGINT else STOPPED
