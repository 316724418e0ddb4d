"""Draws a scene and writes it as a video file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from paddlevideo.demo.grammar import Scene, Thing
from paddlevideo.utils.errors import DataError
from paddlevideo.utils.opencv import cv2

FRAMES_PER_SECOND = 10
SPRITE = 64  # pixels: shapes are drawn once at this size, then turned and scaled
RADIUS = {"small": 0.12, "medium": 0.165, "large": 0.22}  # fractions of the frame's side
# (hue in OpenCV's degrees / 2, saturation, value)
COLOUR_HSV = {
    "red": (0, 235, 215),
    "orange": (13, 240, 245),
    "yellow": (28, 235, 245),
    "green": (60, 220, 185),
    "cyan": (90, 225, 220),
    "blue": (113, 225, 230),
    "purple": (138, 205, 200),
    "pink": (165, 135, 250),
}
# (ending, codec, share of the clips)
CONTAINERS = ((".mp4", "mp4v", 0.5), (".avi", "XVID", 0.3), (".avi", "MJPG", 0.2))


@dataclass
class Path2D:
    """The motion of a thing: one value per frame; positions in fractions of the frame's side."""

    x: np.ndarray
    y: np.ndarray
    scale: np.ndarray
    angle: np.ndarray  # degrees
    opacity: np.ndarray


def _path(time: np.ndarray, **changes: np.ndarray) -> Path2D:
    still = {"x": 0 * time, "y": 0 * time, "scale": 0 * time + 1}
    still |= {"angle": 0 * time, "opacity": 0 * time + 1}
    return Path2D(**{**still, **changes})


def _wave(phase: np.ndarray) -> np.ndarray:
    """Returns a triangle wave in -1..1 with period 1."""
    return 4 * np.abs(phase - np.floor(phase + 0.5)) - 1


def _sign(rng: np.random.Generator) -> float:
    return float(rng.choice((-1.0, 1.0)))


def _zigzag(time: np.ndarray, rng: np.random.Generator) -> Path2D:
    x, y = (time - 0.5) * _sign(rng) * 0.5, 0.11 * _wave(3 * time + rng.random())
    return _path(time, x=x, y=y) if rng.random() < 0.7 else _path(time, x=y, y=x)


def _orbit(time: np.ndarray, rng: np.random.Generator) -> Path2D:
    turn = 2 * np.pi * (_sign(rng) * rng.uniform(1.1, 1.5) * time + rng.random())
    return _path(time, x=0.2 * np.cos(turn), y=0.2 * np.sin(turn))


def _slide(dx: float, dy: float) -> Callable[[np.ndarray, np.random.Generator], Path2D]:
    def path(time: np.ndarray, rng: np.random.Generator) -> Path2D:
        travel = (time - 0.5) * rng.uniform(0.42, 0.56)
        return _path(time, x=dx * travel, y=dy * travel)

    return path


MOTIONS: dict[str, Callable[[np.ndarray, np.random.Generator], Path2D]] = {
    "left": _slide(-1, 0),
    "right": _slide(1, 0),
    "up": _slide(0, -1),
    "down": _slide(0, 1),
    "bounce": lambda t, rng: _path(t, y=0.15 - 0.3 * np.abs(np.sin(3 * np.pi * t))),
    "zigzag": _zigzag,
    "spin": lambda t, rng: _path(t, angle=_sign(rng) * rng.uniform(300, 420) * t),
    "grow": lambda t, rng: _path(t, scale=0.6 + 0.9 * t),
    "shrink": lambda t, rng: _path(t, scale=1.5 - 0.9 * t),
    "fade": lambda t, rng: _path(t, opacity=np.clip(1.15 - 1.2 * t, 0, 1)),
    "blink": lambda t, rng: _path(t, opacity=((4 * t + rng.random()) % 1 < 0.55).astype(float)),
    "orbit": _orbit,
}


def render(scene: Scene, frames: int, side: int, rng: np.random.Generator) -> np.ndarray:
    """Returns (frames, side, side, 3) uint8 BGR."""
    canvas = _background(scene.background, side, rng)
    paths = _paths(scene.things, frames, rng)
    sprites = [_sprite(thing, rng) for thing in scene.things]
    tilts = rng.uniform(-12, 12, len(paths))
    video = rng.standard_normal((frames, side, side, 3), np.float32)
    video *= np.float32(rng.uniform(2, 5))
    video += canvas
    for index in range(frames):
        for thing, path, sprite, tilt in zip(scene.things, paths, sprites, tilts, strict=True):
            _draw(video[index], sprite, RADIUS[thing.size], path, index, tilt)
    return np.clip(video, 0, 255, out=video).astype(np.uint8)


def _paths(things: Sequence[Thing], frames: int, rng: np.random.Generator) -> list[Path2D]:
    """Returns paths that stay inside the frame, as far from each other as possible."""
    time = np.linspace(0, 1, frames)
    if things[0].action == "collide":
        return _collision(things, time, rng)
    paths = [MOTIONS[thing.action](time, rng) for thing in things]
    best: tuple[float, list[tuple[float, float]]] = (-1.0, [])
    for _ in range(1 if len(things) == 1 else 12):
        centres = [_centre(t, p, rng) for t, p in zip(things, paths, strict=True)]
        best = max(best, (_clearance(paths, centres), centres))
    for path, (x, y) in zip(paths, best[1], strict=True):
        path.x, path.y = path.x + x, path.y + y
    return paths


def _centre(thing: Thing, path: Path2D, rng: np.random.Generator) -> tuple[float, float]:
    radius = RADIUS[thing.size] * path.scale.max()
    return _within(path.x, radius, rng), _within(path.y, radius, rng)


def _within(offset: np.ndarray, radius: float, rng: np.random.Generator) -> float:
    low, high = radius - offset.min(), 1 - radius - offset.max()
    return float(rng.uniform(low, high)) if low < high else float(low + high) / 2


def _clearance(paths: Sequence[Path2D], centres: Sequence[tuple[float, float]]) -> float:
    """Returns the smallest distance between two things over time; 0 for one thing."""
    if len(paths) == 1:
        return 0.0
    (a, b), ((ax, ay), (bx, by)) = paths, centres
    return float(np.hypot(a.x + ax - b.x - bx, a.y + ay - b.y - by).min())


def _collision(things: Sequence[Thing], time: np.ndarray, rng: np.random.Generator) -> list[Path2D]:
    """Returns paths of two things that collide in the middle of the clip and return."""
    reach = sum(RADIUS[thing.size] for thing in things)
    gap = np.abs(2 * time - 1) * min(0.95 - reach, 0.6) + reach * 0.9
    share = RADIUS[things[1].size] / reach
    middle, lane = rng.uniform(0.45, 0.55), rng.uniform(0.3, 0.7)
    side = _sign(rng)
    along = [middle - side * gap * share, middle + side * gap * (1 - share)]
    for index, thing in enumerate(things):
        along[index] = along[index].clip(RADIUS[thing.size], 1 - RADIUS[thing.size])
    across = np.full_like(time, lane)
    if rng.random() < 0.6:
        return [_path(time, x=x, y=across) for x in along]
    return [_path(time, x=across, y=y) for y in along]


def _draw(
    frame: np.ndarray, sprite: np.ndarray, radius: float, path: Path2D, index: int, tilt: float
) -> None:
    """Draws the sprite over ``frame`` (side, side, 3) float32, in place."""
    opacity = path.opacity[index]
    if opacity <= 0:
        return
    side = frame.shape[0]
    scale = 2 * radius * side * path.scale[index] / SPRITE
    turn = cv2.getRotationMatrix2D((SPRITE / 2, SPRITE / 2), path.angle[index] + tilt, scale)
    centre = np.array((path.x[index], path.y[index])) * side
    reach = np.ceil(scale * SPRITE * 0.71)  # only this part of the frame changes
    left, top = np.maximum(centre - reach, 0).astype(int)
    right, bottom = np.minimum(centre + reach + 1, side).astype(int)
    turn[:, 2] += centre - SPRITE / 2 - (left, top)
    layer = cv2.warpAffine(sprite, turn, (right - left, bottom - top), flags=cv2.INTER_LINEAR)
    patch = frame[top:bottom, left:right]
    patch *= 1 - layer[:, :, 3:] * np.float32(opacity)
    patch += layer[:, :, :3] * np.float32(opacity)


def _sprite(thing: Thing, rng: np.random.Generator) -> np.ndarray:
    """Returns (SPRITE, SPRITE, 4) float32: BGR times coverage, and coverage in 0..1."""
    hue, saturation, value = COLOUR_HSV[thing.colour]
    pixel = np.array([[[(hue + rng.integers(-2, 3)) % 180, saturation, value]]], np.uint8)
    base = cv2.cvtColor(pixel, cv2.COLOR_HSV2BGR)[0, 0].astype(np.float32)
    base *= rng.uniform(0.92, 1.04)
    other = base * 0.45 if rng.random() < 0.5 else base * 0.45 + 255 * 0.55
    mix = texture_pattern(thing.texture)[..., None]
    coverage = shape_mask(thing.shape)[..., None]
    colour = np.clip(base * (1 - mix) + other * mix, 0, 255)
    return np.concatenate([colour * coverage, coverage], 2)


@cache
def texture_pattern(texture: str) -> np.ndarray:
    """Returns (SPRITE, SPRITE) float32 in 0..1: the share of the second colour."""
    y, x = np.mgrid[:SPRITE, :SPRITE].astype(np.float32) / SPRITE
    if texture == "striped":
        pattern = np.sin(2 * np.pi * 4.5 * (x + y) / 1.4) > 0.1
    elif texture == "dotted":
        pattern = np.hypot((x * 4.5) % 1 - 0.5, (y * 4.5) % 1 - 0.5) < 0.27
    elif texture == "checkered":
        pattern = ((x * 6).astype(int) + (y * 6).astype(int)) % 2 == 1
    else:
        pattern = np.zeros_like(x, bool)
    return pattern.astype(np.float32)


@cache
def shape_mask(shape: str) -> np.ndarray:
    """Returns (SPRITE, SPRITE) float32 coverage in 0..1, the shape upright and as large as fits."""
    y, x = (np.mgrid[: 4 * SPRITE, : 4 * SPRITE].astype(np.float32) + 0.5) / (2 * SPRITE) - 1
    radius = np.hypot(x, y)
    if shape == "circle":
        inside = radius < 0.92
    elif shape == "ring":
        inside = (radius < 0.96) & (radius > 0.52)
    elif shape == "square":
        inside = np.maximum(abs(x), abs(y)) < 0.78
    elif shape == "cross":
        inside = (np.minimum(abs(x), abs(y)) < 0.27) & (np.maximum(abs(x), abs(y)) < 0.95)
    elif shape == "moon":
        inside = (radius < 0.95) & (np.hypot(x - 0.5, y) > 0.75)
    elif shape == "heart":
        u, v = x * 1.25, 0.15 - y * 1.2
        inside = (u**2 + v**2 - 1) ** 3 - u**2 * v**3 < 0
    else:
        inside = _polygon(3 if shape == "triangle" else 5, shape == "star")
    return cv2.resize(inside.astype(np.float32), (SPRITE, SPRITE), interpolation=cv2.INTER_AREA)


def _polygon(corners: int, is_star: bool) -> np.ndarray:
    count = corners * (2 if is_star else 1)
    turn = 2 * np.pi * np.arange(count) / count - np.pi / 2
    radius = np.where(np.arange(count) % 2 == 1, 0.42, 1.0) if is_star else np.ones(count)
    points = np.stack([np.cos(turn), np.sin(turn)], 1) * radius[:, None] * 0.97
    canvas = np.zeros((4 * SPRITE, 4 * SPRITE), np.uint8)
    cv2.fillPoly(canvas, [((points + 1) * 2 * SPRITE).astype(np.int32)], 1)
    return canvas > 0


def _background(kind: str, side: int, rng: np.random.Generator) -> np.ndarray:
    """Returns (side, side, 3) float32 of dull colours, so that things stand out."""
    y, x = np.mgrid[:side, :side].astype(np.float32) / side
    tint = rng.uniform(-6, 6, 3)
    dark, light = np.sort(rng.uniform(45, 190, 2))
    if kind == "gradient":
        turn = rng.uniform(0, 2 * np.pi)
        ramp = (np.cos(turn) * (x - 0.5) + np.sin(turn) * (y - 0.5)) / 1.4 + 0.5
        level = dark + (light - dark) * ramp
    elif kind == "noise":
        coarse = rng.normal(0, 1, (side // 2, side // 2)).astype(np.float32)
        level = rng.uniform(80, 160) + 26 * cv2.resize(coarse, (side, side))
    else:
        pitch, contrast = int(rng.integers(9, 15)), _sign(rng) * 55
        lines = (np.arange(side) + rng.integers(pitch)) % pitch < 2
        level = rng.uniform(80, 160) + contrast * (lines[:, None] | lines[None, :])
    return (level[..., None] + tint).astype(np.float32)


def choose_container(rng: np.random.Generator) -> tuple[str, str]:
    """Returns a file ending and a codec for a clip."""
    index = rng.choice(len(CONTAINERS), p=[weight for _, _, weight in CONTAINERS])
    return CONTAINERS[index][0], CONTAINERS[index][1]


def write_video(path: Path, codec: str, frames: np.ndarray) -> None:
    """Encodes ``frames`` (T, H, W, 3) uint8. Raises DataError if OpenCV cannot."""
    height, width = frames.shape[1:3]
    fourcc = cv2.VideoWriter_fourcc(*codec)  # type: ignore[attr-defined]
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, fourcc, FRAMES_PER_SECOND, (width, height))
    if not writer.isOpened():
        raise DataError(
            f'{path}: this OpenCV cannot write "{codec}" video: '
            "pip install --force-reinstall opencv-python-headless"
        )
    for frame in frames:
        writer.write(frame)
    writer.release()
