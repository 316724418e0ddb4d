"""Clips of a feature file as the arrays that the model takes.

b clips, R regions (the global one first) of width F, A actions of width G.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np

from paddlevideo.loader.legacy import RecordStore
from paddlevideo.loader.regions import box_vectors
from paddlevideo.loader.store import StoreRecords, is_store
from paddlevideo.utils.errors import ConfigError, DataError
from paddlevideo.utils.ranges import Range

#: The global region and one more at least.
RegionCount = Annotated[int, Range(at_least=2)]


class ClipReader:
    """Reads clips by their ids, cut or padded to equal sizes."""

    def __init__(
        self,
        features_path: str,
        max_region_num: int,
        max_action_num: int,
        region_width: int,
        action_width: int,
    ) -> None:
        """``max_region_num`` counts the global region. Raises ConfigError for too small numbers."""
        if max_region_num < 2 or max_action_num < 1:
            raise ConfigError(
                f"max_region_num is {max_region_num} and max_action_num {max_action_num}; at least "
                "2 (the global region is one) and 1 are needed"
            )
        store = StoreRecords if is_store(features_path) else RecordStore
        self.store = store(features_path)
        self.regions, self.actions = max_region_num, max_action_num
        self.region_width, self.action_width = region_width, action_width

    def read(self, names: Sequence[str]) -> dict[str, np.ndarray]:
        """The clips called ``names``, as one batch.

        ``image_feat`` (b, R, F) and ``image_loc`` (b, R, 5) float32, ``image_mask`` (b, R) int64,
        ``action_feat`` (b, A, G) float32, ``action_mask`` (b, A) int64. Raises DataError naming
        the clip that is absent, damaged, or of another width.
        """
        count = len(names)
        arrays: dict[str, np.ndarray] = {
            "image_feat": np.zeros((count, self.regions, self.region_width), np.float32),
            "image_loc": np.zeros((count, self.regions, 5), np.float32),
            "image_mask": np.zeros((count, self.regions), np.int64),
            "action_feat": np.zeros((count, self.actions, self.action_width), np.float32),
            # All ones, also where a clip has fewer actions: published weights were tested so.
            "action_mask": np.ones((count, self.actions), np.int64),
        }
        for row, name in enumerate(names):
            self._fill({key: array[row] for key, array in arrays.items()}, name)
        return arrays

    def record(self, name: str) -> dict[str, Any]:
        """A clip as the store has it. Raises DataError also where it is of another width."""
        record = self.store[name]
        options = {
            "features": (self.region_width, "vision_feature_dim"),
            "action_features": (self.action_width, "action_feature_dim"),
        }
        for key, (width, option) in options.items():
            if record[key].shape[1] != width:
                raise DataError(
                    f'{self.store.path}: clip "{name}": {key} are {record[key].shape[1]} wide, '
                    f"where {width} belong. Set {option} of the data set and the backbone's to "
                    "their width"
                )
        return record

    def _fill(self, clip: dict[str, np.ndarray], name: str) -> None:
        record = self.record(name)
        features, actions = record["features"], record["action_features"]
        kept = min(len(features), self.regions - 1)
        clip["image_feat"][0] = features.mean(axis=0)  # of all regions, those cut off included
        clip["image_feat"][1 : kept + 1] = features[:kept]
        clip["image_loc"][0] = (0, 0, 1, 1, 1)
        boxes = record["boxes"][:kept]
        clip["image_loc"][1 : kept + 1] = box_vectors(boxes, record["image_h"], record["image_w"])
        clip["image_mask"][: kept + 1] = 1
        kept_actions = actions[: self.actions]
        clip["action_feat"][: len(kept_actions)] = kept_actions


@dataclass(frozen=True)
class ClipBatches:
    """Clips in batches, all in order or some by their places."""

    reader: ClipReader
    names: Sequence[str]
    batch_size: int

    def __len__(self) -> int:
        """The number of clips."""
        return len(self.names)

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        for first in range(0, len(self), self.batch_size):
            yield self.reader.read(self.names[first : first + self.batch_size])

    def take(self, places: Iterable[int]) -> dict[str, np.ndarray]:
        """The clips at ``places``, as one batch."""
        return self.reader.read([self.names[place] for place in places])
