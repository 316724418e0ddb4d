"""What predict prints, and the subtitles that it writes."""

from __future__ import annotations

import json
import sys

import pytest

from paddlevideo.describe.output import bar, print_rows, write_coin, write_srt
from paddlevideo.loader.timeline.labels import coin_labels
from paddlevideo.utils.class_names import read_coin
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


def test_a_text_does_not_break_the_lines_of_a_pipe(capsys):
    """It may be a quoted field of a CSV, or given on the command line."""
    row = {"clip": "a", "question": "why\tnot", "answer": "to\r\neat", "scores": {"to\r\neat": 1.0}}
    print_rows([row], as_json=False)
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["clip\tquestion\tanswer\tscores", "a\twhy not\tto eat\t1.00 to eat"]


def test_a_terminal_gets_a_table_and_bars(capsys, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "60")
    print_rows([SEGMENTS], as_json=False)
    text = capsys.readouterr().out
    assert "label" in text and "v, 40 s:" in text


CHOICE = {
    **{"clip": "a_0_5", "video": "a", "start": 0.0, "end": 5.0, "question": "why [loud] [/b]"},
    **{"answer": "to [x] rest", "scores": {"to eat": -1.25, "to [x] rest": 0.5}},
}


def test_candidates_are_listed_best_first(capsys, monkeypatch):
    """And what looks like markup is text."""
    print_rows([CHOICE], as_json=False)
    header, line = capsys.readouterr().out.splitlines()
    assert header == "clip\tvideo\tstart\tend\tquestion\tanswer\tscores"
    assert line.endswith("why [loud] [/b]\tto [x] rest\t0.50 to [x] rest; -1.25 to eat")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    print_rows([CHOICE], as_json=False)
    table = capsys.readouterr().out.splitlines()
    assert "answer" not in table[1]  # it is the first of the scores
    assert sum("why [loud] [/b]" in line and "0.50 to [x] rest" in line for line in table) == 1
    assert sum("-1.25 to eat" in line for line in table) == 1


def test_a_clip_that_is_called_by_its_times_is_not_named_in_the_table(capsys, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "40")
    print_rows(CAPTIONS, as_json=False)
    assert "a_0_5" not in capsys.readouterr().out
    print_rows([{**CAPTIONS[0], "clip": "mine"}], as_json=False)
    assert "mine" in capsys.readouterr().out


def test_a_long_name_is_whole_in_a_narrow_table(capsys, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "20")
    print_rows([{"clip": "x" * 30, "caption": "one"}], as_json=False)
    assert capsys.readouterr().out.count("x") == 30


def test_a_bar_shows_each_second_in_its_place():
    """Not by colours alone: a terminal may have none."""
    line, legend = bar(SEGMENTS, 20).plain.split("\n")
    assert line == "aaaaa     bbbbbbbbbb"
    assert legend == "v, 40 s:  a cut  b fry"


def test_segments_in_the_form_of_coin(tmp_path):
    write_coin([SEGMENTS], ("background", "fry", "cut"), tmp_path / "new" / "coin.json")
    database = read_coin(str(tmp_path / "new" / "coin.json"))
    labels = coin_labels("v", database["v"], 3, "coin.json")
    assert labels.tolist() == [2] * 10 + [0] * 10 + [1] * 20


def test_whatever_has_times_can_be_subtitles(tmp_path):
    steps = {"video": "sub/v", "seconds": 9, "steps": [{"step": "cut", "second": 3, "score": 1.0}]}
    answer = {"clip": "c", "start": 1.0, "end": 2.0, "question": "what", "answer": "soup"}
    caption = {"clip": "d", "start": 1.0, "end": 2.0, "answer": "soup"}
    files = write_srt([SEGMENTS, steps, {**steps, "task": "Soup"}, answer, caption], tmp_path)
    assert [path.relative_to(tmp_path).as_posix() for path in files] == [
        *("v.srt", "sub/v.srt", "c.srt", "d.srt"),
    ]
    texts = [path.read_text() for path in files]
    assert "00:00:20,000 --> 00:00:40,000\nfry" in texts[0]
    assert "00:00:03,000 --> 00:00:04,000\ncut" in texts[1]
    assert "\nSoup: cut\n" in texts[1]
    assert "\nwhat: soup\n" in texts[2] and "\nsoup\n" in texts[3]


def test_subtitles_stay_in_their_folder(tmp_path):
    row = {**CAPTIONS[0], "video": "../other/v"}
    assert write_srt([row], tmp_path / "srt") == [tmp_path / "srt" / "other" / "v.srt"]


def test_subtitles_of_a_video(tmp_path):
    (path,) = write_srt(CAPTIONS, tmp_path / "new")
    assert path == tmp_path / "new" / "a.srt"
    assert path.read_text().startswith("1\n00:00:00,000 --> 00:00:05,000\none\n\n2\n00:00:05,000")


def test_clips_without_times_have_no_subtitles(tmp_path):
    with pytest.raises(ConfigError, match='the times of clip "b" are unknown.*--every SECONDS'):
        write_srt([{"clip": "b", "caption": "one"}], tmp_path / "new")
    assert not (tmp_path / "new").exists()
