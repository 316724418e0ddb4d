"""The database of what is larger than memory."""

import gc
import sqlite3
import sys

import pytest

from paddlevideo.files.temporary_database import database_errors, temporary_database
from paddlevideo.utils.errors import DataError


def test_is_closed_with_its_last_use(monkeypatch):
    """An open one that is collected is a warning of Python 3.13, wherever that happens."""
    found = []
    monkeypatch.setattr(sys, "unraisablehook", found.append)
    base = temporary_database("CREATE TABLE names (name TEXT);")
    base.execute("INSERT INTO names VALUES ('a')")
    rows = base.execute("SELECT name FROM names")
    del base
    assert rows.fetchall() == [("a",)]  # a cursor keeps it open
    del rows
    gc.collect()
    assert not found
    kept = temporary_database("CREATE TABLE names (name TEXT);")
    kept.__del__()
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        kept.execute("SELECT 1")


def test_an_error_of_the_database_says_what_to_do():
    with pytest.raises(DataError, match="SQLITE_TMPDIR"), database_errors():
        temporary_database("CREATE TABLE names (name TEXT);").execute("SELECT * FROM others")
