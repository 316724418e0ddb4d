"""Faults that a user can mend. ``main.py`` prints them without a traceback."""

from __future__ import annotations


class UserError(Exception):
    """A fault in what the user gave: the message says what, where, and what to do about it."""

    exit_code = 1


class ConfigError(UserError, ValueError):
    """A fault in the configuration or on the command line."""

    exit_code = 2


class DataError(UserError, ValueError):
    """A fault in a data file: the message names the file and the row, key or clip."""


class WeightsError(UserError, ValueError):
    """Weights or a checkpoint that cannot be read or do not fit the model."""
