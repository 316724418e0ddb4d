"""Sentences to search with: one that the vocabulary cannot express finds nothing."""

from __future__ import annotations

from paddlevideo.loader.tokenizer import BertTokenizer
from paddlevideo.utils.errors import ConfigError
from paddlevideo.utils.printable import printable


def check_query(tokenizer: BertTokenizer, sentence: str, max_length: int) -> str:
    """A warning about words of ``sentence`` that the vocabulary lacks, empty where it has all.

    Of the sentence the model reads ``max_length`` pieces. Raises ConfigError where they say
    nothing: every clip would have a score, and the order of the scores would mean nothing.
    """
    pieces = tokenizer.encode(sentence, max_length)[1:-1]
    unknown = pieces.count(tokenizer.unknown_id)
    shown = f'"{printable(sentence):.60}"'
    if not pieces:
        raise ConfigError(f"the sentence {shown} is empty: write what to look for")
    if not unknown:
        return ""
    advice = (
        f"the vocabulary {tokenizer.source} cannot express it. Use words that it has, or a model "
        "that was trained with another bert_model, such as bert-base-chinese or "
        "bert-base-multilingual-uncased"
    )
    if unknown == len(pieces):
        raise ConfigError(f"{shown}: all {unknown} pieces are unknown words ([UNK]): {advice}")
    return f"{shown}: {unknown} of its {len(pieces)} pieces are unknown words ([UNK]): {advice}"
