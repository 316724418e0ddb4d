from __future__ import annotations

import builtins
import json
import sys

import numpy as np
import pytest

from paddlevideo.cli import report
from paddlevideo.report import write_queries
from tests.loader.clips import make_clip, write
from tests.report.samples import results_of, some_queries


@pytest.fixture
def folder(tmp_path):
    queries = some_queries(8)
    (tmp_path / "results.json").write_text(json.dumps(results_of(queries)))
    write_queries(tmp_path / "queries.jsonl", queries)
    return tmp_path


def test_the_page_is_made_from_the_files_of_a_test(folder, capsys):
    assert report.main(["--results", str(folder), "--shown", "2"]) == 0
    assert capsys.readouterr().out == f"wrote {folder / 'report.html'}\n"
    assert (folder / "report.html").read_text("utf-8").count('class="card panel"') == 4


def test_the_page_goes_where_it_is_wanted(folder):
    output = folder / "new" / "page.html"
    assert report.main(["--results", str(folder), "--output", str(output)]) == 0
    assert output.is_file()


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("results.json", None, "cannot be read"),
        ("results.json", "{", "not JSON"),
        ("results.json", '{"loss": 1}', "text_to_video"),
        ("results.json", "[]", "text_to_video"),
        ("queries.jsonl", None, "cannot be read"),
        ("queries.jsonl", "{}\n", "line 1"),
    ],
)
def test_a_wrong_file_is_explained(folder, capsys, name, text, message):
    (folder / name).unlink()
    if text is not None:
        (folder / name).write_text(text)
    assert report.main(["--results", str(folder)]) == 1
    errors = capsys.readouterr().err
    assert errors.startswith(f"error: {folder / name}") and message in errors
    assert not (folder / "report.html").exists()


def test_a_wrong_folder_of_videos_is_explained(folder, capsys):
    assert report.main(["--results", str(folder), "--videos", str(folder / "absent")]) == 1
    assert "no such folder" in capsys.readouterr().err


def test_without_opencv_thumbnails_say_how_to_install_it(folder, capsys, monkeypatch):
    real_import = builtins.__import__

    def no_opencv(name, *arguments, **more):
        if name == "cv2":
            raise ModuleNotFoundError("No module named 'cv2'", name="cv2")
        return real_import(name, *arguments, **more)

    for name in ("report.thumbnails", "utils.opencv"):
        monkeypatch.delitem(sys.modules, f"paddlevideo.{name}", raising=False)
    monkeypatch.setattr(builtins, "__import__", no_opencv)
    assert report.main(["--results", str(folder)]) == 0
    capsys.readouterr()
    assert report.main(["--results", str(folder), "--videos", str(folder)]) == 1
    assert "pip install opencv-python-headless" in capsys.readouterr().err


def test_pictures_come_from_the_videos_of_the_store_that_was_tested(folder, capsys):
    cv2 = pytest.importorskip("cv2")
    picture = folder / "elsewhere.png"
    cv2.imwrite(str(picture), np.full((60, 80, 3), 99, np.uint8))
    clips = [make_clip(number, source=str(picture), span=None) for number in range(20)]
    write(folder / "clips.store", clips)
    results = json.loads((folder / "results.json").read_text())
    results["protocol"] = {"features": str(folder / "clips.store")}
    (folder / "results.json").write_text(json.dumps(results))
    assert report.main(["--results", str(folder)]) == 0
    assert "data:image/jpeg" in (folder / "report.html").read_text("utf-8")
    (folder / "clips.store" / "store.json").rename(folder / "clips.store" / "unfinished.json")
    assert report.main(["--results", str(folder)]) == 0
    assert "data:image/jpeg" not in (folder / "report.html").read_text("utf-8")
    words = ["--results", str(folder), "--features", str(folder / "clips.store")]
    assert report.main(words) == 1 and "not finished" in capsys.readouterr().err


def test_a_place_that_cannot_be_written_to_is_told_first(folder, capsys):
    (folder / "results.json").unlink()  # is not looked at
    assert report.main(["--results", str(folder), "--output", "/dev/null/x.html"]) == 2
    assert "--output /dev/null/x.html: cannot be written" in capsys.readouterr().err


def test_a_negative_number_is_refused(folder, capsys):
    with pytest.raises(SystemExit) as stop:
        report.main(["--results", str(folder), "--shown", "-1"])
    assert stop.value.code == 2
    assert "--shown" in capsys.readouterr().err
