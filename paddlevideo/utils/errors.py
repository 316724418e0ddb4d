"""Errors that the user can fix. Commands print them in one line, without a traceback."""

from __future__ import annotations


class UserError(Exception):
    """An error in the user's input: the message says what is wrong, where, and what to do."""

    exit_code = 1


class ConfigError(UserError, ValueError):
    """An error in the configuration or on the command line."""

    exit_code = 2


class DataError(UserError, ValueError):
    """An error in a data file: the message names the file and the row, key or clip."""


class WeightsError(UserError, ValueError):
    """Weights or a checkpoint that cannot be read or do not fit the model."""
