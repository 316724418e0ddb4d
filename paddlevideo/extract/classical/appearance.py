"""Region vectors: colour, shape, texture, layout and position of a box, without any network."""

from __future__ import annotations

import numpy as np

from paddlevideo.extract.classical.colours import COLOURS
from paddlevideo.extract.classical.patches import INNER, Patches, histogram, means
from paddlevideo.extract.classical.planes import PATTERNS, PlaneCache, Planes
from paddlevideo.extract.classical.scale import Scale
from paddlevideo.extract.schema import ClassicalVectors

HUES, LIGHTS, DIRECTIONS = 12, 6, 8
#: The outline is seen in sectors around the middle, and in rings; the first harmonics of its
#: distance by angle are kept: they do not change when a shape turns.
SECTORS, RINGS, HARMONICS = 24, 8, 8
#: Cells along a side of a figure's silhouette.
SILHOUETTE = 6
SCALE = Scale("regions")
WIDTH = SCALE.width


class ClassicalAppearance:
    """Vectors (n, WIDTH) of boxes, whatever detector found them.

    Colour, shape and texture are those of the figure in a box: the pixels that are unlike what is
    around it.
    """

    def __init__(self, settings: ClassicalVectors, planes: PlaneCache | None = None) -> None:
        self.side, self.planes = settings.side, planes or PlaneCache()

    def describe(self, frame: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        """Returns (n, WIDTH) float32 for boxes (n, 4) in pixels of a frame (h, w, 3) uint8 BGR."""
        planes = self.planes(frame, self.side)
        patches = Patches.of(planes, boxes)
        sides = np.tile([frame.shape[1], frame.shape[0]], 2)
        parts = [
            _colour(patches, planes),
            _shape(patches.figure.reshape(-1, INNER, INNER)),
            _texture(patches, planes),
            _layout(patches),
            _position(np.asarray(boxes, float) / sides, patches),
        ]
        return SCALE(np.concatenate(parts, axis=1))


def _colour(patches: Patches, planes: Planes) -> np.ndarray:
    """Returns (n, 37): histograms of hue and lightness, moments in Lab, shares of named colours."""
    lab, figure = patches.lab, patches.figure
    chroma = np.hypot(lab[..., 1], lab[..., 2])
    position = np.arctan2(lab[..., 2], lab[..., 1]) * (HUES / (2 * np.pi))
    low = np.floor(position).astype(int)
    share = position - low
    hues = histogram(low % HUES, HUES, figure, chroma * (1 - share))
    hues += histogram((low + 1) % HUES, HUES, figure, chroma * share)
    hues /= hues.sum(axis=1, keepdims=True) + 4  # the hues of greys are weak: their sum is small
    lights = histogram((lab[..., 0] * (LIGHTS / 256)).astype(int), LIGHTS, figure)
    mean = means(np.concatenate([lab, lab**2, chroma[..., None]], axis=2), figure)
    deviation = np.sqrt(np.maximum(mean[:, 3:6] - mean[:, :3] ** 2, 0))
    moments = np.concatenate([mean[:, :3], deviation, mean[:, 6:]], axis=1) / 128
    named = histogram(patches.sample(planes.colour), len(COLOURS), figure)
    return np.concatenate([hues, lights, moments, named], axis=1)


def _shape(figure: np.ndarray) -> np.ndarray:
    """Returns (n, 56) for figures (n, INNER, INNER) bool: a silhouette, and what stays when a
    shape turns: filled rings, the outline's spectrum by angle, area, spread, outline and reach.
    """
    count = len(figure)
    cells = figure.reshape(count, SILHOUETTE, INNER // SILHOUETTE, SILHOUETTE, -1).mean(axis=(2, 4))
    outline = sum(np.diff(figure, axis=axis).sum(axis=(1, 2)) for axis in (1, 2)) / (4 * INNER)
    index, distance, angle = _polar(figure)
    mass = np.bincount(index, minlength=count)
    reach = np.zeros(count)
    np.maximum.at(reach, index, distance)
    reach += 0.5
    ring = (distance / reach[index] * RINGS).astype(int)
    filled = np.bincount(index * RINGS + ring, minlength=count * RINGS).reshape(count, RINGS)
    edges = np.linspace(0, 1, RINGS + 1)
    rings = np.pi * reach[:, None] ** 2 * (edges[1:] ** 2 - edges[:-1] ** 2)
    profile = np.zeros(count * SECTORS)
    sector = ((angle / (2 * np.pi) + 0.5) * SECTORS).astype(int) % SECTORS
    np.maximum.at(profile, index * SECTORS + sector, distance)
    profile = profile.reshape(count, SECTORS) / reach[:, None]
    spectrum = np.abs(np.fft.rfft(profile, axis=1))[:, 1 : HARMONICS + 1] / SECTORS
    spread = np.sqrt(np.bincount(index, distance**2, count) / mass) / reach
    sizes = np.stack([mass / (np.pi * reach**2), spread, outline, reach / INNER], axis=1)
    return np.concatenate(
        [cells.reshape(count, -1), filled / (rings + 1), spectrum * 8, sizes], axis=1
    )


def _polar(figure: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns, for each sample of figures (n, INNER, INNER): the index of its figure, and its
    distance in samples and angle from the figure's middle.
    """
    index, y, x = np.nonzero(figure)
    mass = np.bincount(index, minlength=len(figure))
    dx, dy = (each - (np.bincount(index, each, len(figure)) / mass)[index] for each in (x, y))
    return index, np.hypot(dx, dy), np.arctan2(dy, dx)


def _texture(patches: Patches, planes: Planes) -> np.ndarray:
    """Returns (n, 22): directions of edges, local patterns, contrast at several scales.

    The figure's outline is left out.
    """
    inside = patches.inside
    across, along = (patches.sample(plane) for plane in planes.gradient)
    edge = np.hypot(across, along)
    sector = ((np.arctan2(along, across) / (2 * np.pi) + 0.5) * DIRECTIONS).astype(int)
    directions = histogram(sector % DIRECTIONS, DIRECTIONS, inside, edge)
    # Turned textures look alike: the strongest direction comes first.
    first = directions.argmax(axis=1)[:, None] + np.arange(DIRECTIONS)
    directions = np.take_along_axis(directions, first % DIRECTIONS, axis=1)
    directions /= directions.sum(axis=1, keepdims=True) + 1
    patterns = histogram(patches.sample(planes.pattern), PATTERNS, inside)
    fine, coarse = (patches.sample(plane) for plane in planes.detail)
    light = patches.lab[..., 0]
    values = [edge, light, light**2, fine**2, coarse**2]
    edge, light, squares, fine, coarse = means(np.stack(values, axis=2), inside).T
    deviation = np.sqrt(np.maximum(squares - light**2, 0))
    contrast = np.stack([edge, deviation / 3, np.sqrt(fine), np.sqrt(coarse)], axis=1) / 16
    return np.concatenate([directions, patterns, contrast], axis=1)


def _layout(patches: Patches) -> np.ndarray:
    """Returns (n, 12): mean Lab of each quarter of the box, without regard to the figure."""
    half = INNER // 2
    quarters = patches.lab.reshape(-1, 2, half, 2, half, 3).mean(axis=(2, 4))
    count = len(quarters)
    light, colour = quarters[..., 0].reshape(count, -1), quarters[..., 1:].reshape(count, -1)
    return np.concatenate([light, colour], axis=1) / 128


def _position(boxes: np.ndarray, patches: Patches) -> np.ndarray:
    """Returns (n, 7): corners of the box, its side and the figure's, in parts of the frame, and how
    much wider than high it is.
    """
    width, height = np.maximum(boxes[:, 2:] - boxes[:, :2], 1e-3).T
    side = np.sqrt(width * height)
    figure = side * np.sqrt(patches.figure.sum(axis=1) / patches.box.sum(axis=1))
    more = np.stack([side, figure, np.tanh(np.log(width / height))], axis=1)
    return np.concatenate([boxes, more], axis=1)
