"""The interface of data sets."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from paddlevideo.utils.errors import ConfigError


class Dataset(ABC):
    """A sequence of raw samples: dictionaries that the pipeline's steps turn into arrays.

    A user's data set needs ``__len__`` and ``__getitem__``, and is registered with
    ``@DATASETS.register()``. A sample gets its position as ``index`` if it has none.
    """

    #: The vocabulary, if the data set names one.
    bert_model: str | None = None

    @abstractmethod
    def __len__(self) -> int:
        """Returns the number of samples."""

    @abstractmethod
    def __getitem__(self, index: int) -> dict[str, Any]:
        """Returns raw sample ``index``. Raises DataError, naming file and clip, if invalid."""

    def name_of(self, index: int) -> str:
        """Returns the clip's name, for messages."""
        return str(index)

    def request(self, indices: Iterable[int]) -> None:  # noqa: B027 - optional
        """Asks the system to read samples ahead that are read next; errors are left to reading."""

    def for_training(self) -> Dataset:
        """Returns the data set for training: this one, or clips with captions."""
        return self

    def lengths(self, indices: np.ndarray) -> np.ndarray:
        """Returns the lengths (n,) of the samples at ``indices`` (n,)."""
        raise ConfigError(
            f"DATASET.group_by_length: {type(self).__name__} does not know the lengths of its "
            "samples. Implement its method `lengths`, or set the key to 0"
        )

    def extents(self) -> dict[str, Any]:
        """Returns sizes of the samples' arrays that are known in advance, to compare with a model.

        By the name of an array: the width of its rows, or the number of different values; 0 if
        unknown. ``bert_model``: the vocabulary of the captions.
        """
        return {}

    def some_captions(self, count: int) -> Iterator[tuple[str, list[str]]]:
        """Returns names and captions of up to ``count`` clips spread over the data set.

        A run first checks them for words that the vocabulary lacks; none by default.
        """
        return iter(())

    def context(self) -> Iterable[dict[str, Any]] | None:
        """Returns batches that the model prepares once before a test (a gallery), or None.

        A gallery that may not fit into memory also has ``len``, the number of clips, and
        ``take(positions)``, which returns some of them as a batch.
        """
        return None

    def truth(self) -> Any:
        """Returns the ground truth that a metric compares predictions with, or None."""
        return None

    def default_metric(self) -> dict[str, Any]:
        """Returns the METRIC section for configurations without one.

        By default a retrieval metric if there is a truth to rank, else the mean of the losses.
        """
        return {"name": "LossMetric" if self.truth() is None else "MSRVTTMetric"}

    def extraction(self) -> dict[str, Any] | None:
        """Returns the settings with which the features were extracted from videos, if known."""
        return None

    def describe(self) -> dict[str, Any]:
        """Returns files and counts, for the protocol of a test."""
        return {"format": type(self).__name__, "samples": len(self)}
