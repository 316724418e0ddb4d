"""Windows of a video, as the model's input arrays.

n windows of A seconds; R regions, the global one first.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from paddlevideo.loader.timeline.features import Rows, Timeline
from paddlevideo.utils.errors import ConfigError

#: The length of the text of a window: it has none, and all of it is masked.
NO_TEXT = 2


@dataclass(frozen=True)
class Layout:
    """How videos are divided: the longest window, and what one shares with the next."""

    length: int  # A
    overlap: int
    regions: int  # R

    def __post_init__(self) -> None:
        """Raises ConfigError for windows that would never reach the end of a video."""
        if not 0 <= self.overlap < self.length:
            raise ConfigError(
                f"window_overlap is {self.overlap}, but a window has max_action_num="
                f"{self.length} seconds; expected less"
            )

    def starts(self, seconds: int) -> list[int]:
        """Returns the first second of each window; the last window ends with the video."""
        last = max(seconds - self.length, 0)
        return [*range(0, last, self.length - self.overlap), last]


@dataclass(frozen=True)
class Windows:
    """The windows of one video, read one after another.

    ``seconds``: the length to cover, that of the labels where they are known.
    """

    timeline: Timeline
    seconds: int
    layout: Layout

    def batches(self, size: int) -> Iterator[tuple[list[int], dict[str, np.ndarray]]]:
        """Yields the first seconds of at most ``size`` windows, and their arrays.

        The windows of a short video are as short as the video.
        """
        length = min(self.layout.length, self.seconds)
        starts = self.layout.starts(self.seconds)
        for first in range(0, len(starts), size):
            some = starts[first : first + size]
            arrays = [self.window(start, length) for start in some]
            yield some, {key: np.stack([each[key] for each in arrays]) for key in arrays[0]}

    def window(self, start: int, length: int | None = None) -> dict[str, np.ndarray]:
        """Returns the arrays of one window; seconds without features are masked."""
        length = self.layout.length if length is None else length
        return input_arrays(self.timeline.read(start, start + length), self.layout.regions)


def input_arrays(rows: Rows, regions: int) -> dict[str, np.ndarray]:
    """Returns the three streams of A seconds as a model takes them; what they lack is masked.

    ``action_feat`` (A, G), ``action_mask`` (A,), ``image_feat`` (R, F), ``image_loc`` (R, 5),
    ``image_mask`` (R,), ``text_ids``, ``token_type_ids`` and ``text_mask`` (2,). Of more than R - 1
    regions some are taken, evenly spread over time; the first is the mean of all of them.
    """
    kept = np.arange(len(rows.regions))
    if len(kept) > regions - 1:
        kept = np.linspace(0, len(rows.regions) - 1, regions - 1).astype(np.int64)
    image = np.zeros((regions, rows.regions.shape[1]), np.float32)
    boxes = np.zeros((regions, 5), np.float32)
    mask = np.zeros(regions, np.int64)
    if len(kept):
        image[0], boxes[0] = rows.regions.mean(axis=0), (0, 0, 1, 1, 1)
        image[1 : len(kept) + 1], boxes[1 : len(kept) + 1] = rows.regions[kept], rows.boxes[kept]
        mask[: len(kept) + 1] = 1
    text = {key: np.zeros(NO_TEXT, np.int64) for key in ("text_ids", "token_type_ids", "text_mask")}
    return {
        "action_feat": rows.actions,
        "action_mask": rows.present.astype(np.int64),
        "image_feat": image,
        "image_loc": boxes,
        "image_mask": mask,
        **text,
    }
