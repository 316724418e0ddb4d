from __future__ import annotations

import builtins
import json
import sys

import pytest

from paddlevideo.report import write_queries
from tests.report.samples import results_of, some_queries
from tools import report


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

    monkeypatch.delitem(sys.modules, "paddlevideo.report.thumbnails", raising=False)
    monkeypatch.setattr(builtins, "__import__", no_opencv)
    assert report.main(["--results", str(folder)]) == 0
    capsys.readouterr()
    assert report.main(["--results", str(folder), "--videos", str(folder)]) == 1
    assert "pip install opencv-python-headless" in capsys.readouterr().err


def test_a_negative_number_is_refused(folder, capsys):
    with pytest.raises(SystemExit) as stop:
        report.main(["--results", str(folder), "--shown", "-1"])
    assert stop.value.code == 2
    assert "--shown" in capsys.readouterr().err
