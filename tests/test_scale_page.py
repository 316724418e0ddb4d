"""docs/scale.md: arithmetic beside its results."""

import re
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "scale.md"


def test_the_numbers_of_a_hundred_million_are_those_of_the_code_above_them(capsys):
    section = PAGE.read_text("utf-8").split("### A hundred million\n")[1]
    code, shown = re.findall(r"^```(?:python|text)\n(.*?)^```$", section, re.M | re.S)[:2]
    exec(compile(code, str(PAGE), "exec"), {})  # noqa: S102
    assert capsys.readouterr().out == shown
