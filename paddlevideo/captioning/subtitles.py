"""Captions of a video's segments as subtitles: SubRip files."""

from __future__ import annotations

import io
import zipfile
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple


class TimedCaption(NamedTuple):
    """A caption from ``start`` to ``end``, in seconds of its video."""

    start: float
    end: float
    caption: str


def srt_text(captions: Iterable[TimedCaption]) -> str:
    """Returns the content of an .srt file, in order of time."""
    blocks = [
        f"{number}\n{srt_time(each.start)} --> {srt_time(each.end)}\n{_one_line(each.caption)}\n"
        for number, each in enumerate(sorted(captions), start=1)
    ]
    return "\n".join(blocks)


def srt_time(seconds: float) -> str:
    """Returns ``HH:MM:SS,mmm``."""
    whole, thousandths = divmod(round(seconds * 1000), 1000)
    minutes, second = divmod(whole, 60)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{second:02d},{thousandths:03d}"


def _one_line(caption: str) -> str:
    return " ".join(caption.split())


def by_video(answers: Iterable[Mapping[str, object]]) -> dict[str, list[TimedCaption]]:
    """Returns the captions of each video; answers without ``video``, ``start`` and ``end`` not."""
    videos: dict[str, list[TimedCaption]] = defaultdict(list)
    for answer in answers:
        if answer.get("video") and "start" in answer and "end" in answer:
            timed = TimedCaption(
                float(str(answer["start"])), float(str(answer["end"])), str(answer["caption"])
            )
            videos[str(answer["video"])].append(timed)
    return dict(videos)


def srt_files(answers: Sequence[Mapping[str, object]]) -> dict[str, bytes]:
    """Returns ``captions.srt`` for the segments of one video, by name.

    For several videos ``captions_srt.zip`` with a file for each, named after it; nothing for clips
    whose times are unknown.
    """
    videos = by_video(answers)
    texts = {video: srt_text(captions).encode("utf-8") for video, captions in videos.items()}
    if len(texts) == 1:
        return {"captions.srt": next(iter(texts.values()))}
    if not texts:
        return {}
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for video, text in texts.items():
            name = f"{video.replace('/', '_')}.srt"
            # A fixed date, so that equal captions give equal files.
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), text)
    return {"captions_srt.zip": packed.getvalue()}
