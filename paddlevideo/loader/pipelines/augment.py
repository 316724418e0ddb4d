"""Augmentation of training samples; not used in validation and tests."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from paddlevideo.loader.captions.files import read_sentences
from paddlevideo.loader.captions.matching import plain_name, videos_of
from paddlevideo.registry import PIPELINES, InputPath
from paddlevideo.utils.errors import ConfigError, DataError
from paddlevideo.utils.ranges import Fraction, NonNegative, Probability
from paddlevideo.utils.words import split_words

_FEATURES = ("image_feat", "region_feat", "action_feat")


def _check_share(step: str, name: str, share: float) -> None:
    if not 0 <= share <= 1:
        raise ConfigError(f"{step}: {name} is {share}; expected a probability, 0 to 1")


@PIPELINES.register()
class FeatureNoise:
    """Adds noise to region and action features; use anywhere before RandomMask.

    Adds to each number a normal deviate times ``deviation`` and the root mean square of its vector;
    then sets each number to 0 with probability ``dropout`` and divides the others by 1 -
    ``dropout``, as in Srivastava et al. 2014. Padding stays 0. A clip of 36 regions and 5
    actions of 2048 numbers takes 1 to 2 milliseconds.
    """

    def __init__(self, deviation: NonNegative = 0.1, dropout: Fraction = 0.0):
        if deviation < 0 or not 0 <= dropout < 1:
            raise ConfigError(
                f"FeatureNoise: deviation={deviation} must be 0 or more, dropout={dropout} from 0 "
                "to below 1"
            )
        self.deviation, self.dropout = deviation, dropout

    def without_augmentation(self) -> None:
        """Returns None: the step is left out."""

    def __call__(self, sample: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
        """Returns the sample with noisy copies of its features."""
        noisy = {key: self._noisy(sample[key], rng) for key in _FEATURES if key in sample}
        return {**sample, **noisy}

    def _noisy(self, rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        rows = rows.astype(np.float32)
        if self.deviation:
            size = self.deviation * np.sqrt(np.square(rows).mean(axis=-1, keepdims=True))
            rows += size * rng.standard_normal(rows.shape, np.float32)
        if self.dropout:
            kept = rng.random(rows.shape, np.float32) >= self.dropout
            rows *= kept / np.float32(1 - self.dropout)
        return rows


@PIPELINES.register()
class WordDropout:
    """Drops each word of the caption with probability ``rate``, but not all of them.

    A Chinese character counts as a word.

    Use between RandomCap and Tokenize.
    """

    def __init__(self, rate: Probability = 0.1):
        _check_share("WordDropout", "rate", rate)
        self.rate = rate

    def without_augmentation(self) -> None:
        """Returns None: the step is left out."""

    def __call__(self, sample: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
        """Returns the sample with a shorter caption."""
        words = split_words(sample["caption"])
        draws = rng.random(len(words))
        kept = [w for w, draw in zip(words, draws, strict=True) if draw >= self.rate]
        if words and not kept:
            kept = [words[int(draws.argmax())]]
        return {**sample, "caption": " ".join(kept)}


@PIPELINES.register()
class RandomNarration:
    """Replaces a caption by a sentence from its video's narration, or appends the sentence.

    Applies with probability ``rate``; ``join`` appends. Use between RandomCap and Tokenize; clips
    with a caption of another clip do not change. ``rate: 1`` is pre-training as on HowTo100M.

    ``file_path``: ``{video: [sentence, ...]}`` as JSON, or any narration file that
    :func:`paddlevideo.loader.captions.read_lines` reads. The clip ``abc_07`` is a part of the video
    ``abc``. The file is kept in memory; for millions of videos pack a store and use the data set's
    ``neighbours``.
    """

    def __init__(self, file_path: InputPath, rate: Probability = 0.5, join: bool = False):
        """Raises ConfigError for an invalid rate, DataError for a file without sentences."""
        _check_share("RandomNarration", "rate", rate)
        self.rate, self.join, self.path = rate, join, file_path
        self.sentences: dict[str, list[str]] = defaultdict(list)
        for video, text in read_sentences(Path(file_path)):
            self.sentences[plain_name(video)].append(text)
        if not self.sentences:
            raise DataError(f"{file_path}: holds no sentence of any video")

    def _sentences_of(self, clip: str) -> list[str]:
        clip = plain_name(clip)
        videos = (clip.rpartition("_")[0], *videos_of(clip), clip)
        return next((self.sentences[video] for video in videos if video in self.sentences), [])

    def misfit(self, clips: Sequence[str]) -> str:
        """Returns a warning if none of these clips has a narration, else an empty string."""
        if not clips or any(map(self._sentences_of, clips)):
            return ""
        return (
            f'RandomNarration: {self.path} has videos such as "{next(iter(self.sentences))}", but '
            f"none of the videos of {len(clips)} sampled clips, such as "
            f'"{clips[0]}": their captions do not change'
        )

    def without_augmentation(self) -> None:
        """Returns None: the step is left out."""

    def __call__(self, sample: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
        """Returns the sample, with a narration if it was chosen and its video has one."""
        sentences = self._sentences_of(sample["clip"])
        chosen = rng.random() < self.rate
        if not chosen or not sentences or sample.get("next_sentence_label", 0):
            return sample
        sentence = sentences[rng.integers(len(sentences))]
        if self.join:
            sentence = f"{sample['caption']} {sentence}"
        return {**sample, "caption": sentence}
