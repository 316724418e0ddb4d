"""When each frame of a video is shown: by its time stamps, or at a constant rate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

#: Largest distance between the coded and the shown order of frames; more is a jump in time.
REORDERED = 32
#: Share of decoded frames that may lack a time: the last ones that a decoder gives do.
UNSTAMPED = 0.1
#: Ticks by which time stamps may differ from a constant rate.
TOLERANCE = 0.5
#: Ticks by which the stamps of decoded frames may be late at a constant rate.
DELAYED = 3.0
#: Tolerated rounding, in ticks.
HAIR = 1e-6


@dataclass(frozen=True)
class Timeline:
    """The times of ``count`` frames; a tick is 1 / ``rate`` seconds."""

    count: int
    rate: float
    #: (count,) ascending: when each frame begins. None: frame n begins at tick n.
    ticks: np.ndarray | None = None

    @staticmethod
    def of(times: Sequence[float], rate: float, is_decoded: bool = False) -> Timeline | None:
        """Returns the timeline of frames that begin at ``times``, in coded or decoded order.

        None where these are not usable: they jump back, as in joined recordings, or are equal.
        """
        stamps = np.array(times, np.float64)
        if is_decoded and _repair(stamps, 1 / rate) > UNSTAMPED * len(stamps):
            return None
        order = np.argsort(stamps, kind="stable")
        ticks = stamps[order] * rate
        moved = np.abs(order - np.arange(len(order))).max(initial=0)
        if not np.isfinite(stamps).all() or moved > REORDERED:
            return None
        if len(np.unique(ticks)) * 2 <= len(ticks):
            return None
        if np.abs(ticks - np.arange(len(ticks))).max(initial=0.0) <= TOLERANCE:
            return Timeline(len(ticks), rate)
        return Timeline(len(ticks), rate, ticks)

    @property
    def length(self) -> float:
        """Duration in ticks; the last frame is shown for the median time."""
        if self.ticks is None:
            return self.count
        steps = np.diff(self.ticks)
        return float(self.ticks[-1] + (np.median(steps) if len(steps) else 1.0))

    @property
    def seconds(self) -> float:
        """Duration in seconds."""
        return self.length / self.rate

    def first_from(self, second: float) -> int:
        """Returns the index of the first frame that begins at or after a second, else ``count``."""
        if second == math.inf:
            return self.count
        tick = second * self.rate - HAIR
        if self.ticks is None:
            return min(math.ceil(tick), self.count)
        return int(np.searchsorted(self.ticks, tick))

    def begin(self, frame: int) -> float:
        """Returns the tick at which a frame begins."""
        return float(frame) if self.ticks is None else float(self.ticks[frame])

    def shown_at(self, tick: float) -> int:
        """Returns the index of the frame that is shown at a tick."""
        if self.ticks is None:
            return min(max(int(tick), 0), self.count - 1)
        index = int(np.searchsorted(self.ticks, tick + HAIR, side="right")) - 1
        return min(max(index, 0), self.count - 1)

    def differs(self, frame: int, second: float) -> bool:
        """Returns whether a decoded frame is not the one that its index stands for."""
        if self.ticks is None:
            # AVI stamps decoded frames as if they were shown later, and the last ones with 0.
            return second > 0 and abs(frame - second * self.rate) > DELAYED
        if frame >= self.count:
            return True
        tolerance = max(TOLERANCE, 0.002 * self.rate)  # stamps of milliseconds are rounded
        return bool(abs(self.ticks[frame] - second * self.rate) > tolerance)


def _repair(stamps: np.ndarray, step: float) -> int:
    """Moves frames that do not begin after the previous one ``step`` later; returns how many."""
    count = 0
    for index in range(1, len(stamps)):
        if not stamps[index] > stamps[index - 1]:
            stamps[index] = stamps[index - 1] + step
            count += 1
    return count
