"""Things that stand out by their colour, followed through the frames of a window."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from paddlevideo.extract.classical.vivid import LEAST_PIXELS, Vivid, label_hues
from paddlevideo.utils.opencv import cv2

MOST_THINGS = 2


@dataclass
class Track:
    """One thing in T frames. Where it is not seen, ``seen`` is False and the rest is 0."""

    masks: np.ndarray  # T, h, w bool
    seen: np.ndarray  # T bool
    centres: np.ndarray  # T, 2: x, y in pixels
    areas: np.ndarray  # T: pixels
    strengths: np.ndarray  # T: mean chroma


def find_tracks(vivid: Vivid) -> list[Track]:
    """Returns at most two things, told apart by hue; the one with the stronger hue first."""
    labels, number = label_hues(vivid, MOST_THINGS)
    tracks = [_track(vivid.chroma, labels == index) for index in range(1, number + 1)]
    return [track for track in tracks if track.seen.any()]


def _track(chroma: np.ndarray, inside: np.ndarray) -> Track:
    """Returns the largest connected patch of each frame as one thing."""
    count = len(inside)
    track = Track(
        np.zeros_like(inside),
        np.zeros(count, bool),
        np.zeros((count, 2)),
        np.zeros(count),
        np.zeros(count),
    )
    kernel = np.ones((3, 3), np.uint8)
    for index in np.flatnonzero(inside.any(axis=(1, 2))):
        closed = cv2.morphologyEx(inside[index].astype(np.uint8), cv2.MORPH_CLOSE, kernel)
        _, labels, stats, centres = cv2.connectedComponentsWithStats(closed)
        best = 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
        area = int(stats[best, cv2.CC_STAT_AREA])
        if area < LEAST_PIXELS:
            continue
        mask = labels == best
        track.masks[index], track.seen[index] = mask, True
        track.centres[index], track.areas[index] = centres[best], area
        track.strengths[index] = chroma[index][mask].mean()
    return track
