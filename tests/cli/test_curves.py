"""tools/curves.py: pictures of one run and of several."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from paddlevideo.cli import report

pytestmark = pytest.mark.usefixtures("rendered")


@pytest.fixture
def runs(tmp_path):
    for name in ("old/Tiny", "new/Tiny", "Other"):
        folder = tmp_path / name
        folder.mkdir(parents=True)
        records = [{"epoch": 1, "step": n, "step_total": n, "loss": 1 / n} for n in (1, 2, 3)]
        (folder / "train.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))
    return tmp_path


def test_files_and_folders_are_drawn(runs, capsys):
    one, both = runs / "one.png", runs / "both.png"
    assert report.curves([str(runs / "Other" / "train.jsonl"), "-o", str(one)]) == 0
    assert report.curves([str(runs / "Other"), str(runs / "old" / "Tiny"), "-o", str(both)]) == 0
    assert f"wrote {both}" in capsys.readouterr().out
    heights = [Image.open(path).height for path in (one, both)]
    assert heights[1] > heights[0], "a legend of runs"


def test_runs_of_one_name_are_told_apart_by_the_folder_above(runs):
    paths = [runs / "old" / "Tiny", runs / "new" / "Tiny" / "train.jsonl"]
    assert report.names_of(paths) == ["old/Tiny", "new/Tiny"]
    assert report.names_of([runs / "Other", runs / "old" / "Tiny"]) == ["Other", "Tiny"]


def test_mistakes_are_one_line(runs, capsys):
    assert report.curves([str(runs / "absent")]) == 1
    assert capsys.readouterr().err.startswith("error: ")
    assert report.curves([str(runs / "Other")] * 8) == 2
    assert "at most 7" in capsys.readouterr().err
