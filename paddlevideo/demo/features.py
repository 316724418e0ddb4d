"""From a video file to the arrays of one clip: regions and actions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from paddlevideo.demo.appearance import APPEARANCE_WIDTH, CLASSES, appearance, class_distribution
from paddlevideo.demo.motion import (
    ACTION_WIDTH,
    MOTION_WIDTH,
    action_classes,
    action_features,
    optical_flow,
    track_motion,
)
from paddlevideo.demo.tracks import Track, Video, analyse, decode, find_tracks

MOMENTS = (0.15, 0.5, 0.85)  # of the frames in which a thing is seen
KINDS = ("thing", "frame", "quarter")
REGION_WIDTH = APPEARANCE_WIDTH + MOTION_WIDTH + 3 + len(KINDS)


@dataclass
class ClipFeatures:
    """What a detector and an action network would give of one clip."""

    height: int
    width: int
    regions: np.ndarray  # n, 112 float32
    classes: np.ndarray  # n, 65 float32, rows sum to 1
    boxes: np.ndarray  # n, 4 float32: x1, y1, x2, y2 in pixels
    actions: np.ndarray  # m, 49 float32
    action_classes: np.ndarray  # m int64


@dataclass
class _Region:
    features: np.ndarray
    classes: np.ndarray
    box: tuple[float, float, float, float]


def extract(path: Path) -> ClipFeatures:
    """Decodes ``path`` and describes it. Raises DataError where it cannot be decoded."""
    video = analyse(decode(path))
    tracks = find_tracks(video)
    flow = optical_flow(video)
    regions = [region for i in range(len(tracks)) for region in _things(video, tracks, flow, i)]
    regions.append(_whole_frame(video))
    if not tracks:
        regions += _quarters(video)
    actions = action_features(video, tracks, flow)
    return ClipFeatures(
        *video.side,
        np.stack([region.features for region in regions]).astype(np.float32),
        np.stack([region.classes for region in regions]),
        np.array([region.box for region in regions], np.float32),
        actions,
        action_classes(actions),
    )


def _things(video: Video, tracks: list[Track], flow: np.ndarray, index: int) -> list[_Region]:
    """Three looks at one thing, early, in the middle and late, each with its whole motion."""
    track = tracks[index]
    other = tracks[1 - index] if len(tracks) == 2 else None
    motion = track_motion(track, flow, other, 0, len(video.frames))
    seen = np.flatnonzero(track.seen)
    regions = []
    for moment in MOMENTS:
        frame = int(seen[round(moment * (len(seen) - 1))])
        looks = appearance(video.lab[frame], track.masks[frame])
        size = np.sqrt(track.areas[frame]) / video.side[0]
        place = [size, track.strengths[frame] / 64, frame / len(video.frames)]
        features = _join(looks, motion, place, "thing")
        x1, y1, x2, y2 = (float(value) for value in track.boxes[frame])
        regions.append(_Region(features, class_distribution(looks), (x1, y1, x2, y2)))
    return regions


def _whole_frame(video: Video) -> _Region:
    """The middle frame without the things in it: the background."""
    middle = len(video.frames) // 2
    rest = ~video.salient[middle]
    if rest.mean() < 0.2:
        rest = np.ones_like(rest)
    height, width = video.side
    return _still(video, middle, rest, (0.0, 0.0, float(width), float(height)), "frame")


def _quarters(video: Video) -> list[_Region]:
    """Four boxes of a grid, for a clip in which nothing stands out."""
    height, width = video.side
    regions = []
    for top in (0, height // 2):
        for left in (0, width // 2):
            mask = np.zeros((height, width), bool)
            bottom, right = min(top + height // 2, height), min(left + width // 2, width)
            mask[top:bottom, left:right] = True
            box = (float(left), float(top), float(right), float(bottom))
            regions.append(_still(video, len(video.frames) // 2, mask, box, "quarter"))
    return regions


def _still(
    video: Video,
    frame: int,
    mask: np.ndarray,
    box: tuple[float, float, float, float],
    kind: str,
) -> _Region:
    looks = appearance(video.lab[frame], mask)
    motion = np.zeros(MOTION_WIDTH, np.float32)
    place = [np.sqrt(mask.mean()), 0.0, frame / len(video.frames)]
    background = np.zeros(CLASSES, np.float32)
    background[-1] = 1
    return _Region(_join(looks, motion, place, kind), background, box)


def _join(looks: np.ndarray, motion: np.ndarray, place: list[float], kind: str) -> np.ndarray:
    return np.concatenate([looks, motion, place, [float(kind == name) for name in KINDS]])


__all__ = ["ACTION_WIDTH", "CLASSES", "REGION_WIDTH", "ClipFeatures", "extract"]
