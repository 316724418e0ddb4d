"""Augmentation of training samples; validation and tests leave it out."""

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

_FEATURES = ("image_feat", "region_feat", "action_feat")


def _check_share(step: str, name: str, share: float) -> None:
    if not 0 <= share <= 1:
        raise ConfigError(f"{step}: {name} is {share}; a probability is from 0 to 1")


@PIPELINES.register()
class FeatureNoise:
    """Adds noise to region and action features, anywhere before RandomMask.

    To each number a normal deviate times ``deviation`` and the root mean square of its vector;
    then each number becomes 0 with the probability ``dropout`` and the others are divided by
    1 - ``dropout``, as in Srivastava et al. 2014. Padding stays 0. A clip of 36 regions and 5
    actions of 2048 numbers takes 1 to 2 milliseconds.
    """

    def __init__(self, deviation: NonNegative = 0.1, dropout: Fraction = 0.0):
        if deviation < 0 or not 0 <= dropout < 1:
            raise ConfigError(
                f"FeatureNoise: deviation={deviation} is 0 or more, dropout={dropout} from 0 to "
                "below 1"
            )
        self.deviation, self.dropout = deviation, dropout

    def without_augmentation(self) -> None:
        """No step instead."""

    def __call__(self, sample: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
        """The sample with other features; those that were given stay as they are."""
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
    """Leaves each word of the caption out with the probability ``rate``; one at least stays.

    Between RandomCap and Tokenize.
    """

    def __init__(self, rate: Probability = 0.1):
        _check_share("WordDropout", "rate", rate)
        self.rate = rate

    def without_augmentation(self) -> None:
        """No step instead."""

    def __call__(self, sample: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
        """The sample with a shorter caption."""
        words = sample["caption"].split()
        draws = rng.random(len(words))
        kept = [w for w, draw in zip(words, draws, strict=True) if draw >= self.rate]
        if words and not kept:
            kept = [words[int(draws.argmax())]]
        return {**sample, "caption": " ".join(kept)}


@PIPELINES.register()
class RandomNarration:
    """Gives a clip something that is said in its video, for masked words or for pre-training.

    With the probability ``rate`` a sentence that is spoken in the clip's video replaces its caption
    or, with ``join``, follows it. Between RandomCap and Tokenize; only clips that have kept
    one of their captions take part. With ``rate: 1`` it is what HowTo100M pre-training is.

    ``file_path``: ``{video: [sentence, ...]}`` as JSON, or any narration file that
    :func:`paddlevideo.loader.captions.read_lines` knows. The clip ``abc_07`` is a part of the video
    ``abc``. All of it is held in memory; for millions of videos pack a store and use the data set's
    ``neighbours``.
    """

    def __init__(self, file_path: InputPath, rate: Probability = 0.5, join: bool = False):
        """Raises ConfigError for a rate that is none, DataError for a file without sentences."""
        _check_share("RandomNarration", "rate", rate)
        self.rate, self.join, self.path = rate, join, file_path
        self.spoken: dict[str, list[str]] = defaultdict(list)
        for video, text in read_sentences(Path(file_path)):
            self.spoken[plain_name(video)].append(text)
        if not self.spoken:
            raise DataError(f"{file_path}: holds no sentence of any video")

    def _spoken_in(self, clip: str) -> list[str]:
        clip = plain_name(clip)
        videos = (clip.rpartition("_")[0], *videos_of(clip), clip)
        return next((self.spoken[video] for video in videos if video in self.spoken), [])

    def misfit(self, clips: Sequence[str]) -> str:
        """A warning where none of these clips has a narration, else an empty string."""
        if not clips or any(map(self._spoken_in, clips)):
            return ""
        return (
            f'RandomNarration: {self.path} has videos such as "{next(iter(self.spoken))}", and '
            f"nothing of the videos of {len(clips)} clips that were looked at, such as "
            f'"{clips[0]}": their captions stay as they are'
        )

    def without_augmentation(self) -> None:
        """No step instead."""

    def __call__(self, sample: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
        """The sample with another caption, if it is its turn and its video has a narration."""
        spoken = self._spoken_in(sample["clip"])
        chosen = rng.random() < self.rate
        if not chosen or not spoken or sample.get("next_sentence_label", 0):
            return sample
        sentence = spoken[rng.integers(len(spoken))]
        if self.join:
            sentence = f"{sample['caption']} {sentence}"
        return {**sample, "caption": sentence}
