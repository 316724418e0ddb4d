"""Words that the package, its tools and its pages do not use: see docs/CONTRIBUTING.md."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FILES = [
    path
    for pattern in ("paddlevideo/**/*.py", "tools/**/*.py", "docs/*.md", "README.md", "main.py")
    for path in sorted(ROOT.glob(pattern))
    if path.name != "CONTRIBUTING.md"  # lists such words
]
#: What to avoid, and what to write instead.
AVOIDED = {
    r"anew": "again",
    r"amiss": "wrong or missing",
    r"whoever|nobody": "the one who, no one",
    r"(?<!not )so (?:many|much)(?! (?:as|that))": "the number of, at most N",
    r"(?<!there )is no (?:whole|valid|number|text|UTF-8|map|list|file|store|clip)": "is not a",
    r"except [\w(), .]+ as (?:fault|mistake)": "except ... as error",
    r"who stands where": "ranks",
    r"seen to|as it stands|by and by": "plain words",
    r"goes? on from": "resumes from",
    r"letters": "characters",
    r"where (?:[\w' ]+ )?belongs?\b": "expected",
}


@pytest.mark.parametrize("phrase", AVOIDED)
def test_words_that_are_not_used(phrase):
    pattern = re.compile(rf"\b(?:{phrase})\b", re.IGNORECASE)
    uses = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in FILES
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if pattern.search(line)
    ]
    assert not uses, f"write {AVOIDED[phrase]} instead:\n" + "\n".join(uses)
