"""A picture of some clips of a store: a frame of each with its regions' boxes, and a caption.

The quickest way to check boxes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

import numpy as np

from paddlevideo.loader.store import Clip, FeatureStore
from paddlevideo.prepare.origins import origin_of
from paddlevideo.report.clip_pictures import ClipPictures
from paddlevideo.report.clip_videos import Origin
from paddlevideo.report.fonts import LabelSpace
from paddlevideo.utils.errors import DataError

if TYPE_CHECKING:
    from paddlevideo.report.thumbnails import Canvas

COLUMNS = 4
WIDTH, HEIGHT, MARGIN, LINE = 320, 180, 10, 18
TEXT, SMALL = 13, 11  # pixels
BACKGROUND, INK, PALE = (255, 255, 255), (30, 30, 30), (110, 110, 110)
#: BGR, for the regions in turn.
COLOURS = ((60, 60, 230), (60, 180, 60), (230, 120, 40), (30, 170, 230), (200, 60, 200))


@dataclass(frozen=True)
class _Shown:
    """A clip, a frame of its video (h, w, 3) uint8 BGR, and the regions in that frame."""

    clip: Clip
    regions: Sequence[int]
    frame: np.ndarray


def contact_sheet(
    store: FeatureStore, videos: Path | None, output: Path, clips: int = 12
) -> tuple[int, list[str]]:
    """Writes a PNG of at most ``clips`` clips, spread evenly over the store.

    Frames come from the videos that the store names, and from those in the folder ``videos`` named
    after the clips or their videos. Clips without a video, or with a damaged one, are left out.
    Returns the number of clips, and lines about unreadable videos. Raises DataError if no clip has
    a frame.
    """
    from paddlevideo.report.thumbnails import Canvas, write_png

    origins: dict[str, Origin] = {}
    pictures = ClipPictures(videos, origins.__getitem__)
    shown = list(_with_frames(store, pictures, origins, clips))
    if not shown:
        raise DataError(_no_frame_message(store, pictures))
    columns = min(COLUMNS, len(shown))
    rows = -(-len(shown) // columns)
    cell = HEIGHT + 2 * LINE + MARGIN
    canvas = Canvas(rows * cell + MARGIN, columns * (WIDTH + MARGIN) + MARGIN, BACKGROUND)
    names = store.manifest.vocabularies.get("region", [])
    for index, each in enumerate(shown):
        x = MARGIN + index % columns * (WIDTH + MARGIN)
        y = MARGIN + index // columns * cell
        _draw(canvas, each, (x, y), names)
    write_png(output, canvas.pixels)
    return len(shown), pictures.unreadable()


def _no_frame_message(store: FeatureStore, pictures: ClipPictures) -> str:
    if unreadable := pictures.unreadable():
        return unreadable[0]
    folder = pictures.videos.folder
    if folder is None:
        return (
            f"{store.path}: does not name the videos of its clips, or they have moved: give "
            "their folder with --videos"
        )
    return (
        f"{folder}: holds no file named after a clip or a video of {store.path}, such as "
        f'"{store.about(0).id}.mp4"'
    )


def _with_frames(
    store: FeatureStore, pictures: ClipPictures, origins: dict[str, Origin], clips: int
) -> Iterator[_Shown]:
    """Yields clips with videos: first evenly spread ones, then any."""
    from paddlevideo.report.thumbnails import small_frame

    spread = np.linspace(0, len(store) - 1, min(clips, len(store))).astype(int).tolist()
    # A store may have many more clips than the folder has files: the search is limited.
    further = [number for number in range(min(len(store), 100 * clips)) if number not in spread]
    for number in [*spread, *further]:
        if pictures.count == clips:
            return
        origin = origin_of(store.about(number))
        origins[origin.clip] = origin
        shot = pictures.shot(origin.clip)
        if shot is None:
            continue
        clip = store[number]
        is_source = shot.path.name == PurePath(origin.source).name
        wanted, regions = _fullest_frame(clip) if is_source else (None, range(len(clip.regions)))
        frame = pictures.read(origin.clip, small_frame, WIDTH, HEIGHT, wanted)
        if frame is not None:
            yield _Shown(clip, regions, frame)


def _fullest_frame(clip: Clip) -> tuple[int | None, Sequence[int]]:
    """Returns the index of the frame with the most regions, and these; None and all if unknown."""
    frames = clip.extra.get("frames", "").split()
    if len(frames) != len(clip.regions) or not all(map(str.isdecimal, frames)):
        return None, range(len(clip.regions))
    best = max(frames, key=frames.count)
    return int(best), [region for region, frame in enumerate(frames) if frame == best]


def _draw(canvas: Canvas, shown: _Shown, corner: tuple[int, int], names: list[str]) -> None:
    """Draws a clip: a frame with labelled regions, and two lines below it."""
    x, y = corner
    clip, frame = shown.clip, shown.frame
    height, width = frame.shape[:2]
    canvas.picture(frame, corner)
    # Boxes are in pixels of the image that the detector saw, which may have another size.
    scale = np.array([width / clip.image_w, height / clip.image_h] * 2)
    boxes = (clip.boxes * scale + np.array([*corner, *corner])).clip(
        [x, y, x, y], [x + width - 1, y + height - 1] * 2
    )
    for number in shown.regions:
        canvas.box(boxes[number].tolist(), COLOURS[number % len(COLOURS)])
    space = LabelSpace((x, y, x + width, y + height))
    for number in shown.regions:
        if label := _likeliest_class(clip, number, names):
            start = (boxes[number, 0] + 1, boxes[number, 1] + 1)
            canvas.label(label, start, COLOURS[number % len(COLOURS)], SMALL, space)
    caption = clip.captions[0] if clip.captions else "(no caption)"
    canvas.text(caption, (x, y + HEIGHT + LINE - 4), INK, TEXT, WIDTH)
    canvas.text(clip.id, (x, y + HEIGHT + 2 * LINE - 6), PALE, SMALL, WIDTH)


def _likeliest_class(clip: Clip, number: int, names: list[str]) -> str:
    """Returns the name of a region's likeliest class, or ""."""
    if clip.region_classes is None or not clip.region_classes.counts[number]:
        return ""
    first = int(clip.region_classes.counts[:number].sum())
    best = int(clip.region_classes.classes[first])
    return names[best] if best < len(names) else ""
