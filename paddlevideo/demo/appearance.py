"""Describes what a region looks like: colour, shape and texture, without any network."""

from __future__ import annotations

from functools import cache

import numpy as np

from paddlevideo.demo.grammar import COLOURS, SHAPES
from paddlevideo.demo.render import COLOUR_HSV, shape_mask
from paddlevideo.utils.opencv import cv2

HUES, LIGHTS, ANGLES, RADII, HARMONICS, PATTERNS = 12, 6, 36, 8, 8, 10
COLOUR_WIDTH = HUES + LIGHTS + 7
SHAPE_WIDTH = 7 + 6 + HARMONICS + RADII
TEXTURE_WIDTH = 8 + PATTERNS + 4
MARGIN = 8  # pixels around a region that its texture's filters see
APPEARANCE_WIDTH = COLOUR_WIDTH + SHAPE_WIDTH + TEXTURE_WIDTH
CLASSES = len(COLOURS) * len(SHAPES) + 1  # the last one: background


def colour_features(lab: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """(25,): histograms of hue and lightness, then means, deviations and chroma.

    ``lab`` (H, W, 3) float32 with a and b around 0; ``mask`` (H, W) bool.
    """
    pixels = lab[mask]
    chroma = np.hypot(pixels[:, 1], pixels[:, 2])
    position = np.arctan2(pixels[:, 2], pixels[:, 1]) * (HUES / (2 * np.pi))
    low = np.floor(position).astype(int)
    part = position - low
    hues = np.bincount(low % HUES, chroma * (1 - part), HUES)
    hues += np.bincount((low + 1) % HUES, chroma * part, HUES)
    lights = np.histogram(pixels[:, 0], LIGHTS, (0, 256))[0] / len(pixels)
    moments = [*pixels.mean(0), *pixels.std(0), chroma.mean()]
    return np.concatenate([hues / (hues.sum() + 1e-3), lights, np.array(moments) / 128])


def shape_features(mask: np.ndarray) -> np.ndarray:
    """(29,): Hu moments, outline measures, and the radial profile's spectrum and rings."""
    plane = mask.astype(np.uint8)
    moments = cv2.moments(plane, binaryImage=True)
    hu = cv2.HuMoments(moments)[:, 0]
    logs = np.sign(hu) * np.log10(1 + np.abs(hu) * 10.0 ** np.arange(2, 9))
    contours, _ = cv2.findContours(plane, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    outline = max(contours, key=len)
    return np.concatenate([logs, _outline(outline, float(mask.sum())), _radial(mask, outline)])


def _outline(outline: np.ndarray, area: float) -> list[float]:
    """Circularity, solidity, extent, elongation, part filled, corners."""
    enclosed = max(cv2.contourArea(outline), 1.0)
    length = max(cv2.arcLength(outline, True), 1.0)
    hull = max(cv2.contourArea(cv2.convexHull(outline)), 1.0)
    _, (width, height), _ = cv2.minAreaRect(outline)
    width, height = width + 1, height + 1
    corners = len(cv2.approxPolyDP(outline, 0.04 * length, True))
    return [
        4 * np.pi * enclosed / length**2,
        enclosed / hull,
        area / (width * height),
        min(width, height) / max(width, height),
        area / (enclosed + length / 2),
        corners / 8,
    ]


def _radial(mask: np.ndarray, outline: np.ndarray) -> np.ndarray:
    """(16,): eight harmonics of the distance to the outline by angle, then the part of eight
    rings around the centre that is filled. Turning the shape leaves both as they are.
    """
    y, x = np.nonzero(mask)
    centre_x, centre_y = x.mean(), y.mean()
    dx, dy = outline[:, 0, 0] - centre_x, outline[:, 0, 1] - centre_y
    order = np.argsort(np.arctan2(dy, dx))
    angles, distances = np.arctan2(dy, dx)[order], np.hypot(dx, dy)[order]
    grid = (np.arange(ANGLES) + 0.5) * 2 * np.pi / ANGLES - np.pi
    profile = np.interp(grid, angles, distances, period=2 * np.pi)
    spectrum = np.abs(np.fft.rfft(profile / (profile.mean() + 1e-3)))[1 : HARMONICS + 1] / ANGLES
    reach = distances.max() + 0.5
    edges = np.linspace(0, 1, RADII + 1)
    filled = np.histogram(np.hypot(x - centre_x, y - centre_y) / reach, edges)[0]
    rings = np.pi * reach**2 * (edges[1:] ** 2 - edges[:-1] ** 2)
    return np.concatenate([spectrum * 4, filled / (rings + 1)])


def texture_features(light: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """(22,): directions of the gradient, local binary patterns, contrast at several scales.

    ``light`` (H, W) float32. The outline itself is left out where the region is large enough.
    """
    inner = cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8), iterations=2) > 0
    if inner.sum() < 20:
        inner = cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    if inner.sum() < 12:
        inner = mask
    gx, gy = cv2.Sobel(light, cv2.CV_32F, 1, 0), cv2.Sobel(light, cv2.CV_32F, 0, 1)
    length, angle = np.hypot(gx, gy)[inner], np.arctan2(gy, gx)[inner]
    bins = (angle * (8 / np.pi)).astype(int) % 8
    histogram = np.bincount(bins, length, 8)
    histogram = np.roll(histogram, -int(histogram.argmax()))  # turned textures look alike
    values = light[inner]
    fine = light - cv2.GaussianBlur(light, (0, 0), 1.5)
    coarse = cv2.GaussianBlur(light, (0, 0), 1.5) - cv2.GaussianBlur(light, (0, 0), 4)
    contrast = [length.mean() / 128, values.std() / 48]
    contrast += [fine[inner].std() / 16, coarse[inner].std() / 16]
    patterns = np.bincount(_patterns(light)[inner], minlength=PATTERNS) / len(values)
    return np.concatenate([histogram / (histogram.sum() + 50), patterns, contrast])


def _patterns(light: np.ndarray) -> np.ndarray:
    """(H, W) in 0..9: number of brighter neighbours, 9 where bright and dark ones alternate."""
    offsets = ((0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1))
    brighter = np.stack([np.roll(light, o, (0, 1)) > light + 4 for o in offsets])
    changes = (brighter != np.roll(brighter, 1, 0)).sum(0)
    return np.where(changes <= 2, brighter.sum(0), PATTERNS - 1)


def appearance(lab: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """(76,) colour, shape and texture of the pixels in ``mask`` (H, W) of ``lab`` (H, W, 3)."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    window = tuple(slice(max(i[0] - MARGIN, 0), i[-1] + 1 + MARGIN) for i in (rows, columns))
    lab, mask = lab[window], mask[window]
    light = np.ascontiguousarray(lab[..., 0])
    parts = [colour_features(lab, mask), shape_features(mask), texture_features(light, mask)]
    return np.concatenate(parts)


def class_distribution(features: np.ndarray) -> np.ndarray:
    """(65,) how much :func:`appearance` resembles each colour and shape; the sum is 1.

    The yardsticks are clean drawings of the shapes and the colours' middle values; no caption and
    no scene is consulted. The last class, background, takes what has no colour.
    """
    a, b = features[HUES + LIGHTS + 1 : HUES + LIGHTS + 3] * 128
    hues = _colour_angles()
    gap = np.abs(np.angle(np.exp(1j * (np.arctan2(b, a) - hues))))
    colours = _softmax(-(gap**2) / 0.06)
    means, deviations = _shape_yardsticks()
    shape = features[COLOUR_WIDTH : COLOUR_WIDTH + SHAPE_WIDTH]
    shapes = _softmax(-0.25 * (((shape - means) / deviations) ** 2).sum(1))
    vivid = 1 / (1 + np.exp(-(np.hypot(a, b) - 20) / 4))
    return np.append(np.outer(colours, shapes).ravel() * vivid, 1 - vivid).astype(np.float32)


def _softmax(values: np.ndarray) -> np.ndarray:
    powers = np.exp(values - values.max())
    return powers / powers.sum()


@cache
def _colour_angles() -> np.ndarray:
    pixels = np.array([[COLOUR_HSV[name] for name in COLOURS]], np.uint8)
    lab = cv2.cvtColor(cv2.cvtColor(pixels, cv2.COLOR_HSV2BGR), cv2.COLOR_BGR2LAB)[0]
    return np.arctan2(lab[:, 2] - 128.0, lab[:, 1] - 128.0)


@cache
def _shape_yardsticks() -> tuple[np.ndarray, np.ndarray]:
    """Means (8, 29) of clean drawings of each shape, and the pooled deviations (29,)."""
    groups = []
    for name in SHAPES:
        drawings = []
        for side in (20, 28, 38):
            for degrees in (-12, 0, 12, 35):
                turn = cv2.getRotationMatrix2D((32, 32), degrees, side / 64)
                turned = cv2.warpAffine(shape_mask(name), turn, (64, 64))
                drawings.append(shape_features(turned > 0.5))
        groups.append(np.stack(drawings))
    means = np.stack([group.mean(0) for group in groups])
    within = np.sqrt(np.mean([group.var(0) for group in groups], 0))
    return means, within + 0.35 * means.std(0) + 0.02
