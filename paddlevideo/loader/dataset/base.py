"""The interface of data sets."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from paddlevideo.utils.errors import ConfigError


class Dataset(ABC):
    """A sequence of raw samples: dictionaries that the pipeline's steps make into arrays.

    A user's data set needs ``__len__`` and ``__getitem__``, and is registered with
    ``@DATASETS.register()``. A sample gets its position as ``index`` if it has none.
    """

    #: The vocabulary, where the data set names one.
    bert_model: str | None = None

    @abstractmethod
    def __len__(self) -> int:
        """The number of samples."""

    @abstractmethod
    def __getitem__(self, index: int) -> dict[str, Any]:
        """Raw sample ``index``. Raises DataError, naming file and clip, if it cannot be used."""

    def name_of(self, index: int) -> str:
        """The clip's name, for messages."""
        return str(index)

    def for_training(self) -> Dataset:
        """The data set whose samples a training run takes: this one, or clips with captions."""
        return self

    def lengths(self, indices: np.ndarray) -> np.ndarray:
        """The lengths of samples, (n,) to (n,), for batches of similar length."""
        raise ConfigError(
            f"DATASET.group_by_length: {type(self).__name__} does not tell how long its samples "
            "are. Give it a method `lengths`, or set the key to 0"
        )

    def extents(self) -> dict[str, Any]:
        """Sizes of the samples' arrays that are known before any is read, to compare with a model.

        By the name of an array the width of its rows, or the number of different values; 0: not
        known. ``bert_model``: the vocabulary that makes captions ids.
        """
        return {}

    def some_captions(self, count: int) -> Iterator[tuple[str, list[str]]]:
        """The names of up to ``count`` clips spread over the data set, each with its captions.

        They are searched before a run for words that the vocabulary lacks; none by default.
        """
        return iter(())

    def context(self) -> Iterable[dict[str, Any]] | None:
        """Batches that the model prepares once before a test (a gallery), or None.

        A gallery that may not fit into memory also has ``len``, the number of clips, and
        ``take(positions)``, some of them as a batch.
        """
        return None

    def truth(self) -> Any:
        """The ground truth that a metric compares predictions with, or None."""
        return None

    def default_metric(self) -> dict[str, Any]:
        """Returns the METRIC section that holds where a configuration has none.

        By default a retrieval metric if there is a truth to rank, else the mean of the losses.
        """
        return {"name": "LossMetric" if self.truth() is None else "MSRVTTMetric"}

    def describe(self) -> dict[str, Any]:
        """Files and counts, for the protocol beside a test's numbers."""
        return {"format": type(self).__name__, "samples": len(self)}
