"""Text in pictures: drawn by a font that has it, within its width, and never over other labels."""

from __future__ import annotations

import numpy as np
import pytest

from paddlevideo.report import fonts
from paddlevideo.report.fonts import LabelSpace, families_for, fitted, font_for, wrapped


def test_a_text_is_cut_to_its_width_with_an_ellipsis():
    for text in ("a long caption " * 9, "Ein Mädchen grüßt " * 9, "чашка кофе " * 9, "w" * 200):
        cut = fitted(text, 14, 200)
        assert cut.endswith("...") and text.startswith(cut[:-3])
        assert 150 < font_for(text, 14).getlength(cut) <= 200
    assert fitted("short", 14, 200) == "short"
    assert fitted("two\nlines\x1b", 14, 200) == "two lines"
    assert fitted("anything", 14, 3) == ""


def test_a_text_is_broken_into_lines_that_fit():
    lines = wrapped("a man cuts the onion and then he stirs it slowly", 16, 150, 9)
    assert " ".join(lines) == "a man cuts the onion and then he stirs it slowly"
    assert len(lines) > 2 and all(font_for(line, 16).getlength(line) <= 150 for line in lines)
    assert len(wrapped("word " * 90, 16, 150, 3)) == 3
    assert wrapped("word " * 90, 16, 150, 3)[-1].endswith("...")
    whole = wrapped("w" * 40, 16, 150, 9)  # no spaces, as in Chinese
    assert "".join(whole) == "w" * 40 and len(whole) > 1
    assert wrapped("", 16, 150, 3) == []


@pytest.fixture
def two_fonts(monkeypatch):
    """One font has ASCII here, another one Greek too, and no font anything else."""
    held = {"/plain.ttf": frozenset("abc"), "/greek.ttf": frozenset("abc\u03b1\u03b2")}
    known = (("DejaVu Sans", "/plain.ttf"), ("Greek", "/greek.ttf"))
    monkeypatch.setattr(fonts, "fonts_of_the_system", lambda: known)
    monkeypatch.setattr(fonts, "characters_of", held.__getitem__)
    monkeypatch.setattr(fonts, "_open", lambda path, size: path)
    monkeypatch.setattr(fonts, "_WARNED", set())


def test_the_font_is_one_that_has_the_characters(two_fonts, capsys):
    assert font_for("ab", 9) == "", "Pillow's own"
    assert font_for("a\u03b1", 9) == "/greek.ttf"
    assert families_for("ab") == families_for("") == ["DejaVu Sans"]
    assert families_for("a\u03b1") == ["DejaVu Sans", "Greek"]
    assert capsys.readouterr().err == ""


def test_characters_that_no_font_has_are_told_once(two_fonts, capsys):
    assert font_for("\u03b1\u6d0b", 9) == "/greek.ttf", "has most of them"
    assert font_for("\u8471", 9) == ""
    assert families_for("\u03b1\u8471") == ["DejaVu Sans", "Greek"]
    message = capsys.readouterr().err
    assert message.count("\n") == 1 and "\u6d0b" in message and "fonts-noto-cjk" in message


def test_fonts_of_the_system_begin_with_one_that_is_always_there():
    (name, path), *_ = fonts.fonts_of_the_system()
    assert name == "DejaVu Sans"
    assert set("az\u00e4\u03b1\u0416\u05d0") <= fonts.characters_of(path)
    assert fonts.characters_of("/no/such/font.ttf") == frozenset()


def test_labels_stay_inside_and_apart():
    space = LabelSpace((10, 20, 110, 90))
    rng = np.random.default_rng(0)
    taken = []
    for _ in range(40):
        width, (x, y) = int(rng.integers(20, 60)), rng.integers(-50, 200, 2)
        if (place := space.take(int(x), int(y), width, 12)) is not None:
            taken.append((*place, place[0] + width, place[1] + 12))
    assert len(taken) > 5
    for number, (x1, y1, x2, y2) in enumerate(taken):
        assert 10 <= x1 < x2 <= 110 and 20 <= y1 < y2 <= 90
        for other in taken[:number]:
            assert x2 <= other[0] or other[2] <= x1 or y2 <= other[1] or other[3] <= y1
    assert LabelSpace((0, 0, 50, 10)).take(0, 0, 51, 5) is None
    assert LabelSpace((0, 0, 50, 10)).take(3, 4, 20, 6) == (3, 4)


def test_a_canvas_draws_other_than_ascii_and_stays_within_it():
    pytest.importorskip("cv2")
    from paddlevideo.report.thumbnails import Canvas

    def drawn(text, place=(4, 30), **more):
        canvas = Canvas(40, 120, (255, 255, 255))
        canvas.text(text, place, (0, 0, 200), 20, **more)
        return canvas.pixels

    assert (drawn("\u00e4") != drawn("?")).any() and (drawn("\u00e4") != drawn("a")).any()
    assert (drawn("abc")[:, :, 2] != 255).sum() < (drawn("abc")[:, :, 0] != 255).sum()  # red
    columns = np.flatnonzero((drawn("w" * 90, width=60) != 255).any(axis=(0, 2)))
    assert columns.min() >= 3 and columns.max() < 66
    assert (drawn("w" * 90)[:, -1] == 255).all()
    for place in ((-5, 30), (4, -3), (4, 45), (119, 30), (500, 500)):
        drawn("abc", place)
