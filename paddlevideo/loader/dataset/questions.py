"""The base class of data sets of questions about clips."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Generic, TypeVar

import numpy as np

from paddlevideo.loader.clips.gallery import ClipReader
from paddlevideo.loader.dataset.base import Dataset
from paddlevideo.loader.dataset.clip_ids import ids_in_features
from paddlevideo.loader.dataset.retrieval import TokenSettings
from paddlevideo.loader.questions.question import Choice, Question, video_of
from paddlevideo.loader.selection import MissingIds, select_clips
from paddlevideo.loader.tokenizer import load_tokenizer
from paddlevideo.utils.words import split_words

Item = TypeVar("Item", Question, Choice)


class QuestionDataset(Dataset, Generic[Item]):
    """Questions, each a sample with the arrays of its clip.

    A sample: what :meth:`text_of` returns, the clip's ``image_feat`` (R, F), ``image_loc`` (R, 5),
    ``image_mask`` (R,), ``action_feat`` (A, G) and ``action_mask`` (A,), and ``index``. They are
    the same in training and tests, so no pipeline is needed.
    """

    def __init__(
        self,
        items: Sequence[Item],
        file_path: str,
        reader: ClipReader,
        tokens: TokenSettings,
        only: str | None = None,
        exclude: str | None = None,
        missing_ids: MissingIds = "error",
    ) -> None:
        """``only`` and ``exclude``: text files of the clips or videos to use or to leave out.

        Raises DataError for questions whose clip has no features.
        """
        self.file_path, self.reader, self.tokens = file_path, reader, tokens
        self.bert_model = tokens.bert_model
        clips = [item.clip for item in items]
        kept = [items[i] for i in select_clips(clips, only, exclude, file_path, missing_ids)]
        lines = [(item.clip, text) for item in kept for text in texts_of(item)[:1]]
        ids = ids_in_features((item.clip for item in kept), reader.source, file_path, lines)
        self.items: list[Item] = [replace(item, clip=ids[item.clip]) for item in kept]

    @abstractmethod
    def text_of(self, item: Item) -> dict[str, Any]:
        """Returns the arrays of an item's texts, and its answer if that is needed."""

    def __len__(self) -> int:
        """Returns the number of questions."""
        return len(self.items)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Returns sample ``index``. Raises DataError, naming the clip, if it is damaged."""
        item = self.items[index]
        clip = {key: array[0] for key, array in self.reader.read([item.clip]).items()}
        return {"index": index, **self.text_of(item), **clip}

    def name_of(self, index: int) -> str:
        """Returns the clip of question ``index``."""
        return self.items[index].clip

    def lengths(self, indices: np.ndarray) -> np.ndarray:
        """Returns the number of words of each question."""
        return np.array(
            [sum(len(split_words(text)) for text in texts_of(self.items[i])) for i in indices]
        )

    def some_captions(self, count: int) -> Iterator[tuple[str, list[str]]]:
        """Yields the texts of about ``count`` questions, spread evenly."""
        for item in self.items[:: max(1, len(self.items) // count)]:
            yield item.clip, texts_of(item)

    def extents(self) -> dict[str, Any]:
        """Returns the vocabulary and its number of words."""
        name = self.tokens.bert_model
        return {"bert_model": name, "text_ids": load_tokenizer(name).vocabulary_size}

    def truth(self) -> list[Item]:
        """Returns the questions with their answers, in order."""
        return self.items

    def extraction(self) -> dict[str, Any] | None:
        """Returns the settings with which the features were extracted, if a store says so."""
        return self.reader.source.extraction()

    def describe(self) -> dict[str, Any]:
        """Returns files and counts."""
        return {
            **super().describe(),
            "file": self.file_path,
            "features": str(self.reader.source.path),
            "clips": len({item.clip for item in self.items}),
        }


class AnsweredDataset(QuestionDataset[Question]):
    """Questions with a text as answer, for training and tests."""

    def answers(self) -> list[str]:
        """Returns the answer of every question."""
        return [item.answer for item in self.items]

    def pieces(self, text: str) -> list[int]:
        """Returns the ids of the word pieces of a text."""
        return load_tokenizer(self.tokens.bert_model).encode(text, len(text) + 2)[1:-1]

    def wrong_partners(self) -> np.ndarray:
        """Returns (N,) int64: for each question, one whose clip is of another video.

        It is the first such question from half the file further on; itself if there is none.
        """
        videos = [video_of(item.clip) for item in self.items]
        count = len(videos)
        partners = np.arange(count)
        if len(set(videos)) == 1:
            return partners
        for index, video in enumerate(videos):
            further = ((index + count // 2 + step) % count for step in range(count))
            partners[index] = next((at for at in further if videos[at] != video), index)
        return partners


def texts_of(item: Question | Choice) -> list[str]:
    """Returns the texts of a question that the model reads."""
    return item.texts if isinstance(item, Choice) else [item.text]
