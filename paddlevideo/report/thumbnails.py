"""Pictures of clips: a clip's middle frame, and a canvas with text to put it on.

The only module of the package that needs OpenCV; without it importing raises UserError.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from paddlevideo.utils.errors import DataError, UserError
from paddlevideo.utils.files import write_whole

try:
    import cv2
except ModuleNotFoundError:
    raise UserError("this needs OpenCV: pip install opencv-python-headless") from None

Colour = tuple[int, int, int]
VIDEOS = (".mp4", ".avi", ".mkv", ".webm", ".mov")
PICTURES = (".jpg", ".jpeg", ".png")


class Canvas:
    """A picture to draw on; ``pixels`` (height, width, 3) uint8 BGR."""

    def __init__(self, height: int, width: int, colour: Colour) -> None:
        self.pixels = np.full((height, width, 3), colour, np.uint8)

    def text(
        self, text: str, place: tuple[int, int], colour: Colour, size: float, weight: int
    ) -> None:
        """Writes ``text`` with the left end of its base line at ``place`` (x, y)."""
        plain = text.encode("ascii", "replace").decode()  # OpenCV's letters are ASCII
        font = cv2.FONT_HERSHEY_SIMPLEX
        cv2.putText(self.pixels, plain, place, font, size, colour, weight, cv2.LINE_AA)

    def line(self, y: int, colour: Colour) -> None:
        """A thin line across the whole picture."""
        cv2.line(self.pixels, (0, y), (self.pixels.shape[1], y), colour, 1)

    def picture(self, picture: np.ndarray, place: tuple[int, int]) -> None:
        """Copies ``picture`` (h, w, 3) with its upper left corner at ``place`` (x, y)."""
        x, y = place
        self.pixels[y : y + picture.shape[0], x : x + picture.shape[1]] = picture

    def frame(self, place: tuple[int, int], side: int, width: int, colour: Colour) -> None:
        """A frame of ``width`` pixels around a square picture."""
        x, y = place
        low, high = (x - width // 2, y - width // 2), (x + side + width // 2, y + side + width // 2)
        cv2.rectangle(self.pixels, low, high, colour, width)

    def box(self, corners: Sequence[float], colour: Colour) -> None:
        """A rectangle with ``corners`` (x1, y1, x2, y2)."""
        x1, y1, x2, y2 = (round(corner) for corner in corners)
        cv2.rectangle(self.pixels, (x1, y1), (x2, y2), colour, 1)


def find_clip(folder: Path, name: str) -> Path | None:
    """The file of a clip: ``name`` in ``folder`` with one of the usual endings, or None.

    A name that leads out of the folder finds nothing.
    """
    if Path(name).name != name:
        return None
    paths = (folder / (name + ending) for ending in (*VIDEOS, *PICTURES))
    # os.path is content with names that no file can have, as too long ones; Path.is_file is not.
    return next((path for path in paths if os.path.isfile(path)), None)


def middle_frame(path: Path) -> np.ndarray:
    """The middle frame of a clip, or its picture: (h, w, 3) uint8 BGR.

    Raises DataError where OpenCV cannot read it.
    """
    return frame_at(path, None)


def frame_at(path: Path, seconds: float | None) -> np.ndarray:
    """The frame of a video at a time, or its middle one for None, or a picture: (h, w, 3) BGR.

    Raises DataError where OpenCV cannot read it.
    """
    is_picture = path.suffix in PICTURES
    frame = cv2.imread(str(path)) if is_picture else _frame_of_video(path, seconds)
    if frame is None:
        raise DataError(f"{path}: OpenCV cannot read it")
    return frame


def thumbnail(folder: Path, name: str, side: int) -> np.ndarray:
    """The middle frame of a clip, or its picture, in a grey square: (side, side, 3) uint8 BGR.

    ``folder`` holds ``name`` with one of the usual endings. Raises DataError where it does not.
    """
    path = find_clip(folder, name)
    if path is None:
        endings = " ".join((*VIDEOS, *PICTURES))
        raise DataError(f'{folder}: no file "{name}" with one of the endings {endings}')
    small = fitted(middle_frame(path), side, side)
    square = np.full((side, side, 3), 230, np.uint8)
    top, left = (side - small.shape[0]) // 2, (side - small.shape[1]) // 2
    square[top : top + small.shape[0], left : left + small.shape[1]] = small
    return square


def small_jpeg(path: Path, width: int, height: int, quality: int) -> bytes:
    """The middle frame of a clip, or its picture, as a JPEG of at most ``width`` x ``height``.

    Raises DataError where OpenCV cannot read it.
    """
    small = fitted(middle_frame(path), width, height)
    encoded, data = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert encoded
    return data.tobytes()


def _frame_of_video(path: Path, seconds: float | None) -> np.ndarray | None:
    """Frames are read in order: seeking is not exact in every kind of file."""
    reader = cv2.VideoCapture(str(path))
    wanted = int(reader.get(cv2.CAP_PROP_FRAME_COUNT)) // 2
    if seconds is not None:
        wanted = round(seconds * reader.get(cv2.CAP_PROP_FPS))
    decoded = False
    for _ in range(wanted + 1):
        if not reader.grab():
            break
        decoded = True
    frame = reader.retrieve()[1] if decoded else None
    reader.release()
    return frame


def fitted(frame: np.ndarray, width: int, height: int) -> np.ndarray:
    """``frame`` (h, w, 3) as large as fits into ``width`` x ``height``, its shape kept."""
    scale = min(width / frame.shape[1], height / frame.shape[0])
    size = (max(round(frame.shape[1] * scale), 1), max(round(frame.shape[0] * scale), 1))
    return cv2.resize(frame, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)


def write_png(path: Path, picture: np.ndarray) -> None:
    """Writes ``picture`` (h, w, 3) uint8 BGR whole or not at all."""
    encoded, data = cv2.imencode(".png", picture, [cv2.IMWRITE_PNG_COMPRESSION, 9])
    assert encoded
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, lambda partial: partial.write_bytes(data.tobytes()))
