"""Draws the regions and actions of each clip as a JPEG."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from paddlevideo.extract.decode import VideoFile
from paddlevideo.extract.videos import Video
from paddlevideo.extract.work import WorkFolder
from paddlevideo.files.whole import write_bytes_whole
from paddlevideo.loader.store import Clip
from paddlevideo.loader.store.records import decode
from paddlevideo.report.fonts import LabelSpace
from paddlevideo.report.thumbnails import Canvas
from paddlevideo.utils.opencv import cv2

Vocabularies = Mapping[str, list[str]]
SMALLEST = 480  # pixels on the long side of a drawing: labels need space
TEXT = 14  # pixels
LONGEST = 180  # bytes of a name: file systems allow 255, and a file being written needs more
COLOURS = ((60, 60, 230), (60, 190, 60), (220, 130, 40), (30, 180, 230), (190, 60, 190))


def picture_name(clip: str) -> str:
    """Returns a file name close to a clip's id; different ids have different names."""
    plain = "".join("_" if _is_unsafe(character) else character for character in clip)
    plain = plain.encode()[:LONGEST].decode(errors="ignore")
    if plain != clip:
        digest = hashlib.blake2b(clip.encode("utf-8", "backslashreplace"), digest_size=4)
        plain += "-" + digest.hexdigest()
    return plain + ".jpg"


def _is_unsafe(character: str) -> bool:
    """Separators of folders, control characters, line separators and halves of characters."""
    return character in "/\\" or unicodedata.category(character) in ("Cc", "Zl", "Zp", "Cs")


def draw_video(video: Video, work: WorkFolder, folder: Path, names: Vocabularies) -> None:
    """Draws all clips of a video that is done: of each the frame with the most regions."""
    clips = [decode(record, video.id) for record in work.records(video.id)]
    shown: dict[int, list[Clip]] = {}
    for clip in clips:
        frames = [int(text) for text in clip.extra["frames"].split()]
        shown.setdefault(max(frames, key=frames.count), []).append(clip)
    folder.mkdir(parents=True, exist_ok=True)
    for index, frame in VideoFile(video.path).read(sorted(shown), check_times=False):
        for clip in shown[index]:
            _, data = cv2.imencode(".jpg", drawn(frame, clip, index, names))
            write_bytes_whole(folder / picture_name(clip.id), data.tobytes())


def drawn(frame: np.ndarray, clip: Clip, index: int, names: Vocabularies) -> np.ndarray:
    """Returns frame ``index`` of a clip with its regions, the best on top; (h, w, 3) uint8."""
    scale = max(SMALLEST / max(frame.shape[:2]), 1.0)
    size = (round(frame.shape[1] * scale), round(frame.shape[0] * scale))
    resized = np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_LINEAR)).copy()
    canvas = Canvas.of(resized)
    frames = [int(text) for text in clip.extra["frames"].split()]
    assert clip.region_classes is not None
    classes = clip.region_classes.dense()
    here = [row for row, each in enumerate(frames) if each == index]
    best = {row: _best_class(classes[row]) for row in here}
    for row in reversed(here):
        canvas.box(clip.boxes[row] * scale, COLOURS[best[row] % len(COLOURS)], 2)
    space = LabelSpace((0, 0, size[0], size[1]))
    if clip.action_classes is not None:
        kinds = [_name(names, "action", int(each)) for each in clip.action_classes]
        canvas.label(", ".join(kinds), (0, size[1]), (255, 255, 255), TEXT, space)
    for row in here:
        label = f"{_name(names, 'region', best[row])} {classes[row, best[row]]:.2f}"
        x, y = clip.boxes[row][:2] * scale
        canvas.label(label, (x + 2, y + 2), COLOURS[best[row] % len(COLOURS)], TEXT, space)
    return canvas.pixels


def _best_class(classes: np.ndarray) -> int:
    """Returns the most likely class; none, the last one, only where no other has a share."""
    return int(classes[:-1].argmax()) if classes[:-1].any() else len(classes) - 1


def _name(names: Vocabularies, kind: str, index: int) -> str:
    known = names.get(kind, [])
    return known[index] if 0 <= index < len(known) else str(index)
