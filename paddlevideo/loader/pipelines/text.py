"""Chooses a caption and converts it to ids."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from paddlevideo.loader.captions.bank import alternatives, open_bank
from paddlevideo.loader.tokenizer import TextLength, load_tokenizer
from paddlevideo.registry import PIPELINES, InputPath, NameOrPath, Share, Split
from paddlevideo.utils.errors import ConfigError
from paddlevideo.utils.ranges import Probability

#: Maximum number of draws for a caption that the clip does not have.
_DRAWS = 10


@PIPELINES.register()
class RandomCap:
    """Chooses one of the clip's captions or, with probability ``rate``, another clip's.

    The clip's are ``captions``, or else the alternatives that ``!`` separates in ``caption``. Sets
    ``caption`` and ``next_sentence_label`` (0 = it belongs to the clip, 1 = it does not).
    ``caption_path`` is the source of other clips' captions: a JSON list of captions, a feature
    store, or any other file that :func:`paddlevideo.loader.captions.read_lines` reads. A drawn
    caption that is also one of the clip's is drawn again, as its label would be wrong. ``split``:
    draw captions of a store's clips that are for "train", "valid" or "test"; ``share``: of those in
    the shards of a rank.
    """

    def __init__(
        self,
        caption_path: InputPath | None = None,
        rate: Probability = 0.5,
        split: Split | None = None,
        share: Share | None = None,
    ):
        if not 0 <= rate <= 1:
            raise ConfigError(f"RandomCap: rate is {rate}; expected a probability, 0 to 1")
        if rate and not caption_path:
            raise ConfigError(
                f"RandomCap: rate is {rate}, so it needs a caption_path to draw captions from. "
                "rate: 0 uses only the clip's own captions"
            )
        self.rate = rate
        path = caption_path and os.path.abspath(caption_path)
        self.bank = open_bank(path, split, share and (share[0], share[1])) if path else None

    def without_augmentation(self) -> RandomCap:
        """Returns the step with ``rate`` 0."""
        return RandomCap(rate=0.0)

    def __call__(self, sample: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
        """Returns the sample with the chosen caption."""
        positive = sample.get("captions") or alternatives(sample["caption"], "RandomCap")
        caption, label = positive[rng.integers(len(positive))], 0
        if self.bank is not None and rng.random() < self.rate:
            for _ in range(_DRAWS):
                drawn = self.bank.draw(rng)
                if drawn not in positive:
                    caption, label = drawn, 1
                    break
        return {**sample, "caption": caption, "next_sentence_label": label}


@PIPELINES.register()
class Tokenize:
    """Turns ``caption`` into ``text_ids``, ``token_type_ids`` and ``text_mask``, each (T,) int64.

    [CLS] caption [SEP], truncated and padded. The vocabulary is ``bert_model``, or that of the data
    set if None; the sample's ``bert_model`` is set to the one used.
    """

    def __init__(self, bert_model: NameOrPath | None = None, max_seq_length: TextLength = 36):
        if max_seq_length < 3:
            raise ConfigError("Tokenize: max_seq_length must be at least 3: [CLS], a word, [SEP]")
        self.bert_model, self.length = bert_model, max_seq_length

    def __call__(self, sample: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
        """Returns the sample with ids instead of its caption."""
        sample = dict(sample)
        sample["bert_model"] = self.bert_model or sample.get("bert_model", "bert-base-uncased")
        tokenizer = load_tokenizer(sample["bert_model"])
        ids = tokenizer.encode(sample.pop("caption"), self.length)
        return {**sample, **pad_ids(ids, self.length, tokenizer.pad_id)}

    def extents(self, before: dict[str, Any]) -> dict[str, Any]:
        """Returns the known sizes and the number of words of the vocabulary."""
        name = self.bert_model or before.get("bert_model", "bert-base-uncased")
        return {**before, "text_ids": load_tokenizer(name).vocabulary_size}


def pad_ids(ids: list[int], length: int, padding: int) -> dict[str, np.ndarray]:
    """Returns the three text arrays, each (length,) int64, of at most ``length`` ids."""
    padded = np.full(length, padding, np.int64)
    padded[: len(ids)] = ids
    return {
        "text_ids": padded,
        "token_type_ids": np.zeros(length, np.int64),
        "text_mask": (np.arange(length) < len(ids)).astype(np.int64),
    }
