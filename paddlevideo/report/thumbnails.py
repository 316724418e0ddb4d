"""Reads frames of clips, and draws pictures and text on a canvas.

Importing this module raises UserError if OpenCV is not installed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from paddlevideo.files.paths import as_text, native_path
from paddlevideo.files.whole import write_bytes_whole
from paddlevideo.report.clip_videos import Shot
from paddlevideo.report.fonts import LabelSpace, Rectangle, fitted, font_for
from paddlevideo.utils.errors import DataError
from paddlevideo.utils.opencv import cv2

Colour = tuple[int, int, int]
GREY = 230
BLACK = (0, 0, 0)
PADDING = 2  # pixels around a label
#: Seconds: frames up to here are decoded from the start of a video, later ones by seeking.
SKIPPED_FROM = 30.0
COUNTED = 1000  # frames with a higher index are found by their time
#: After a seek, decoding starts this many seconds before the requested time, and frames are
#: converted from then on: the last one is used, so a still may last this long.
BEFORE = 10.0


class Canvas:
    """A picture to draw on; ``pixels`` (height, width, 3) uint8 BGR."""

    def __init__(self, height: int, width: int, colour: Colour) -> None:
        self.pixels = np.full((height, width, 3), colour, np.uint8)

    @classmethod
    def of(cls, pixels: np.ndarray) -> Canvas:
        """Returns a canvas that draws directly on ``pixels``."""
        canvas = cls(0, 0, BLACK)
        canvas.pixels = pixels
        return canvas

    def text(
        self,
        text: str,
        start: tuple[int, int],
        colour: Colour,
        size: int,
        width: float = math.inf,
        outline: Colour | None = None,
    ) -> None:
        """Writes ``text``, ``size`` pixels high, with its baseline starting at ``start`` (x, y).

        The text is cut to ``width`` pixels and to the picture. ``outline``: colour of an outline,
        for text on a picture.
        """
        x, y = start
        x, left = max(x, 0), self.pixels.shape[1] - max(x, 0)
        font = font_for(text, size)
        text = fitted(text, size, min(width, left - PADDING))
        top, bottom = max(y - 2 * size, 0), min(y + size, self.pixels.shape[0])
        if not text or top >= bottom:
            return
        part = self.pixels[top:bottom, max(x - PADDING, 0) :]
        image = Image.fromarray(np.ascontiguousarray(part))
        ImageDraw.Draw(image).text(
            (min(x, PADDING), y - top),
            text,
            colour,
            font,
            anchor="ls",
            stroke_width=0 if outline is None else 1,
            stroke_fill=outline,
        )
        part[:] = np.asarray(image)

    def label(
        self, text: str, corner: tuple[float, float], colour: Colour, size: int, space: LabelSpace
    ) -> Rectangle | None:
        """Writes ``text`` with its upper left corner as close to ``corner`` (x, y) as possible.

        Returns the rectangle of the label, or None if there is no space.
        """
        room = space.inside[2] - space.inside[0] - 2 * PADDING
        shown = fitted(text, size, room)
        if not shown:
            return None
        width = math.ceil(font_for(text, size).getlength(shown)) + 2 * PADDING
        height = size + 2 * PADDING
        at = space.take(round(corner[0]), round(corner[1]), width, height)
        if at is None:
            return None
        base = at[1] + height - PADDING - size // 4
        self.text(text, (at[0] + PADDING, base), colour, size, room, BLACK)
        return (*at, at[0] + width, at[1] + height)

    def line(self, y: int, colour: Colour) -> None:
        """Draws a thin line across the whole picture."""
        cv2.line(self.pixels, (0, y), (self.pixels.shape[1], y), colour, 1)

    def picture(self, picture: np.ndarray, corner: tuple[int, int]) -> None:
        """Copies ``picture`` (h, w, 3) with its upper left corner at ``corner`` (x, y)."""
        x, y = corner
        self.pixels[y : y + picture.shape[0], x : x + picture.shape[1]] = picture

    def frame(self, corner: tuple[int, int], side: int, width: int, colour: Colour) -> None:
        """Draws a frame of ``width`` pixels around the square picture at ``corner`` (x, y)."""
        x, y = corner
        low, high = (x - width // 2, y - width // 2), (x + side + width // 2, y + side + width // 2)
        cv2.rectangle(self.pixels, low, high, colour, width)

    def box(self, corners: Sequence[float], colour: Colour, width: int = 1) -> None:
        """Draws a rectangle with ``corners`` (x1, y1, x2, y2), clipped to the picture."""
        height, across = self.pixels.shape[:2]
        x1, y1, x2, y2 = (round(corner) for corner in corners)
        low, high = (max(x1, 0), max(y1, 0)), (min(x2, across - 1), min(y2, height - 1))
        cv2.rectangle(self.pixels, low, high, colour, width)


def frame_of(shot: Shot, index: int | None = None) -> np.ndarray:
    """Returns the frame in the middle of a clip, or its picture, (h, w, 3) uint8 BGR.

    ``index``: take this frame instead, if the video is long enough. Raises DataError if OpenCV
    cannot read the file.
    """
    try:
        frame = _picture(shot.path) if shot.is_picture else _frame_of_video(shot, index)
    except (cv2.error, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise DataError(f"{as_text(str(shot.path))}: cannot be read ({reason})") from None
    if frame is None:
        raise DataError(f"{as_text(str(shot.path))}: OpenCV cannot read it")
    if frame.ndim == 2 or frame.shape[2] == 1:
        return np.asarray(cv2.cvtColor(frame, cv2.COLOR_GRAY2BGR))
    return frame


def small_frame(shot: Shot, width: int, height: int, index: int | None = None) -> np.ndarray:
    """Returns the frame of a clip, as large as fits into ``width`` x ``height``.

    ``index`` and errors are those of :func:`frame_of`.
    """
    return resized(frame_of(shot, index), width, height)


def thumbnail(shot: Shot, side: int) -> np.ndarray:
    """Returns the frame of a clip in a grey square, (side, side, 3) uint8 BGR.

    Raises DataError like :func:`frame_of`.
    """
    small = small_frame(shot, side, side)
    square = np.full((side, side, 3), GREY, np.uint8)
    top, left = (side - small.shape[0]) // 2, (side - small.shape[1]) // 2
    square[top : top + small.shape[0], left : left + small.shape[1]] = small
    return square


def small_jpeg(shot: Shot, width: int, height: int, quality: int) -> bytes:
    """Returns the frame of a clip as a JPEG of at most ``width`` x ``height``.

    Raises DataError like :func:`frame_of`.
    """
    small = small_frame(shot, width, height)
    encoded, data = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert encoded
    return data.tobytes()


def _picture(path: Path) -> np.ndarray | None:
    data = np.frombuffer(
        path.read_bytes(), np.uint8
    )  # OpenCV does not accept names that are not UTF-8
    return cv2.imdecode(data, cv2.IMREAD_COLOR) if len(data) else None


def _frame_of_video(shot: Shot, index: int | None) -> np.ndarray | None:
    """Returns the frame shown in the middle of a clip, by time stamps."""
    with native_path(shot.path) as name:
        if index is not None and (indexed := _indexed_frame(name, index)) is not None:
            return indexed
        middle = sum(shot.span or (0.0, _announced_seconds(name))) / 2
        frame, end = _frame_at(name, middle, skip=middle > SKIPPED_FROM)
        if shot.span is None and not middle:
            # A live recording does not announce its length.
            end = _frame_at(name, math.inf, skip=False)[1]
        if end is not None:  # the video ends before the requested time
            frame, _ = _frame_at(name, end if shot.span else end / 2, skip=False)
        return frame


def _announced_seconds(name: str) -> float:
    """Returns the length that a video announces, or 0."""
    reader = cv2.VideoCapture(name)
    count, rate = reader.get(cv2.CAP_PROP_FRAME_COUNT), reader.get(cv2.CAP_PROP_FPS)
    reader.release()
    seconds = count / rate if rate > 0 else 0.0
    return seconds if 0 < seconds < 1e6 else 0.0


def _indexed_frame(name: str, index: int) -> np.ndarray | None:
    """Returns the frame at ``index``; for a high index, the one at its time at a constant rate."""
    reader = cv2.VideoCapture(name)
    rate = reader.get(cv2.CAP_PROP_FPS)
    if index > COUNTED and rate > 0:
        reader.release()
        frame, end = _frame_at(name, (index + 0.5) / rate, skip=True)
        return frame if end is None else None
    grabbed = all(reader.grab() for _ in range(index + 1))
    frame = reader.retrieve()[1] if grabbed else None
    reader.release()
    return frame


def _frame_at(name: str, wanted: float, skip: bool) -> tuple[np.ndarray | None, float | None]:
    """Returns the frame shown at a second, and the end of the video if that comes earlier.

    ``skip``: seek to shortly before that time, if the file allows it.
    """
    reader = cv2.VideoCapture(name)
    if skip:
        reader.set(cv2.CAP_PROP_POS_MSEC, 1000 * (wanted - BEFORE))
    frame, first, time = None, True, 0.0
    rate = reader.get(cv2.CAP_PROP_FPS)
    interval = 1 / rate if 0 < rate <= 1000 else 0.04
    end: float | None = None
    while True:
        grabbed = reader.grab()
        stamp = reader.get(cv2.CAP_PROP_POS_MSEC) / 1000
        if skip and first and (not grabbed or stamp > wanted):  # seeking failed
            reader.release()
            return _frame_at(name, wanted, skip=False)
        if not grabbed:
            end = 0.0 if first else time + interval
            break
        time = stamp if first or stamp > time else time + interval  # in a file without time stamps
        if time > wanted and frame is not None:
            break
        if time > wanted - BEFORE or first:
            read, picture = reader.retrieve()
            frame = picture if read else frame
        first = False
        if time >= wanted:
            break
    reader.release()
    return frame, end


def resized(frame: np.ndarray, width: int, height: int) -> np.ndarray:
    """Resizes ``frame`` (h, w, 3) to fit into ``width`` x ``height``, keeping its proportions."""
    scale = min(width / frame.shape[1], height / frame.shape[0])
    size = (max(round(frame.shape[1] * scale), 1), max(round(frame.shape[0] * scale), 1))
    return cv2.resize(frame, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)


def write_png(path: Path, picture: np.ndarray) -> None:
    """Writes ``picture`` (h, w, 3) uint8 BGR atomically."""
    encoded, data = cv2.imencode(".png", picture, [cv2.IMWRITE_PNG_COMPRESSION, 9])
    assert encoded
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes_whole(path, data.tobytes())
