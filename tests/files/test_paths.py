"""``~`` and ``$NAME`` in paths."""

import pytest

from paddlevideo.files.paths import expand_path, path_complaint


@pytest.fixture(autouse=True)
def environment(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/user")
    monkeypatch.setenv("DATA", "/data")
    monkeypatch.setenv("EMPTY", "")
    monkeypatch.delenv("ABSENT", raising=False)


@pytest.mark.parametrize(
    "text, path",
    [
        ("~/run", "/home/user/run"),
        ("~", "/home/user"),
        ("$DATA/train.npy", "/data/train.npy"),
        ("${DATA}/train.npy", "/data/train.npy"),
        ("a/$DATA", "a//data"),
        ("~/$DATA", "/home/user//data"),
        ("a~b/~", "a~b/~"),
        ("./~/run", "./~/run"),
        ("cost$5.csv", "cost$5.csv"),
        (r"bias$|norm$", r"bias$|norm$"),
        ("$ABSENT/x", "$ABSENT/x"),
        ("$EMPTY/x", "$EMPTY/x"),
        ("", ""),
    ],
)
def test_home_and_variables_are_replaced(text, path):
    assert expand_path(text) == path


def test_a_file_of_that_name_is_taken(tmp_path):
    (tmp_path / "price$DATA").touch()
    (tmp_path / "$ABSENT").touch()
    (tmp_path / "$DATA").touch()
    assert expand_path("price$DATA") == "price$DATA"
    assert expand_path("$ABSENT") == "$ABSENT" and not path_complaint("$ABSENT")
    assert expand_path("$DATA") == "/data"
    assert expand_path("./$DATA") == "./$DATA"


@pytest.mark.parametrize(
    "text, complaint",
    [
        ("$ABSENT/x", "the environment variable ABSENT is not set"),
        ("a/${ABSENT}", "the environment variable ABSENT is not set"),
        ("$EMPTY/x", "EMPTY is not set"),
        ("~nosuchuser/x", 'there is no user "nosuchuser"'),
        ("./$ABSENT/x", ""),
        ("cost$5.csv", ""),
        ("/data/x", ""),
    ],
)
def test_what_is_left_is_told(text, complaint):
    found = path_complaint(expand_path(text))
    assert complaint in found and bool(complaint) == bool(found)
