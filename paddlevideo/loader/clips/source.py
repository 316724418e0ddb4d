"""The interface of all sources of clips."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple, overload

from paddlevideo.loader.clips.clip import About, Clip, Sizes
from paddlevideo.utils.errors import DataError


class Item(NamedTuple):
    """A clip that can be read; its ``name`` is None if the id is unknown before reading.

    ``read`` returns the clip, or raises DataError for a bad one.
    """

    name: str | None
    read: Callable[[], Clip]


class ClipSource(ABC):
    """The clips of a file or folder, numbered from 0.

    All methods raise DataError, naming file and clip.
    """

    path: str | Path
    #: Whether the clips may have captions.
    has_captions = False
    #: Lines about other files of a folder.
    left_out: list[str] = []

    def extraction(self) -> dict[str, Any] | None:
        """Returns the settings that ``paddlevideo extract`` made the clips with, if it did."""
        return None

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def read(self, index: int) -> Clip:
        """Returns clip ``index``, checked by :func:`paddlevideo.loader.clips.check.clip_faults`."""

    @abstractmethod
    def about(self, index: int) -> About:
        """Returns id, captions and origin of clip ``index``, without reading arrays."""

    @abstractmethod
    def find(self, name: str) -> int | None:
        """Returns the index of the clip called ``name``, or None."""

    @abstractmethod
    def sizes(self) -> Sizes:
        """Returns the widths of the clips, and the number of classes if the source states it."""

    def action_classes(self) -> int:
        """Returns the number of action classes; reads all clips if the source does not state it."""
        return self.sizes().action_classes

    def items(self) -> Iterator[Item]:
        """Yields all clips in order; arrays are read when ``Item.read`` is called."""
        for index in range(len(self)):
            yield Item(self.about(index).id, partial(self.read, index))

    def ids(self) -> Sequence[str]:
        """Returns the ids of all clips in order, each read when it is asked for."""
        return _Ids(self)

    def missing(self, names: Iterable[str]) -> list[str]:
        """Returns the names that no clip has."""
        return [name for name in names if self.find(name) is None]

    def request(self, indices: Iterable[int]) -> None:  # noqa: B027 - optional
        """Asks the system to read clips ahead, where that helps, and returns at once.

        On a slow disk the clips of a batch then wait for it together instead of one by one.
        """

    def request_named(self, names: Iterable[str]) -> None:  # noqa: B027 - optional
        """Asks the system to read the clips called ``names`` ahead, where that helps."""

    def read_named(self, name: str) -> Clip:
        """Returns the clip called ``name``, checked."""
        index = self.find(name)
        if index is None:
            raise DataError(f'{self.path}: clip "{name}": has no record')
        return self.read(index)


@dataclass(frozen=True)
class _Ids(Sequence[str]):
    source: ClipSource

    def __len__(self) -> int:
        return len(self.source)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[each] for each in range(*index.indices(len(self)))]
        return self.source.about(range(len(self))[index]).id


class ListedClips(ClipSource):
    """A source that keeps the ids of all its clips in memory."""

    @abstractmethod
    def ids(self) -> list[str]:
        """Returns the ids of all clips in order."""

    @cached_property
    def _index(self) -> dict[str, int]:
        return {name: index for index, name in enumerate(self.ids())}

    def find(self, name: str) -> int | None:
        """Returns the index of the clip called ``name``, or None."""
        return self._index.get(name)

    def about(self, index: int) -> About:
        """Returns the id; nothing else is known without reading the clip."""
        return About(self.ids()[index])


def first_sizes(source: ClipSource) -> Sizes:
    """Returns the widths of the first readable clip. Raises the first clip's error if none is."""
    first: DataError | None = None
    for item in source.items():
        try:
            clip = item.read()
        except DataError as error:
            first = first or error
            continue
        classes, kept = clip.distributions, clip.region_classes
        width = kept.width if kept else 0 if classes is None else classes.shape[1]
        return Sizes(clip.regions.shape[1], clip.actions.shape[1], width)
    raise first or DataError(f"{source.path}: holds no records")
