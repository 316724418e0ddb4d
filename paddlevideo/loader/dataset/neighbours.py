"""Narration around a clip, for pre-training on narrated videos."""

from __future__ import annotations

from collections.abc import Iterable

from paddlevideo.loader.clips.clip import About
from paddlevideo.loader.clips.source import ClipSource
from paddlevideo.utils.words import split_words


def narration(clips: ClipSource, index: int, neighbours: int, words: int) -> str:
    """Returns the captions of clip ``index`` and its neighbours in its video, in order, each once.

    Extends alternately before and after the clip, by up to ``neighbours`` clips on each side, until
    the next clip would exceed ``words`` words. Clips of a video are neighbours in a store that was
    packed video by video.
    """
    middle = clips.about(index)
    texts = {index: _in_order(middle)}
    known = set(texts[index])
    left = words - _words(texts[index])
    open_sides = [-1, 1]
    for distance in range(1, neighbours + 1):
        for side in tuple(open_sides):
            other = index + side * distance
            about = clips.about(other) if middle.video and 0 <= other < len(clips) else None
            if about is None or about.video != middle.video:
                open_sides.remove(side)
                continue
            new = [text for text in _in_order(about) if text not in known]
            if _words(new) > left:
                open_sides.remove(side)
                continue
            texts[other] = new
            known.update(new)
            left -= _words(new)
    return " ".join(text for other in sorted(texts) for text in texts[other])


def _in_order(about: About) -> list[str]:
    """Returns the captions of a clip that are not blank, in order of time if known."""
    times = about.times or [(0.0, 0.0)] * len(about.captions)
    texts = [(time[0], text) for time, text in zip(times, about.captions, strict=True)]
    return [text for _, text in sorted(texts, key=lambda timed: timed[0]) if text.strip()]


def _words(texts: Iterable[str]) -> int:
    return sum(len(split_words(text)) for text in texts)
