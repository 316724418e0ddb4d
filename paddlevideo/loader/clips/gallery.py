"""Clips as input arrays of the model: the gallery of a test or a search.

b clips, R regions (the global one first) of width F, A actions of width G.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np

from paddlevideo.loader.clips.clip import Clip
from paddlevideo.loader.clips.opening import open_clips
from paddlevideo.loader.clips.sample import box_vectors
from paddlevideo.loader.clips.source import ClipSource
from paddlevideo.utils.errors import ConfigError, DataError
from paddlevideo.utils.progress import track
from paddlevideo.utils.ranges import Range

#: At least the global region and one more.
RegionCount = Annotated[int, Range(at_least=2)]


class ClipReader:
    """Reads clips by id, truncated or padded to equal sizes."""

    def __init__(
        self,
        features_path: str,
        max_region_num: int,
        max_action_num: int,
        region_width: int,
        action_width: int,
    ) -> None:
        """``max_region_num`` includes the global region. Raises ConfigError for small numbers."""
        if max_region_num < 2 or max_action_num < 1:
            raise ConfigError(
                f"max_region_num is {max_region_num} and max_action_num {max_action_num}; they "
                "must be at least 2 (the global region is one) and 1"
            )
        self.source = open_clips(features_path)
        self.regions, self.actions = max_region_num, max_action_num
        self.region_width, self.action_width = region_width, action_width

    @classmethod
    def of(cls, features: str | os.PathLike[str], options: Mapping[str, Any]) -> ClipReader:
        """Returns the clips of a feature file in the sizes that a data set's arguments name."""
        sizes = ("max_region_num", "max_action_num", "vision_feature_dim", "action_feature_dim")
        return cls(os.fspath(features), *(options[name] for name in sizes))

    def read(self, names: Sequence[str]) -> dict[str, np.ndarray]:
        """Returns the clips called ``names`` as one batch.

        ``image_feat`` (b, R, F) and ``image_loc`` (b, R, 5) float32, ``image_mask`` (b, R) int64,
        ``action_feat`` (b, A, G) float32, ``action_mask`` (b, A) int64. Raises DataError naming
        the clip that is absent, damaged, or of another width.
        """
        self.source.request_named(names)
        return self._batch(map(self.source.read_named, names), len(names))

    def read_at(self, positions: Iterable[int]) -> dict[str, np.ndarray]:
        """Returns the clips at ``positions`` of the feature file as :meth:`read` does."""
        positions = list(positions)
        self.source.request(positions)
        return self._batch(map(self.source.read, positions), len(positions))

    def _batch(self, clips: Iterable[Clip], count: int) -> dict[str, np.ndarray]:
        arrays: dict[str, np.ndarray] = {
            "image_feat": np.zeros((count, self.regions, self.region_width), np.float32),
            "image_loc": np.zeros((count, self.regions, 5), np.float32),
            "image_mask": np.zeros((count, self.regions), np.int64),
            "action_feat": np.zeros((count, self.actions, self.action_width), np.float32),
            # All ones, also for clips with fewer actions, as published weights were tested.
            "action_mask": np.ones((count, self.actions), np.int64),
        }
        for row, clip in enumerate(map(self._checked, clips)):
            self._fill({key: array[row] for key, array in arrays.items()}, clip)
        return arrays

    def clip(self, name: str) -> Clip:
        """Returns the clip called ``name``. Raises DataError also if its widths differ."""
        return self._checked(self.source.read_named(name))

    def _checked(self, clip: Clip) -> Clip:
        for key, array, width, option in (
            ("features", clip.regions, self.region_width, "vision_feature_dim"),
            ("action_features", clip.actions, self.action_width, "action_feature_dim"),
        ):
            if array.shape[1] != width:
                raise DataError(
                    f'{self.source.path}: clip "{clip.id}": {key} are {array.shape[1]} wide, '
                    f"but {option} is {width}. Set it, and the backbone's size, to the width of "
                    "the features; paddlevideo inspect shows all sizes"
                )
        return clip

    def _fill(self, arrays: dict[str, np.ndarray], clip: Clip) -> None:
        kept = min(len(clip.regions), self.regions - 1)
        arrays["image_feat"][0] = clip.regions.mean(axis=0)  # of all regions, before truncation
        arrays["image_feat"][1 : kept + 1] = clip.regions[:kept]
        arrays["image_loc"][0] = (0, 0, 1, 1, 1)
        vectors = box_vectors(clip.boxes[:kept], clip.image_h, clip.image_w)
        arrays["image_loc"][1 : kept + 1] = vectors
        arrays["image_mask"][: kept + 1] = 1
        actions = clip.actions[: self.actions]
        arrays["action_feat"][: len(actions)] = actions


class ClipIds(Sequence[str]):
    """The ids of clips of a source, each read when it is asked for: they take no memory."""

    def __init__(self, source: ClipSource, indices: np.ndarray) -> None:
        """``indices`` (V,) int64: of the clips in the source."""
        self.source, self.indices = source, indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, position: Any) -> Any:
        """Returns the id of the clip at ``position``, an integer."""
        return self.source.about(int(self.indices[position])).id


@dataclass(frozen=True)
class ClipBatches:
    """Clips in batches, all in order or some by position.

    ``clips``: their ids or, for a large gallery, an array of their indices in the source, which
    takes eight bytes a clip and no look-ups. ``bar``: title of a progress bar over all of them.
    """

    reader: ClipReader
    clips: Sequence[str] | np.ndarray
    batch_size: int
    bar: str = ""

    def __len__(self) -> int:
        """Returns the number of clips."""
        return len(self.clips)

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        starts: Iterable[int] = range(0, len(self), self.batch_size)
        if self.bar:
            batches = -(-len(self) // self.batch_size)
            starts = track(starts, self.bar, batches, "clips", self.batch_size)
        for first in starts:
            yield self._read(self.clips[first : first + self.batch_size])

    def take(self, positions: Iterable[int]) -> dict[str, np.ndarray]:
        """Returns the clips at ``positions`` as one batch."""
        if isinstance(self.clips, np.ndarray):
            return self._read(self.clips[np.asarray(positions, np.int64)])
        return self._read([self.clips[position] for position in positions])

    def _read(self, clips: Sequence[str] | np.ndarray) -> dict[str, np.ndarray]:
        if isinstance(clips, np.ndarray):
            return self.reader.read_at(clips.tolist())
        return self.reader.read(clips)
