"""Captions of clips, and answers to questions about them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from paddlevideo.describe.model import Loaded, batches_of
from paddlevideo.loader.clips.clip import About
from paddlevideo.loader.dataset.fill_in import encode_blank
from paddlevideo.loader.pipelines.text import pad_ids
from paddlevideo.loader.questions.blanks import BLANK
from paddlevideo.loader.tokenizer import check_query, load_tokenizer
from paddlevideo.modeling.heads.blank import BlankHead
from paddlevideo.utils.errors import ConfigError

#: One line of the output.
Row = dict[str, Any]
CLIPS = 16  # at once


def captions_of(loaded: Loaded, features: Path) -> Iterator[Row]:
    """Yields a caption for each clip of a store: "caption", and its "log_probability" a word."""
    text = loaded.tokens().encode("")
    tokenizer = load_tokenizer(loaded.options["bert_model"])
    for clips, arrays in batches_of(loaded.reader(features), CLIPS):
        empty = {key: np.stack([ids[:2]] * len(clips)) for key, ids in text.items()}
        is_real = (arrays["action_feat"] != 0).any(axis=-1)
        batch = {**arrays, **empty, "action_mask": is_real.astype(np.int64)}
        found = loaded.model.predict(batch, None)
        for about, words, score in zip(clips, found["words"], found["scores"], strict=True):
            caption = tokenizer.decode(words)
            yield {
                **origin_of(about),
                "caption": caption,
                "log_probability": round(float(score), 4),
            }


def answers_of(loaded: Loaded, features: Path, questions: Sequence[str]) -> Iterator[Row]:
    """Yields the answer to each question about each clip of a store, and the next best ones.

    For ``BlankHead`` a question is a sentence with a blank, _____. Raises ConfigError for one
    without, and for a question without a word of the vocabulary.
    """
    encoded = [encode(loaded, question) for question in questions]
    for clips, arrays in batches_of(loaded.reader(features), CLIPS):
        answered = []
        for text in encoded:
            batch = {**arrays, **{key: np.stack([ids] * len(clips)) for key, ids in text.items()}}
            answered.append(loaded.model.predict(batch, None)["answers"])
        for row, about in enumerate(clips):
            for question, answers in zip(questions, answered, strict=True):
                best, *others = answers[row]
                yield {
                    **origin_of(about),
                    "question": question,
                    "answer": best,
                    "next_best": others,
                }


def encode(loaded: Loaded, question: str) -> dict[str, Any]:
    """Returns the arrays of a question, as the model's data set has them. Raises ConfigError."""
    tokens = loaded.tokens()
    tokenizer = load_tokenizer(tokens.bert_model)
    check_query(tokenizer, question, tokens.length)
    if not isinstance(loaded.model.head, BlankHead):
        return tokens.encode(question)
    if len(BLANK.findall(question)) != 1:
        raise ConfigError(
            f'"{question}": these weights fill in a blank: expected one _____ in the sentence'
        )
    ids, blank = encode_blank(tokenizer, question, tokens.length)
    return {**pad_ids(ids, tokens.length, tokens.padding_index), "blank": np.int64(blank)}


def origin_of(about: About) -> Row:
    """Returns the clip's id and, where they are known, its video and seconds."""
    row: Row = {"clip": about.id}
    if about.video and about.video != about.id:
        row["video"] = about.video
    if about.span is not None:
        row["start"], row["end"] = (round(second, 3) for second in about.span)
    return row
