"""Region vectors without weights: colours and directions in four quarters, texture, place."""

from __future__ import annotations

import numpy as np

from paddlevideo.extract.classical import COLOURS, DIRECTIONS, HUES, LIGHTS, PATTERNS, Measured
from paddlevideo.extract.schema import ClassicalVectors

CELL_WIDTH = HUES + LIGHTS + 6 + DIRECTIONS
WIDTH = 4 * CELL_WIDTH + len(COLOURS) + PATTERNS + 3 + 6


class ClassicalAppearance:
    """Vectors (n, 135) of boxes: for each quarter hues, lightness, Lab mean and deviation and
    directions of edges; of all of it named colours, local patterns and contrast; and its place.
    """

    def __init__(self, settings: ClassicalVectors) -> None:
        self.side = settings.side

    def describe(self, frame: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        """(n, 135) float32 for boxes (n, 4) in pixels of a frame (h, w, 3) uint8 BGR."""
        measured = Measured(frame, self.side)
        height, width = frame.shape[:2]
        rows = np.zeros((len(boxes), WIDTH), np.float32)
        for row, box in zip(rows, boxes, strict=True):
            window = measured.window(box)
            cells = [_cell(measured, quarter) for quarter in _quarters(window)]
            place = np.asarray(box, float) / [width, height, width, height]
            row[:] = np.concatenate([*cells, _texture(measured, window), _place(place)])
        return rows


def _quarters(window: tuple[slice, slice]) -> list[tuple[slice, slice]]:
    halves = []
    for part in window:
        middle = max((part.start + part.stop) // 2, part.start + 1)
        halves.append((slice(part.start, middle), slice(min(middle, part.stop - 1), part.stop)))
    return [(rows, columns) for rows in halves[0] for columns in halves[1]]


def _cell(measured: Measured, window: tuple[slice, slice]) -> np.ndarray:
    """(26,): colours and directions of one quarter."""
    pixels = measured.lab[window].reshape(-1, 3)
    chroma, edge = measured.chroma[window].ravel(), measured.edge[window].ravel()
    hues = np.bincount(measured.hue[window].ravel(), chroma, HUES) / len(pixels)
    lights = np.bincount(measured.light[window].ravel(), minlength=LIGHTS) / len(pixels)
    directions = np.bincount(measured.direction[window].ravel(), edge, DIRECTIONS)
    # Small sums stay small: the directions of noise say nothing.
    directions = directions / (np.linalg.norm(directions) + 2.0 * np.sqrt(len(pixels)))
    return np.concatenate([hues / 32, lights, pixels.mean(0) / 128, pixels.std(0) / 64, directions])


def _texture(measured: Measured, window: tuple[slice, slice]) -> np.ndarray:
    """(25,): shares of named colours and of patterns; edges, deviation, deviation of edges."""
    colours = np.bincount(measured.colour[window].ravel(), minlength=len(COLOURS))
    patterns = np.bincount(measured.pattern[window].ravel(), minlength=PATTERNS)
    edge = measured.edge[window]
    contrast = [edge.mean() / 16, measured.lab[window][..., 0].std() / 64, edge.std() / 16]
    return np.concatenate([colours / edge.size, patterns / edge.size, contrast])


def _place(box: np.ndarray) -> np.ndarray:
    """(6,): corners and area in parts of the frame; how much wider than high."""
    width, height = np.maximum(box[2:] - box[:2], 1e-3)
    return np.array([*box, width * height, np.tanh(np.log(width / height))])
