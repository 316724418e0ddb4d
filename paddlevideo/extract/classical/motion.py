"""Action vectors without weights: how things and the whole frame move in a window."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from paddlevideo.extract.classical.scale import Scale
from paddlevideo.extract.classical.tracks import Track, find_tracks
from paddlevideo.extract.classical.vivid import Vivid, find_vivid
from paddlevideo.extract.images import smaller
from paddlevideo.extract.schema import ClassicalActions, ThingActions
from paddlevideo.utils.opencv import cv2

DIRECTIONS, CELLS = 8, 3
#: Parts of a window that are described: the whole window and its halves.
SPANS = ((0.0, 1.0), (0.0, 0.5), (0.5, 1.0))
SCALE = Scale("actions")
WIDTH = SCALE.width
#: Where the parts of a thing's motion are.
TRAVEL, REVERSALS, EXTENT, TURNS = slice(8, 12), slice(14, 16), slice(16, 18), slice(18, 20)
SIZE, STRENGTH, GONE = slice(22, 24), slice(25, 27), 28
THING_WIDTH = 30
#: Hues that are told apart, and the numbers for a thing's colour.
HUES = 12
COLOUR_WIDTH = HUES + 3
#: What is next to a thing moves with it: the flow is smooth.
NEAR = np.ones((5, 5), np.uint8)
#: Long sides of the frame a second: slower is noise.
SLOW = 0.03
#: What a thing turns back counts as its motion from this extent on, in parts of the frame, and its
#: coming and going from this often on.
LEAST_EXTENT, LEAST_GONE = 0.06, 0.75

KINDS = (
    *("still", "left", "right", "up", "down", "towards", "away", "mixed"),
    *("back and forth", "up and down", "turn left", "turn right", "appear", "vanish", "flash"),
)


class ClassicalMotion:
    """Vectors (m, WIDTH) and the dominant kind of motion of each window of a clip."""

    names: list[str] | None = list(KINDS)

    def __init__(self, settings: ClassicalActions | ThingActions) -> None:
        self.side = settings.side

    def reduce(self, frame: np.ndarray) -> np.ndarray:
        """Returns what is kept of a frame until its window is complete: (h, w, 3) uint8."""
        return smaller(frame, self.side)

    def describe(
        self, windows: Sequence[np.ndarray], interval: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns vectors (m, WIDTH) float32 and classes (m,) of windows (T, h, w, 3) BGR.

        ``interval``: seconds between two frames of a window.
        """
        described = [_describe(Window.of(window), interval) for window in windows]
        vectors, kinds = zip(*described, strict=True)
        return SCALE(np.stack(vectors)), np.array(kinds, np.int64)


class ThingMotion(ClassicalMotion):
    """Vectors (n, WIDTH + COLOUR_WIDTH): one for each thing of a window, and the thing's colour.

    Where fewer than two things stand out, a window has one vector, as by ``ClassicalMotion``.
    """

    def describe(
        self, windows: Sequence[np.ndarray], interval: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns vectors and classes (n,) of m windows (T, h, w, 3) BGR; n is m to 2 m.

        ``interval``: seconds between two frames of a window.
        """
        things = [thing for window in windows for thing in Window.of(window).apart()]
        vectors, kinds = zip(*(_describe(thing, interval) for thing in things), strict=True)
        colours = np.stack([_colour(thing.lab[thing.body]) for thing in things])
        rows = np.concatenate([SCALE(np.stack(vectors)), colours], axis=1, dtype=np.float32)
        return rows, np.array(kinds, np.int64)


@dataclass(frozen=True)
class Window:
    """What a window shows: its pixels, what stands out, and the flow (T - 1, h/2, w/2, 2)."""

    lab: np.ndarray  # T, h, w, 3
    vivid: Vivid
    tracks: Sequence[Track]
    flow: np.ndarray
    #: A thing that is seen beside those of ``tracks``.
    beside: Track | None = None

    @classmethod
    def of(cls, frames: np.ndarray) -> Window:
        """Returns everything in frames (T, h, w, 3) BGR."""
        lab = _lab(frames)
        vivid = find_vivid(lab)
        return cls(lab, vivid, find_tracks(vivid), optical_flow(lab[..., 0].astype(np.uint8)))

    @property
    def body(self) -> np.ndarray:
        """The pixels (T, h, w) whose colour is described: a single thing's, or all vivid ones."""
        return self.vivid.mask if self.beside is None else self.tracks[0].masks

    def apart(self) -> list[Window]:
        """Returns each of two things alone, with the flow in and next to it."""
        if len(self.tracks) < 2:
            return [self]
        height, width = self.flow.shape[1:3]
        things = []
        for track, other in (self.tracks, self.tracks[::-1]):
            near = np.stack([cv2.dilate(mask.astype(np.uint8), NEAR) for mask in track.masks]) > 0
            vivid = replace(self.vivid, mask=self.vivid.mask & near)
            moving = (near[:-1] | near[1:])[:, : 2 * height : 2, : 2 * width : 2]
            flow = self.flow * moving[..., None]
            things.append(Window(self.lab, vivid, [track], flow, other))
        return things


def _describe(window: Window, interval: float) -> tuple[np.ndarray, int]:
    lab, flow, count = window.lab, window.flow, len(window.lab)
    things, rows = [], []
    for begin, end in SPANS:
        start = min(round(begin * count), count - 2)
        stop = max(round(end * count), start + 2)
        moved = np.zeros(THING_WIDTH)
        for index, track in enumerate(window.tracks):
            other = window.tracks[1 - index] if len(window.tracks) == 2 else window.beside
            moved += _thing(track, flow, other, start, stop)
        things.append(moved)
        rows += [moved, _frame(lab, window.vivid, flow, start, stop)]
    speed = flow / (max(flow.shape[1:3]) * interval)
    vector = np.concatenate([*rows, _cells(speed), _summary(speed, lab[..., 0])])
    return vector, _kind(things[0], speed)


def _colour(pixels: np.ndarray) -> np.ndarray:
    """Returns (COLOUR_WIDTH,) of pixels (n, 3): shares of hues, mean lightness, a and b."""
    if not len(pixels):
        return np.zeros(COLOUR_WIDTH)
    hues = _directions(pixels[:, 1], pixels[:, 2], HUES)
    # Factors that make them about as large as the scaled features of motion.
    return np.concatenate([4 * hues / (hues.sum() + 1e-6), pixels.mean(axis=0) / 64])


def _lab(window: np.ndarray) -> np.ndarray:
    """Returns (T, h, w, 3) float32, a and b around 0."""
    count, height, width = window.shape[:3]
    tall = cv2.cvtColor(window.reshape(count * height, width, 3), cv2.COLOR_BGR2LAB)
    lab = tall.astype(np.float32).reshape(window.shape)
    lab[..., 1:] -= 128.0
    return lab


def optical_flow(light: np.ndarray) -> np.ndarray:
    """Returns (T - 1, h / 2, w / 2, 2): the flow between frames (T, h, w), in half-size pixels."""
    size = (max(light.shape[2] // 2, 1), max(light.shape[1] // 2, 1))
    halves = [cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in light]
    none = np.zeros((size[1], size[0], 2), np.float32)
    steps = [
        # A frame that is repeated, because the video has too few, has not moved.
        none
        if np.array_equal(first, second)
        else cv2.calcOpticalFlowFarneback(first, second, none.copy(), 0.5, 2, 9, 2, 5, 1.1, 0)
        for first, second in zip(halves, halves[1:], strict=False)
    ]
    return np.stack(steps)


# -------------------------------------------------------------------------- one thing


def _thing(
    track: Track, flow: np.ndarray, other: Track | None, start: int, stop: int
) -> np.ndarray:
    """Returns (30,): how one thing moves between two frames, in parts of the frame's side."""
    side = float(max(track.masks.shape[1:]))
    seen = np.flatnonzero(track.seen[start:stop]) + start
    if len(seen) < 2:
        return np.zeros(THING_WIDTH)
    centres = track.centres[seen] / side
    steps = np.diff(centres, axis=0)
    travel = centres[-1] - centres[0]
    length = np.hypot(*steps.T).sum()
    parts = [
        _directions(steps[:, 0], steps[:, 1]),
        np.maximum([travel[0], -travel[0], travel[1], -travel[1]], 0),
        [length, np.hypot(*travel) / (length + 0.1), *_reversals(steps), *centres.std(axis=0)],
        _turns(track, flow, start, stop),
        _change(np.sqrt(track.areas[seen]) / side),
        _change(track.strengths[seen] / 60),
        [_missing(track.seen[start:stop])],
        [_closeness(track, other, start, stop, side)],
    ]
    return np.concatenate(parts)


def _directions(dx: np.ndarray, dy: np.ndarray, number: int = DIRECTIONS) -> np.ndarray:
    """Returns (number,): lengths by direction; neighbouring directions share a vector."""
    angle = np.arctan2(dy, dx) * (number / (2 * np.pi))
    low = np.floor(angle).astype(int)
    share, length = angle - low, np.hypot(dx, dy)
    sums = np.bincount(low % number, length * (1 - share), number)
    return sums + np.bincount((low + 1) % number, length * share, number)


def _reversals(steps: np.ndarray) -> list[float]:
    """Returns how often x and y turn back; steps below about half a pixel are noise."""
    turns = []
    for axis in range(2):
        step = steps[np.abs(steps[:, axis]) > 0.006, axis]
        turns.append(float((step[1:] * step[:-1] < 0).sum()) / 4)
    return turns


def _change(values: np.ndarray) -> list[float]:
    """Returns growth and decline over the stretch, and the deviation from a straight line."""
    time = np.linspace(-0.5, 0.5, len(values))
    slope = float((values * time).sum() / (time**2).sum())
    scale = float(values.mean()) + 0.02
    rest = float((values - values.mean() - slope * time).std())
    return [max(slope, 0) / scale, max(-slope, 0) / scale, rest / scale]


def _missing(seen: np.ndarray) -> float:
    """Returns how often a thing goes or comes back."""
    return float(np.abs(np.diff(seen.astype(int))).sum()) / 4


def _closeness(track: Track, other: Track | None, start: int, stop: int, side: float) -> float:
    """Returns 1 where the thing comes from afar and as near to another as their sizes allow."""
    if other is None:
        return 0.0
    both = track.seen[start:stop] & other.seen[start:stop]
    if not both.any():
        return 0.0
    away = (track.centres - other.centres)[start:stop][both] / side
    radii = (np.sqrt(track.areas) + np.sqrt(other.areas))[start:stop][both] / side / 2
    gap = np.hypot(*away.T) - radii
    return float(np.exp(-12 * max(gap.min(), 0)) * min(gap.max() - gap.min(), 0.4) * 2.5)


def _turns(track: Track, flow: np.ndarray, start: int, stop: int) -> list[float]:
    """Returns the flow's turn in both directions, its spread, and its absolute turn in a thing."""
    height, width = flow.shape[1:3]
    half = track.masks[start : stop - 1, : 2 * height : 2, : 2 * width : 2]
    stretch = flow[start : stop - 1, : half.shape[1], : half.shape[2]]
    if not half.any():
        return [0.0] * 4
    curl = _slope(stretch[..., 1], axis=2) - _slope(stretch[..., 0], axis=1)
    spread = _slope(stretch[..., 0], axis=2) + _slope(stretch[..., 1], axis=1)
    turn = float(curl[half].mean())
    return [
        max(turn, 0),
        max(-turn, 0),
        float(spread[half].mean()),
        float(np.abs(curl[half]).mean()),
    ]


def _slope(values: np.ndarray, axis: int) -> np.ndarray:
    """Returns the gradient along an axis; 0 where the frame has one pixel along it."""
    return np.gradient(values, axis=axis) if values.shape[axis] > 1 else np.zeros_like(values)


# ---------------------------------------------------------------------- the whole frame


def _frame(lab: np.ndarray, vivid: Vivid, flow: np.ndarray, start: int, stop: int) -> np.ndarray:
    """Returns (19,): flow of what is vivid, its area, and the light over the stretch."""
    mask = vivid.mask[start:stop]
    height, width = flow.shape[1:3]
    moving = flow[start : stop - 1][mask[:-1, : 2 * height : 2, : 2 * width : 2]] * 2
    directions = _directions(moving[:, 0], moving[:, 1]) / (len(moving) + 1)
    area = np.sqrt(mask.mean(axis=(1, 2)))
    light = lab[start:stop, ::2, ::2, 0].mean(axis=(1, 2)) / 255
    strength = np.where(mask, vivid.chroma[start:stop], 0).mean(axis=(1, 2)) / 10
    jumps = np.abs(np.diff(area))
    return np.concatenate(
        [directions, [jumps.mean(), jumps.max()], _change(area), _change(strength), _change(light)]
    )


def _cells(speed: np.ndarray) -> np.ndarray:
    """Returns (72,): mean flow by direction in 3 x 3 cells of the frame."""
    height, width = speed.shape[1:3]
    row = np.minimum(np.arange(height) * CELLS // height, CELLS - 1)
    column = np.minimum(np.arange(width) * CELLS // width, CELLS - 1)
    cell = row[:, None] * CELLS + column[None]
    x, y = speed[..., 0], speed[..., 1]
    angle = (np.arctan2(y, x) + np.pi) * (DIRECTIONS / (2 * np.pi))
    bins = (cell[None] * DIRECTIONS + angle.astype(int) % DIRECTIONS).ravel()
    sums = np.bincount(bins, np.hypot(x, y).ravel(), CELLS * CELLS * DIRECTIONS)
    return _damped(sums * CELLS * CELLS / max(x.size, 1))


def _damped(values: np.ndarray) -> np.ndarray:
    """Returns square roots: speeds differ by powers of ten."""
    return np.sign(values) * np.sqrt(np.abs(values))


def _summary(speed: np.ndarray, light: np.ndarray) -> np.ndarray:
    """Returns (14,): travel, spread, turn and speed of the frame, and how its light changes."""
    length = np.hypot(speed[..., 0], speed[..., 1])
    travel = speed.mean(axis=(0, 1, 2))
    spread = _slope(speed[..., 0], axis=2) + _slope(speed[..., 1], axis=1)
    turn = _slope(speed[..., 1], axis=2) - _slope(speed[..., 0], axis=1)
    side = max(speed.shape[1:3])
    signed = [travel[0], travel[1], spread.mean() * side, turn.mean() * side]
    mean = light.mean(axis=(1, 2)) / 255
    jumps = np.abs(np.diff(mean))
    parts = [_damped(np.maximum([*signed, *np.negative(signed)], 0))]
    parts.append(_damped(np.array([length.mean(), length.std(), length.mean(axis=(1, 2)).std()])))
    parts.append(np.array([jumps.max(), mean[-1] - mean[0], (length > SLOW).mean()]))
    return np.concatenate(parts)


# ------------------------------------------------------------------------------- kinds


def _kind(things: np.ndarray, speed: np.ndarray) -> int:
    """Returns the index in ``KINDS`` of the strongest motion of things, else of the frame."""
    right, left, down, up = things[TRAVEL] * 3
    clockwise, anticlockwise = things[TURNS] * 6
    across, along = things[REVERSALS] * 1.2 * (things[EXTENT] > LEAST_EXTENT)
    growth, decline = things[SIZE]
    appears, vanishes = things[STRENGTH]
    scores = {
        "still": 0.35,
        **{"left": left, "right": right, "up": up, "down": down},
        **{"back and forth": across, "up and down": along},
        **{"turn left": anticlockwise, "turn right": clockwise},
        **{"towards": growth, "away": decline, "appear": appears, "vanish": vanishes},
        "flash": things[GONE] * 2 * (things[GONE] >= LEAST_GONE),
    }
    strongest = max(scores, key=lambda name: scores[name])
    return KINDS.index(strongest if strongest != "still" else _kind_of_flow(speed))


def _kind_of_flow(speed: np.ndarray) -> str:
    """Returns the dominant motion of what moves at all."""
    length = np.hypot(speed[..., 0], speed[..., 1])
    moving = length > SLOW
    if moving.mean() < 0.01:
        return "still"
    travel, mean = speed[moving].mean(axis=0), float(length[moving].mean())
    outward = _outward(speed, moving) / mean
    if np.hypot(*travel) / mean >= max(0.5, abs(outward)):
        axis = int(abs(travel[1]) > abs(travel[0]))
        return (("left", "right"), ("up", "down"))[axis][int(travel[axis] > 0)]
    if abs(outward) >= 0.4:
        return "towards" if outward > 0 else "away"
    return "mixed"


def _outward(speed: np.ndarray, moving: np.ndarray) -> float:
    """Returns the mean speed away from the middle of what moves: what grows comes nearer."""
    time, y, x = np.nonzero(moving)
    dx, dy = x - x.mean(), y - y.mean()
    length = np.maximum(np.hypot(dx, dy), 1e-6)
    u, v = speed[time, y, x].T
    return float(((u * dx + v * dy) / length).mean())
