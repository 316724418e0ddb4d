"""Sentences to search with: one that the vocabulary cannot express finds nothing."""

from __future__ import annotations

from paddlevideo.loader.captions.matching import is_text
from paddlevideo.loader.tokenizer import BertTokenizer
from paddlevideo.utils.errors import ConfigError
from paddlevideo.utils.printable import printable


def check_query(tokenizer: BertTokenizer, sentence: str, max_length: int) -> str:
    """A warning about what the model does not read of ``sentence``, empty where it reads all.

    It reads ``max_length`` pieces, and words that the vocabulary has. Raises ConfigError where
    they say nothing: every clip would have a score, and the order of the scores would mean nothing.
    """
    shown = f'"{printable(sentence):.60}"'
    if not is_text(sentence):
        raise ConfigError(f"the sentence {shown} is not valid UTF-8: check the terminal's encoding")
    pieces = tokenizer.encode(sentence, max_length)[1:-1]
    unknown = pieces.count(tokenizer.unknown_id)
    if not pieces:
        raise ConfigError(f"the sentence {shown} is empty: write what to look for")
    advice = (
        f"the vocabulary {tokenizer.source} cannot express it. Use words that it has, or a model "
        "that was trained with another bert_model, such as bert-base-chinese or "
        "bert-base-multilingual-uncased"
    )
    if unknown == len(pieces):
        raise ConfigError(f"{shown}: all {unknown} pieces are unknown words ([UNK]): {advice}")
    warnings = []
    if tokenizer.count(sentence)[0] > len(pieces):
        warnings.append(f"it is cut after {len(pieces)} pieces (max_seq_length)")
    if unknown:
        warnings.append(
            f"{unknown} of its {len(pieces)} pieces are unknown words ([UNK]): {advice}"
        )
    return f"{shown}: {'; '.join(warnings)}" if warnings else ""
