"""What the framework asks of a data set."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any


class Dataset(ABC):
    """A sequence of raw samples: dictionaries that the pipeline's steps make into arrays.

    A data set of your own needs ``__len__`` and ``__getitem__``, and is made known with
    ``@DATASETS.register()``. A sample gets its position as ``index`` if it has none.
    """

    @abstractmethod
    def __len__(self) -> int:
        """The number of samples."""

    @abstractmethod
    def __getitem__(self, index: int) -> dict[str, Any]:
        """Raw sample ``index``. Raises DataError, naming file and clip, if it cannot be used."""

    def name_of(self, index: int) -> str:
        """The clip's name, for messages."""
        return str(index)

    def context(self) -> Iterable[dict[str, Any]] | None:
        """Batches that the model prepares once before a test (a gallery), or None.

        A gallery that may be too large to be held also has ``len`` (how many clips) and
        ``take(places)`` (some of them as a batch).
        """
        return None

    def truth(self) -> Any:
        """What a metric compares predictions with, or None."""
        return None

    def describe(self) -> dict[str, Any]:
        """Files and counts, for the protocol beside a test's numbers."""
        return {"format": type(self).__name__, "samples": len(self)}
