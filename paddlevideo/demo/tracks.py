"""Finds things in a video: what differs in colour from the background, frame by frame."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from paddlevideo.utils.errors import DataError
from paddlevideo.utils.opencv import cv2

CHROMA_THRESHOLD = 17.0  # distance from the background's colour in Lab's a, b plane
SMALLEST_AREA = 22  # pixels
HUE_BINS = 36
HUE_GAP = 4  # bins: closer peaks are one thing in light and shade
SMALLEST_SHARE = 0.1  # a second thing's pixels, as a part of the first's
MOST_THINGS = 2


@dataclass
class Video:
    """Decoded frames and what is computed of them once."""

    frames: np.ndarray  # T, H, W, 3 uint8 BGR
    lab: np.ndarray  # T, H, W, 3 float32; L in 0..255, a and b around 0
    chroma: np.ndarray  # T, H, W float32: distance from the background's colour
    hue: np.ndarray  # T, H, W float32: direction of that distance, radians
    salient: np.ndarray  # T, H, W bool

    @property
    def side(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.frames.shape[1], self.frames.shape[2]


@dataclass
class Track:
    """One thing through the clip. Where it is not seen, ``seen`` is False and the rest is 0."""

    masks: np.ndarray  # T, H, W bool
    seen: np.ndarray  # T bool
    centres: np.ndarray  # T, 2 float32: x, y in pixels
    areas: np.ndarray  # T float32: pixels
    strengths: np.ndarray  # T float32: mean chroma
    boxes: np.ndarray  # T, 4 float32: x1, y1, x2, y2 in pixels


def decode(path: Path) -> np.ndarray:
    """All frames of a video file, (T, H, W, 3) uint8 BGR. Raises DataError."""
    reader = cv2.VideoCapture(str(path))
    frames = []
    while True:
        more, frame = reader.read()
        if not more:
            break
        frames.append(frame)
    reader.release()
    if not frames:
        raise DataError(f"{path}: OpenCV cannot decode this video")
    return np.stack(frames)


def analyse(frames: np.ndarray) -> Video:
    """Colours of ``frames`` (T, H, W, 3) as distances from the background's colour."""
    count, height, width = frames.shape[:3]
    tall = frames.reshape(count * height, width, 3)
    planes = cv2.split(cv2.cvtColor(tall, cv2.COLOR_BGR2LAB))
    planes = [planes[0].astype(np.float32)] + [p.astype(np.float32) - 128 for p in planes[1:]]
    lab = cv2.merge(planes).reshape(frames.shape)
    # Things cover less than half of the frames, so the median is the background's.
    ground = np.median(lab[::4, ::3, ::3, 1:].reshape(-1, 2), axis=0)
    # The frames are one tall picture here: a frame's edge rows see a row of the next one.
    offset = [cv2.blur(p - float(g), (3, 3)) for p, g in zip(planes[1:], ground, strict=True)]
    a, b = (plane.reshape(count, height, width) for plane in offset)
    chroma, hue = cv2.cartToPolar(a, b)
    return Video(frames, lab, chroma, hue, chroma > CHROMA_THRESHOLD)


def find_tracks(video: Video) -> list[Track]:
    """At most two things, told apart by hue; the one with more pixels first."""
    peaks = _hue_peaks(video)
    if not peaks:
        return []
    centres = np.array(peaks, np.float32)
    gaps = np.abs(np.angle(np.exp(1j * (video.hue[video.salient][:, None] - centres))))
    label = np.zeros(video.salient.shape, np.uint8)
    label[video.salient] = gaps.argmin(1) + 1
    tracks = [_track(video, label == number) for number in range(1, len(peaks) + 1)]
    return [track for track in tracks if track.seen.any()]


def _hue_peaks(video: Video) -> list[float]:
    """Angles of the strongest hues among salient pixels, radians, strongest first."""
    bins = (video.hue[video.salient] * (HUE_BINS / (2 * np.pi))).astype(int) % HUE_BINS
    weights = np.bincount(bins, video.chroma[video.salient], HUE_BINS)
    smooth = weights + 0.5 * (np.roll(weights, 1) + np.roll(weights, -1))
    floor = max(smooth.max() * SMALLEST_SHARE, CHROMA_THRESHOLD * SMALLEST_AREA * 3)
    peaks: list[int] = []
    for index in np.argsort(-smooth, kind="stable"):
        gaps = [min((index - p) % HUE_BINS, (p - index) % HUE_BINS) for p in peaks]
        if smooth[index] >= floor and all(gap >= HUE_GAP for gap in gaps):
            peaks.append(int(index))
    return [(p + 0.5) * 2 * np.pi / HUE_BINS for p in peaks[:MOST_THINGS]]


def _track(video: Video, inside: np.ndarray) -> Track:
    count = len(inside)
    track = Track(
        np.zeros_like(inside),
        np.zeros(count, bool),
        np.zeros((count, 2), np.float32),
        np.zeros(count, np.float32),
        np.zeros(count, np.float32),
        np.zeros((count, 4), np.float32),
    )
    kernel = np.ones((3, 3), np.uint8)
    for index in range(count):
        closed = cv2.morphologyEx(inside[index].astype(np.uint8), cv2.MORPH_CLOSE, kernel)
        pieces, labels, stats, centres = cv2.connectedComponentsWithStats(closed)
        if pieces < 2:
            continue
        best = 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
        x, y, width, height, area = (int(value) for value in stats[best])
        if area < SMALLEST_AREA:
            continue
        mask = labels == best
        track.masks[index], track.seen[index] = mask, True
        track.centres[index], track.areas[index] = centres[best], area
        track.strengths[index] = video.chroma[index][mask].mean()
        track.boxes[index] = x, y, x + width, y + height
    return track
