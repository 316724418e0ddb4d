"""Tar files in WebDataset's layout that other programs wrote: no manifest, no index."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from paddlevideo.loader.clips.check import check_clip, count_classes
from paddlevideo.loader.clips.clip import About, Clip, Sizes
from paddlevideo.loader.clips.source import ListedClips, first_sizes
from paddlevideo.loader.store.records import damage
from paddlevideo.loader.store.tar_samples import (
    ADVICE,
    ARRAY,
    TEXTS,
    about_of_members,
    array_of,
    clip_of_members,
    scanned,
)
from paddlevideo.loader.store.tar_shards import read_at
from paddlevideo.utils.errors import DataError

_CLASSES = "action_classes" + ARRAY


class _Sample(NamedTuple):
    tar: int
    key: str
    #: Begin and size of each member, by the ends of their names.
    members: Mapping[str, tuple[int, int]]


class TarFolder(ListedClips):
    """The samples of a tar file, or of those in a folder, in the order of their names.

    A sample is a clip: its members are those of :mod:`paddlevideo.loader.store.tar_samples`, in any
    order. An id is that in the texts, or else the key. All headers and texts are read when it is
    opened, and their positions and ids are kept in memory; a store needs neither. Samples without
    ``regions.npy`` are left out and counted.
    """

    has_captions = True

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.tars = sorted(self.path.glob("*.tar")) if self.path.is_dir() else [self.path]
        self._samples: list[_Sample] = []
        others = 0
        for number, tar in enumerate(self.tars):
            try:
                for key, members in scanned(os.fspath(tar)):
                    if "regions" + ARRAY in members:
                        self._samples.append(_Sample(number, key, members))
                    else:
                        others += 1
            except (OSError, tarfile.TarError, ValueError) as error:
                raise DataError(
                    f"{tar}: cannot be read as a tar file ({error}). Copy it again"
                ) from None
        if not self._samples:
            raise DataError(f"{self.path}: holds no clips: no sample has a member regions{ARRAY}")
        if others:
            self.left_out = [f"{self.path}: {others} samples without regions{ARRAY} left out"]
        self._ids = [self.about(index).id for index in range(len(self._samples))]

    def __len__(self) -> int:
        return len(self._samples)

    def ids(self) -> list[str]:
        """Returns the ids of all samples."""
        return self._ids

    def sizes(self) -> Sizes:
        """Returns the widths of the first sample that can be read."""
        return first_sizes(self)

    def action_classes(self) -> int:
        """Returns the largest class of all samples plus one; reads no other arrays."""
        largest = 0
        for sample in self._samples:
            if _CLASSES in sample.members:
                data = self._members(sample, _CLASSES)[_CLASSES]
                with damage(self._where(sample), ADVICE):
                    largest = max(
                        largest, count_classes([array_of(data, f"{sample.key}.{_CLASSES}")])
                    )
        return largest

    def read(self, index: int) -> Clip:
        """Returns the clip of sample ``index``."""
        sample = self._samples[index]
        with damage(self._where(sample), ADVICE):
            clip = clip_of_members(self._members(sample), sample.key)
        check_clip(clip, None, f'{self._where(sample)} ("{clip.id}")')
        return clip

    def about(self, index: int) -> About:
        """Returns id, captions and origin of sample ``index``."""
        sample = self._samples[index]
        with damage(self._where(sample), ADVICE):
            return about_of_members(self._members(sample, TEXTS), sample.key)

    def _where(self, sample: _Sample) -> str:
        return f"{self.tars[sample.tar]}: {sample.key}"

    def _members(self, sample: _Sample, *names: str) -> dict[str, memoryview]:
        """Returns the members with these names, or all, read at once."""
        wanted = {
            name: place for name, place in sample.members.items() if not names or name in names
        }
        first = min((begin for begin, _ in wanted.values()), default=0)
        last = max((begin + size for begin, size in wanted.values()), default=0)
        path = self.tars[sample.tar]
        try:
            with open(path, "rb") as file:
                data = memoryview(read_at(file.fileno(), first, last - first, path))
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror})") from None
        return {
            name: data[begin - first : begin - first + size]
            for name, (begin, size) in wanted.items()
        }
