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


def test_the_readme_shows_the_means_of_the_demo():
    rows = json.loads((DOCS / "results" / "demo_stages.json").read_text())
    titles = ("both", "retrieval head alone", "ActBERT's match head alone")
    readme = (DOCS.parent / "README.md").read_text()
    for title, row in zip(titles, rows, strict=True):
        cells = (f"{row[f'text_to_video.R@{k}']:.1f}" for k in (1, 5, 10))
        assert f"| {title} | {' | '.join(cells)} |\n" in readme
    assert f"mean of {len(rows[0]['seeds'])} seeds" in readme
