"""The caption: which of them, and its ids."""

from __future__ import annotations

import json
import os
from functools import lru_cache
from typing import Any

import numpy as np

from paddlevideo.loader.tokenizer import load_tokenizer
from paddlevideo.registry import PIPELINES, InputPath
from paddlevideo.utils.errors import ConfigError, DataError

#: A drawn caption that the clip has itself is drawn again, at most so often.
_DRAWS = 10


def alternatives(caption: str, where: str) -> tuple[str, ...]:
    """The alternatives of a caption, which ``!`` separates, blank ones left out.

    Raises DataError, beginning with ``where``, if none is left.
    """
    kept = tuple([part.strip() for part in caption.split("!") if part.strip()])
    if not kept:
        raise DataError(f'{where}: the caption "{caption}" is blank')
    return kept


@lru_cache(maxsize=8)
def read_caption_file(path: str) -> tuple[tuple[str, ...], ...]:
    """The alternatives of every caption in a JSON list of strings, read once in a process.

    Raises DataError naming the file and the place in the list.
    """
    try:
        with open(path, encoding="utf-8") as file:
            captions = json.load(file)
    except (OSError, ValueError) as fault:
        raise DataError(f"{path}: cannot be read as JSON ({fault})") from None
    if not isinstance(captions, list) or not captions:
        raise DataError(f"{path}: not a list of captions")
    for number, caption in enumerate(captions):
        if not isinstance(caption, str):
            raise DataError(f"{path}: caption {number} is {caption!r:.60}, which is not text")
    return tuple(
        [alternatives(text, f"{path}: caption {number}") for number, text in enumerate(captions)]
    )


@PIPELINES.register()
class RandomCap:
    """Chooses one alternative of the caption, or, at ``rate``, another clip's.

    The alternatives are ``captions``, where there are several, or those that ``!`` separates in
    ``caption``. Changes ``caption``, adds ``next_sentence_label`` (0 = it belongs to the clip, 1 =
    it does not).
    ``caption_path`` is a JSON list of captions. A drawn caption equal to one of the clip's own is
    drawn again: its label would be wrong.
    """

    def __init__(self, caption_path: InputPath, rate: float = 0.5):
        if not 0 <= rate <= 1:
            raise ConfigError(f"RandomCap: rate is {rate}; a probability is from 0 to 1")
        self.rate = rate
        self.captions = read_caption_file(os.path.abspath(caption_path))

    def __call__(self, sample: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
        """The sample with its caption chosen."""
        own = sample.get("captions") or alternatives(sample["caption"], "RandomCap")
        caption, label = own[rng.integers(len(own))], 0
        if rng.random() < self.rate:
            for _ in range(_DRAWS):
                other = self.captions[rng.integers(len(self.captions))]
                drawn = other[rng.integers(len(other))]
                if drawn not in own:
                    caption, label = drawn, 1
                    break
        return {**sample, "caption": caption, "next_sentence_label": label}


@PIPELINES.register()
class Tokenize:
    """Turns ``caption`` into ``text_ids``, ``token_type_ids`` and ``text_mask``, each (T,) int64.

    [CLS] caption [SEP], a long caption cut, zero padded. The vocabulary is ``bert_model``, or the
    data set's where that is None; the sample's ``bert_model`` becomes the one used.
    """

    def __init__(self, bert_model: str | None = None, max_seq_length: int = 36):
        if max_seq_length < 3:
            raise ConfigError("Tokenize: max_seq_length is at least 3: [CLS], a word, [SEP]")
        self.bert_model, self.length = bert_model, max_seq_length

    def __call__(self, sample: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
        """The sample with ids in the place of its caption."""
        sample = dict(sample)
        sample["bert_model"] = self.bert_model or sample.get("bert_model", "bert-base-uncased")
        tokenizer = load_tokenizer(sample["bert_model"])
        ids = tokenizer.encode(sample.pop("caption"), self.length)
        return {**sample, **pad_ids(ids, self.length, tokenizer.pad_id)}


def pad_ids(ids: list[int], length: int, padding: int) -> dict[str, np.ndarray]:
    """The three text arrays, each (length,) int64, of a list of at most ``length`` ids."""
    padded = np.full(length, padding, np.int64)
    padded[: len(ids)] = ids
    return {
        "text_ids": padded,
        "token_type_ids": np.zeros(length, np.int64),
        "text_mask": (np.arange(length) < len(ids)).astype(np.int64),
    }
