"""The two paths of docs/code_tour.md are those that the code takes."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from paddlevideo.cli import run as main
from tests.tiny_data import make_project

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "code_tour.md").read_text("utf-8")


def path_in(title: str) -> list[tuple[str, str]]:
    """The files and functions of the numbered list below a title."""
    section = PAGE[PAGE.index(f"## {title}") :].split("\n## ")[0]
    steps = re.findall(r"^\d+\. `([\w/]+\.py):(?:\w+\.)?(\w+)` ", section, re.M)
    assert len(steps) == len(re.findall(r"^\d+\. ", section, re.M)) <= 10
    return steps


def calls_of(arguments: list[str]) -> list[tuple[str, str]]:
    """The functions of the package that a command calls, in the order of their first calls."""
    calls: dict[tuple[str, str], None] = {}

    def profile(frame, event, _):
        if event == "call" and frame.f_code.co_filename.startswith(str(ROOT)):
            file = Path(frame.f_code.co_filename).relative_to(ROOT)
            calls.setdefault((file.as_posix(), frame.f_code.co_name))

    sys.setprofile(profile)
    try:
        assert main.main(arguments) == 0
    finally:
        sys.setprofile(None)
    return list(calls)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tour")
    make_project(folder)
    return folder


@pytest.fixture(scope="module")
def training(project):
    return calls_of(["-c", str(project / "tiny.yaml"), "--max_iters", "1"])


@pytest.fixture(scope="module")
def testing(project, training):
    weights = str(project / "output" / "Tiny_epoch_00001.pdparams")
    return calls_of(["--test", "-c", str(project / "tiny.yaml"), "-w", weights])


@pytest.mark.parametrize(
    ("title", "calls"), [("One training step", "training"), ("One retrieval test", "testing")]
)
def test_the_path_is_the_one_that_is_taken(title, calls, request):
    taken, path = request.getfixturevalue(calls), path_in(title)
    assert not set(path) - set(taken)
    assert path == [step for step in taken if step in path]


def test_every_package_is_in_the_table():
    folders = {path.parent.name for path in (ROOT / "paddlevideo").glob("*/__init__.py")}
    assert folders == set(re.findall(r"`paddlevideo/(\w+)/`", PAGE))
