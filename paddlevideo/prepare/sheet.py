"""A picture of some clips of a store: a frame of each with the boxes of its regions, and a caption.

The quickest way to see whether boxes lie where things are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from paddlevideo.loader.store import Clip, FeatureStore
from paddlevideo.utils.errors import DataError

if TYPE_CHECKING:
    from paddlevideo.report.thumbnails import Canvas

COLUMNS = 4
WIDTH, HEIGHT, MARGIN, LINE = 320, 180, 10, 18
LETTERS = 48  # that fit into a cell's width
BACKGROUND, INK, PALE = (255, 255, 255), (30, 30, 30), (110, 110, 110)
#: BGR, for one region after another.
COLOURS = ((60, 60, 230), (60, 180, 60), (230, 120, 40), (30, 170, 230), (200, 60, 200))
#: ``<video>_<start>_<end>``, as a piece of a video is called.
_PIECE = re.compile(r"(?P<video>.+)_(?P<start>\d+(?:\.\d+)?)_(?P<end>\d+(?:\.\d+)?)")


def contact_sheet(store: FeatureStore, videos: Path, output: Path, clips: int = 12) -> int:
    """Writes a PNG of at most ``clips`` clips, spread evenly over the store; returns how many.

    ``videos`` holds files named after the clips or after their videos. Clips without one are
    passed over. Raises DataError if there is none for any, and for a file that cannot be read.
    """
    from paddlevideo.report.thumbnails import Canvas, write_png

    shown = list(_with_frames(store, videos, clips))
    if not shown:
        raise DataError(
            f"{videos}: holds no file named after a clip or a video of {store.path}, such as "
            f'"{store.about(0).id}.mp4"'
        )
    columns = min(COLUMNS, len(shown))
    rows = -(-len(shown) // columns)
    cell = HEIGHT + 2 * LINE + MARGIN
    canvas = Canvas(rows * cell + MARGIN, columns * (WIDTH + MARGIN) + MARGIN, BACKGROUND)
    names = store.manifest.vocabularies.get("region", [])
    for place, (clip, frame) in enumerate(shown):
        x = MARGIN + place % columns * (WIDTH + MARGIN)
        y = MARGIN + place // columns * cell
        _draw(canvas, clip, frame, (x, y), names)
    write_png(output, canvas.pixels)
    return len(shown)


def _with_frames(
    store: FeatureStore, videos: Path, clips: int
) -> Iterator[tuple[Clip, np.ndarray]]:
    """Clips whose frames are known, and these: first evenly spread ones, then any."""
    from paddlevideo.report.thumbnails import frame_at

    spread = np.linspace(0, len(store) - 1, min(clips, len(store))).astype(int).tolist()
    # A store may hold many more clips than the folder has files: the search has an end.
    further = [number for number in range(min(len(store), 100 * clips)) if number not in spread]
    left = clips
    for number in [*spread, *further]:
        if left and (found := _frame_of(videos, store.about(number).id, store.about(number).video)):
            yield store[number], frame_at(*found)
            left -= 1


def _frame_of(videos: Path, name: str, video: str) -> tuple[Path, float | None] | None:
    """The file of a clip or of its video, and the clip's middle in it in seconds."""
    from paddlevideo.report.thumbnails import find_clip

    file = find_clip(videos, name)
    if file is not None:
        return file, None
    piece = _PIECE.fullmatch(name)
    if piece is None:
        return None
    file = find_clip(videos, video or piece["video"])
    middle = (float(piece["start"]) + float(piece["end"])) / 2
    return (file, middle) if file is not None else None


def _draw(
    canvas: Canvas, clip: Clip, frame: np.ndarray, place: tuple[int, int], names: list[str]
) -> None:
    from paddlevideo.report.thumbnails import fitted

    small = fitted(frame, WIDTH, HEIGHT)
    canvas.picture(small, place)
    # Boxes are in pixels of the image that the detector saw, which may have had another shape.
    scale = np.array([small.shape[1] / clip.image_w, small.shape[0] / clip.image_h] * 2)
    offset = np.array([*place, *place])
    for number, box in enumerate(clip.boxes):
        colour = COLOURS[number % len(COLOURS)]
        corners = box * scale + offset
        canvas.box(corners.tolist(), colour)
        label = _likeliest(clip, number, names)
        if label:
            at = (round(corners[0]) + 2, min(round(corners[1]) + 10, place[1] + HEIGHT))
            canvas.text(label, at, colour, 0.35, 1)
    x, y = place
    caption = clip.captions[0] if clip.captions else "(no caption)"
    canvas.text(_short(caption), (x, y + HEIGHT + LINE - 4), INK, 0.4, 1)
    canvas.text(_short(clip.id), (x, y + HEIGHT + 2 * LINE - 6), PALE, 0.36, 1)


def _likeliest(clip: Clip, number: int, names: list[str]) -> str:
    """The name of a region's likeliest class, or nothing."""
    if clip.region_classes is None or not clip.region_classes.counts[number]:
        return ""
    first = int(clip.region_classes.counts[:number].sum())
    best = int(clip.region_classes.classes[first])
    return names[best] if best < len(names) else ""


def _short(text: str) -> str:
    return text if len(text) <= LETTERS else text[: LETTERS - 3] + "..."
