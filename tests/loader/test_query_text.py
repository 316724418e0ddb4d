from __future__ import annotations

import pytest

from paddlevideo.loader import load_tokenizer
from paddlevideo.loader.tokenizer import check_query
from paddlevideo.utils.errors import ConfigError

TOKENIZER = load_tokenizer("bert-base-uncased")


def test_what_is_not_read_of_a_sentence_is_told():
    assert check_query(TOKENIZER, "a red circle", 5) == ""
    assert "truncated to 3 pieces" in check_query(TOKENIZER, "a red circle moves", 5)
    both = check_query(TOKENIZER, "a red \U0001f600 moves", 5)
    assert "truncated to 3 pieces" in both and "1 of its 3 pieces are unknown words" in both


def test_a_sentence_in_another_encoding_is_refused():
    with pytest.raises(ConfigError, match="not valid UTF-8"):
        check_query(TOKENIZER, "caf\udce9", 9)
