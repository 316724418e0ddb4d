"""What was found, drawn: a JPEG for each clip, to look at."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from paddlevideo.extract.decode import VideoFile
from paddlevideo.extract.opencv import cv2
from paddlevideo.extract.videos import Video
from paddlevideo.extract.work import WorkFolder
from paddlevideo.loader.store import Clip
from paddlevideo.loader.store.records import decode
from paddlevideo.utils.files import write_whole

Vocabularies = Mapping[str, list[str]]
SMALLEST = 480  # pixels on the long side of a picture: letters need room
COLOURS = ((60, 60, 230), (60, 190, 60), (220, 130, 40), (30, 180, 230), (190, 60, 190))


def picture_name(clip: str) -> str:
    """A file's name for a clip's id, of letters that all systems take; ids that differ differ."""
    plain = re.sub(r"[^\w.-]+", "_", clip, flags=re.ASCII)[:80]
    if plain != clip:
        plain += "-" + hashlib.blake2b(clip.encode("utf-8", "replace"), digest_size=4).hexdigest()
    return plain + ".jpg"


def draw_video(video: Video, work: WorkFolder, folder: Path, names: Vocabularies) -> None:
    """Draws all clips of a video that is done: of each the frame with the most regions."""
    clips = [decode(record, video.id) for record in work.records(video.id)]
    wanted: dict[int, list[Clip]] = {}
    for clip in clips:
        frames = [int(number) for number in clip.extra["frames"].split()]
        wanted.setdefault(max(frames, key=frames.count), []).append(clip)
    folder.mkdir(parents=True, exist_ok=True)
    for number, frame in VideoFile(video.path).take(sorted(wanted), check_times=False):
        for clip in wanted[number]:
            _, data = cv2.imencode(".jpg", drawn(frame, clip, number, names))
            _save(folder / picture_name(clip.id), data.tobytes())


def _save(path: Path, data: bytes) -> None:
    write_whole(path, lambda partial: partial.write_bytes(data))


def drawn(frame: np.ndarray, clip: Clip, number: int, names: Vocabularies) -> np.ndarray:
    """The frame ``number`` of a clip with its regions, the best on top; (h, w, 3) uint8."""
    scale = max(SMALLEST / max(frame.shape[:2]), 1.0)
    size = (round(frame.shape[1] * scale), round(frame.shape[0] * scale))
    canvas = np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_LINEAR)).copy()
    frames = [int(text) for text in clip.extra["frames"].split()]
    assert clip.region_classes is not None
    classes = clip.region_classes.dense()
    for place in reversed([place for place, each in enumerate(frames) if each == number]):
        # None has what the best class leaves: it is named where there is nothing else.
        best = int(classes[place, :-1].argmax()) if classes[place, :-1].any() else -1
        best %= classes.shape[1]
        label = f"{_name(names, 'region', best)} {classes[place, best]:.2f}"
        _box(canvas, clip.boxes[place] * scale, label, COLOURS[best % len(COLOURS)])
    if clip.action_classes is not None:
        kinds = [_name(names, "action", int(each)) for each in clip.action_classes]
        _text(canvas, ", ".join(kinds), (4, size[1] - 6), (255, 255, 255))
    return canvas


def _name(names: Vocabularies, kind: str, number: int) -> str:
    known = names.get(kind, [])
    return known[number] if 0 <= number < len(known) else str(number)


def _box(canvas: np.ndarray, box: np.ndarray, label: str, colour: tuple[int, int, int]) -> None:
    x1, y1, x2, y2 = (int(value) for value in np.round(box))
    cv2.rectangle(canvas, (x1, y1), (x2, y2), colour, 2)
    _text(canvas, label, (x1 + 3, max(y1 + 14, 14)), colour)


def _text(
    canvas: np.ndarray, text: str, place: tuple[int, int], colour: tuple[int, int, int]
) -> None:
    plain = text.encode("ascii", "replace").decode()
    x, y = place
    for where, shade in (((x + 1, y + 1), (0, 0, 0)), (place, colour)):
        cv2.putText(canvas, plain, where, cv2.FONT_HERSHEY_SIMPLEX, 0.45, shade, 1, cv2.LINE_AA)
