"""The clip: one dataclass for all file formats.

n regions of width F in C classes, m actions of width G.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

import numpy as np

from paddlevideo.utils.errors import DataError

#: Upper bound of any width and number of classes; guards memory.
LARGEST = 1 << 20
#: Minimum share of a row's probability that the kept classes have.
KEPT_MASS = 0.999


@dataclass(frozen=True)
class Sizes:
    """Widths of a clip's arrays; 0 classes if there are none or their number is unknown."""

    region: int
    action: int
    region_classes: int = 0
    action_classes: int = 0

    def __post_init__(self) -> None:
        """Raises DataError unless all are whole numbers from 0 to ``LARGEST``."""
        for name, size in asdict(self).items():
            if type(size) is not int or not 0 <= size <= LARGEST:
                raise DataError(f"{name} is {size!r:.40}; expected 0 to {LARGEST}")


@dataclass(frozen=True)
class ClassTargets:
    """Class distributions (n, C) of which only the likeliest classes of each row are kept.

    The other classes of a row share its ``rest`` evenly: with zeros the region loss would change
    more than twice as much (docs/performance.md). Raises ValueError if the arrays do not match.
    """

    counts: np.ndarray  # n, int: kept classes of each row
    classes: np.ndarray  # sum(counts), int
    mass: np.ndarray  # sum(counts), float: their probabilities, likeliest first in each row
    width: int  # C
    rest: np.ndarray | None = None  # n, float: the probability of the other classes; None: 0

    def __post_init__(self) -> None:
        """Checks lengths and classes, which ``dense`` uses as indices."""
        rest = self.counts if self.rest is None else self.rest
        if {each.ndim for each in (self.counts, self.classes, self.mass, rest)} != {1}:
            raise ValueError("the arrays of the kept classes are not one-dimensional")
        length = len(self.classes)
        matches = self.counts.min(initial=0) >= 0 and self.counts.sum() == length == len(self.mass)
        if not matches or len(rest) != len(self.counts):
            raise ValueError("the kept classes do not match the regions")
        if length and not 0 <= self.classes.min() <= self.classes.max() < self.width:
            raise ValueError(f"a kept class is not below {self.width}")

    @classmethod
    def of(cls, rows: np.ndarray, kept_mass: float = KEPT_MASS) -> ClassTargets:
        """Keeps the fewest classes of each row (n, C) that have ``kept_mass`` of its sum."""
        order = np.argsort(-rows, axis=1, kind="stable")
        ranked = np.take_along_axis(rows, order, axis=1).astype(np.float64)
        total = ranked.sum(axis=1, keepdims=True)
        # Rows need not sum to 1; float16 would make others of 1e5, or of 1e-9, infinite or 0.
        far = ((total < 0.5) | (total > 2)) & (total > 0)
        ranked /= np.where(far, total, 1.0)
        total = np.where(far, 1.0, total)
        before = np.cumsum(ranked, axis=1) - ranked  # the sum of the likelier classes
        kept = (before < kept_mass * total) & (ranked > 0)
        rest = np.where(kept, 0.0, ranked).sum(axis=1)
        return cls(
            kept.sum(axis=1), order[kept], ranked[kept], rows.shape[1], rest if rest.any() else None
        )

    def dense(self) -> np.ndarray:
        """Returns (n, C) float32; classes that were not kept share the rest evenly."""
        rows = np.empty((len(self.counts), self.width), np.float32)
        rest = 0.0 if self.rest is None else self.rest
        others = rest / np.maximum(self.width - self.counts, 1)
        # One number for each row, converted here: the assignment would convert it for each class.
        rows.T[:] = others.astype(np.float32)
        starts = np.arange(len(self.counts)) * self.width
        # Positions in the flat array: half the time of an index for each dimension.
        rows.reshape(-1)[np.repeat(starts, self.counts) + self.classes] = self.mass
        return rows

    def totals(self) -> np.ndarray:
        """Returns the sum (n,) of each row."""
        row = np.repeat(np.arange(len(self.counts)), self.counts)
        kept = np.bincount(row, self.mass, minlength=len(self.counts))
        return kept if self.rest is None else kept + self.rest

    def lost(self) -> np.ndarray:
        """Returns the share (n,) of each row's probability of classes that were not kept."""
        if self.rest is None or not len(self.counts):
            return np.zeros(len(self.counts))
        return self.rest / self.totals()

    def rounded(self, dtype: np.dtype) -> ClassTargets:
        """Returns the targets in the precision of a record of ``dtype``."""
        rest = None if self.rest is None else self.rest.astype(dtype)
        return replace(self, mass=self.mass.astype(dtype), rest=rest)


@dataclass
class Clip:
    """A video segment with its features. Training needs the classes too; retrieval does not.

    ``captions``: texts that describe it, or are spoken in it; ``times``: start and end of each in
    seconds from the start of the ``video``, if they are known. ``source``: the path of the video
    file that its features come from; ``span``: its start and end there in seconds, None for all of
    the video.
    """

    id: str
    regions: np.ndarray  # n, F
    boxes: np.ndarray  # n, 4: x1 y1 x2 y2 in pixels
    image_h: int
    image_w: int
    actions: np.ndarray  # m, G
    action_classes: np.ndarray | None = None  # m; -1: none
    region_classes: ClassTargets | None = None
    captions: Sequence[str] = ()
    times: Sequence[tuple[float, float]] = ()
    video: str = ""
    extra: Mapping[str, str] = field(default_factory=dict)
    source: str = ""
    span: tuple[float, float] | None = None
    #: n, C: class distributions in full, of which a store keeps ``region_classes``.
    distributions: np.ndarray | None = None

    def dense_classes(self) -> np.ndarray | None:
        """Returns class distributions (n, C) float32, or None if the clip has none."""
        if self.region_classes is not None:
            return self.region_classes.dense()
        return self.distributions

    def with_targets(self, kept_mass: float = KEPT_MASS) -> Clip:
        """Returns the clip with only the likeliest region classes, as a store keeps them."""
        if self.distributions is None:
            return self
        targets = ClassTargets.of(self.distributions, kept_mass)
        return replace(self, region_classes=targets, distributions=None)


@dataclass(frozen=True)
class About:
    """Id, captions and origin of a clip; see :class:`Clip`."""

    id: str
    captions: Sequence[str] = ()
    times: Sequence[tuple[float, float]] = ()
    video: str = ""
    source: str = ""
    span: tuple[float, float] | None = None


def non_blank(captions: Sequence[str]) -> list[str]:
    """Returns the captions that are not blank."""
    return [text for text in captions if text.strip()]


def split_alternatives(caption: str) -> list[str]:
    """Returns the alternatives of PaddleVideo's caption, which ``!`` separates, if not blank."""
    return non_blank([part.strip() for part in caption.split("!")])
