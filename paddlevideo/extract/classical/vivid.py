"""Pixels whose colour stands out from the background's, grouped by hue."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from paddlevideo.utils.opencv import cv2

#: Distance from the background's colour in the a, b plane of Lab from which a pixel stands out.
THRESHOLD = 17.0
HUE_BINS = 36
#: Peaks of the histogram of hues that are nearer, in bins, are one thing in light and shade.
HUE_GAP = 4
#: Smallest weight of a peak, as a share of the strongest one's, and pixels in a frame.
LEAST_SHARE, LEAST_PIXELS = 0.1, 22


@dataclass
class Vivid:
    """Planes (T, h, w) of frames: distance from the background's colour, its direction in
    radians, and where the distance counts.
    """

    chroma: np.ndarray
    hue: np.ndarray
    mask: np.ndarray


def find_vivid(lab: np.ndarray) -> Vivid:
    """Returns what is vivid in frames (T, h, w, 3) float32 Lab, a and b around 0."""
    count, height, width = lab.shape[:3]
    # What stands out covers less than half of the frames: the median is the background's.
    ground = np.median(lab[::4, ::3, ::3, 1:].reshape(-1, 2), axis=0)
    tall = lab.reshape(count * height, width, 3)
    # As one tall picture: a frame's edge rows are blurred with a row of the next frame.
    a, b = (cv2.blur(tall[..., 1 + axis] - float(ground[axis]), (3, 3)) for axis in (0, 1))
    chroma, hue = (np.asarray(each).reshape(lab.shape[:3]) for each in cv2.cartToPolar(a, b))
    return Vivid(chroma, hue, chroma > THRESHOLD)


def label_hues(vivid: Vivid, most: int) -> tuple[np.ndarray, int]:
    """Returns planes (T, h, w) uint8 of labels, and their number, ``most`` at most.

    0 is the background; 1 is the strongest hue.
    """
    labels = np.zeros(vivid.mask.shape, np.uint8)
    hues = vivid.hue[vivid.mask]
    peaks = _hue_peaks(hues, vivid.chroma[vivid.mask], len(labels))[:most]
    if peaks:
        gaps = np.abs(hues[:, None] - np.array(peaks, np.float32))
        labels[vivid.mask] = np.minimum(gaps, 2 * np.pi - gaps).argmin(axis=1) + 1
    return labels, len(peaks)


def _hue_peaks(hues: np.ndarray, chroma: np.ndarray, frames: int) -> list[float]:
    """Returns the strongest hues in radians, the strongest first."""
    bins = (hues * (HUE_BINS / (2 * np.pi))).astype(int) % HUE_BINS
    weights = np.bincount(bins, chroma, HUE_BINS)
    smooth = weights + 0.5 * (np.roll(weights, 1) + np.roll(weights, -1))
    least = max(smooth.max() * LEAST_SHARE, THRESHOLD * LEAST_PIXELS * frames / 5)
    peaks: list[int] = []
    for index in np.argsort(-smooth, kind="stable"):
        gaps = [min((index - peak) % HUE_BINS, (peak - index) % HUE_BINS) for peak in peaks]
        if smooth[index] >= least and all(gap >= HUE_GAP for gap in gaps):
            peaks.append(int(index))
    return [(peak + 0.5) * 2 * np.pi / HUE_BINS for peak in peaks]
