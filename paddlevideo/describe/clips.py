"""Captions of clips, answers to questions about them, and choices among candidates."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from paddlevideo.describe.model import Loaded, batches_of
from paddlevideo.loader.clips.clip import About
from paddlevideo.loader.clips.source import ClipSource
from paddlevideo.loader.dataset.clip_ids import ids_in_features
from paddlevideo.loader.dataset.fill_in import encode_blank
from paddlevideo.loader.pipelines.text import pad_ids
from paddlevideo.loader.questions.blanks import BLANK
from paddlevideo.loader.questions.choices import equal_candidates
from paddlevideo.loader.questions.question import Choice
from paddlevideo.loader.tokenizer import load_tokenizer
from paddlevideo.modeling.heads.blank import BlankHead
from paddlevideo.utils.errors import ConfigError, DataError
from paddlevideo.utils.printable import printable

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


def answers_of(
    loaded: Loaded, features: Path, questions: Mapping[str, Mapping[str, Any]]
) -> Iterator[Row]:
    """Yields the answer to each question about each clip of a store, and the next best ones.

    ``questions``: the arrays of each, see :func:`encode`.
    """
    for clips, arrays in batches_of(loaded.reader(features), CLIPS):
        answered = []
        for text in questions.values():
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
    """Returns the arrays of a question, as the model's data set has them.

    For ``BlankHead`` it is a sentence with a blank, _____. Raises ConfigError for one without, and
    for a question without a word of the vocabulary.
    """
    loaded.check_texts([question])
    tokens = loaded.tokens()
    if not isinstance(loaded.model.head, BlankHead):
        return tokens.encode(question)
    if len(BLANK.findall(question)) != 1:
        raise ConfigError(
            f'"{question}": these weights fill in a blank: expected one _____ in the sentence'
        )
    tokenizer = load_tokenizer(tokens.bert_model)
    ids, blank = encode_blank(tokenizer, question, tokens.length)
    return {**pad_ids(ids, tokens.length, tokens.padding_index), "blank": np.int64(blank)}


def choices_of(
    loaded: Loaded, features: Path, choices: Mapping[Choice, Mapping[str, np.ndarray]]
) -> Iterator[Row]:
    """Yields the best candidate of each choice for each clip of a store, and the "scores" of all.

    ``choices``: the arrays of each, see :func:`encode_choice`. One that names a clip is for that
    clip only. Scores are those of a test: the match margin plus the weighted similarity. Raises
    DataError for a clip that has no features, and for a score that is not finite.
    """
    model, reader = loaded.model, loaded.reader(features)
    own = choices_by_clip(choices, reader.source)
    everywhere = {each: model.encode_captions(choices[each]) for each in own.pop("", ())}
    for clips, arrays in batches_of(reader, CLIPS):
        videos = model.encode_videos(arrays)
        for row, about in enumerate(clips):
            encoded = {each: model.encode_captions(choices[each]) for each in own.get(about.id, ())}
            for choice, texts in {**everywhere, **encoded}.items():
                pairs = np.arange(texts.size), np.full(texts.size, row)
                scores = model.pair_scores(texts, videos, pairs)
                if not np.isfinite(scores).all():
                    raise DataError(
                        f'{features}: clip "{about.id}" has a score that is not a finite number. '
                        "Check the weights and the clip's features"
                    )
                yield {**origin_of(about), **chosen(choice, scores)}


def choices_by_clip(choices: Iterable[Choice], source: ClipSource) -> dict[str, list[Choice]]:
    """Returns the choices of each clip by its id, and under "" those of all clips."""
    named = [choice for choice in choices if choice.clip]
    path = named[0].where.rpartition(": ")[0] if named else ""
    ids = {"": "", **ids_in_features((choice.clip for choice in named), source, path, [])}
    by_clip: dict[str, list[Choice]] = {}
    for choice in choices:
        by_clip.setdefault(ids[choice.clip], []).append(choice)
    return by_clip


def chosen(choice: Choice, scores: np.ndarray) -> Row:
    """Returns the question, if there is one, the best candidate, and the score of each."""
    asked = {"question": choice.question} if choice.question else {}
    rounded = [round(float(score), 4) for score in scores]
    return {
        **asked,
        "answer": choice.candidates[int(np.argmax(scores))],
        "scores": dict(zip(choice.candidates, rounded, strict=True)),
    }


def encode_choice(loaded: Loaded, choice: Choice) -> dict[str, np.ndarray]:
    """Returns the arrays (K, T) of K candidates, each after the question if there is one.

    Raises ConfigError for fewer than two candidates, for one without a word of the vocabulary, and
    for two that are equal, or that are to the model.
    """
    where = choice.where or "--choice"
    if len(choice.candidates) < 2:
        raise ConfigError(f"{where}: expected two candidates or more")
    for _, text in equal_candidates([choice]):
        raise ConfigError(f'{where}: the candidate "{printable(text):.60}" is given twice')
    try:
        loaded.check_texts(choice.candidates)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None
    tokens = loaded.tokens()
    encoded = [tokens.encode(text) for text in choice.texts]
    seen: dict[bytes, str] = {}
    for candidate, each in zip(choice.candidates, encoded, strict=True):
        other = seen.setdefault(each["text_ids"].tobytes(), candidate)
        if other != candidate:
            raise ConfigError(
                f'{where}: the candidates "{printable(other):.60}" and '
                f'"{printable(candidate):.60}" are equal in the {tokens.length} word pieces '
                "(max_seq_length) that the model reads, with the question. Shorten the question, "
                "or use other words"
            )
    return {key: np.stack([each[key] for each in encoded]) for key in encoded[0]}


def origin_of(about: About) -> Row:
    """Returns the clip's id and, where they are known, its video and seconds."""
    row: Row = {"clip": about.id}
    if about.video and about.video != about.id:
        row["video"] = about.video
    if about.span is not None:
        row["start"], row["end"] = (round(second, 3) for second in about.span)
    return row
