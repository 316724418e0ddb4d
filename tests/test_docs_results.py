"""The tables of docs/results.md are those of the result files beside it."""

import json
from pathlib import Path

import pytest

from paddlevideo.cli.ablate import table

DOCS = Path(__file__).parents[1] / "docs"
FILES = sorted((DOCS / "results").glob("*.json"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_table_is_what_the_file_says(path):
    """The files are the results.json of `paddlevideo ablate`."""
    assert table(json.loads(path.read_text())) in (DOCS / "results.md").read_text()


def test_there_are_results():
    assert FILES
