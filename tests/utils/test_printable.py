"""Text that steers a terminal, or that is not text."""

from __future__ import annotations

import pytest

from paddlevideo.utils.printable import printable, without_surrogates


def test_what_steers_a_terminal_is_spelled() -> None:
    assert printable("a\x1b[1m b") == "a\\x1b[1m b"


@pytest.mark.parametrize(
    "text, expected",
    [
        ("größe 厨房 😀", "größe 厨房 😀"),
        ("größe 厨房".encode().decode("ascii", "surrogateescape"), "größe 厨房"),
        ("half \ud83d of a pair", "half ? of a pair"),
        ("latin-1 \udce9", "latin-1 \ufffd"),
    ],
)
def test_bytes_that_were_not_decoded_become_what_they_were(text: str, expected: str) -> None:
    assert without_surrogates(text) == expected
