"""Words of texts, also of Chinese ones, which have no spaces between words."""

from __future__ import annotations

import re

#: A Chinese character: the ranges that BERT tokenizes one by one.
CHINESE = (
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\U00020000-\U0002a6df\U0002a700-\U0002ceaf\U0002f800-\U0002fa1f"
)
_CHARACTER = re.compile(f"[{CHINESE}]")


def spaced(text: str) -> str:
    """Returns ``text`` with spaces around each Chinese character, as BERT's tokenizer adds them."""
    return text if text.isascii() else _CHARACTER.sub(r" \g<0> ", text)


def split_words(text: str) -> list[str]:
    """Returns the words of ``text``: what spaces separate, and each Chinese character."""
    return spaced(text).split()
