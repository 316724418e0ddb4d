"""What predict prints, and the subtitles that it writes."""

from __future__ import annotations

import json
import sys

import pytest

from paddlevideo.describe.output import bar, print_rows, write_srt
from paddlevideo.utils.errors import ConfigError

CAPTIONS = [
    {
        "clip": "a_0_5",
        "video": "a",
        "start": 0.0,
        "end": 5.0,
        "caption": "one",
        "log_probability": -1,
    },
    {
        "clip": "a_5_9",
        "video": "a",
        "start": 5.0,
        "end": 9.0,
        "caption": "two",
        "log_probability": -2,
    },
]
SEGMENTS = {
    "video": "v",
    "seconds": 40,
    "segments": [
        {"start": 0, "end": 10, "label": "cut"},
        {"start": 20, "end": 40, "label": "fry"},
    ],
}


def test_json_lines_hold_everything(capsys):
    assert print_rows(iter(CAPTIONS), as_json=True) == CAPTIONS
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == CAPTIONS


def test_a_pipe_gets_a_header_and_a_line_for_each_part(capsys):
    print_rows([*CAPTIONS[:1], SEGMENTS], as_json=False)
    assert capsys.readouterr().out.splitlines() == [
        "clip\tvideo\tstart\tend\tcaption",
        "a_0_5\ta\t0.0\t5.0\tone",
        "video\tstart\tend\tlabel",
        "v\t0\t10\tcut",
        "v\t20\t40\tfry",
    ]


def test_a_terminal_gets_a_table_and_bars(capsys, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "60")
    print_rows([SEGMENTS], as_json=False)
    text = capsys.readouterr().out
    assert "label" in text and "v, 40 s:" in text


def test_a_bar_shows_each_second_in_its_place():
    cells = {}
    for span in bar(SEGMENTS, 20).spans:
        for cell in range(span.start, min(span.end, 20)):
            cells[cell] = span.style
    assert [cells.get(cell) or None for cell in (0, 4, 6, 9, 10, 19)] == [
        *("on blue", "on blue", None, None, "on yellow", "on yellow"),
    ]


def test_subtitles_of_a_video(tmp_path):
    (path,) = write_srt(CAPTIONS, tmp_path / "new")
    assert path == tmp_path / "new" / "a.srt"
    assert path.read_text().startswith("1\n00:00:00,000 --> 00:00:05,000\none\n\n2\n00:00:05,000")


def test_clips_without_times_have_no_subtitles(tmp_path):
    with pytest.raises(ConfigError, match='the times of clip "b" are unknown.*--every SECONDS'):
        write_srt([{"clip": "b", "caption": "one"}], tmp_path / "new")
    assert not (tmp_path / "new").exists()
