"""What a record says of its clip in words: id, captions, and where the clip comes from."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class About:
    """What a record says of its clip beside the arrays; see ``records.Clip``."""

    id: str
    captions: Sequence[str]
    times: Sequence[tuple[float, float]]
    video: str
    source: str = ""
    span: tuple[float, float] | None = None


def texts_of(about: Mapping[str, Any]) -> tuple[str, list[str], list[tuple[float, float]], str]:
    """Id, captions, times and video, of the types that they must have. Raises ValueError."""
    name, captions, times, video = (about[key] for key in ("id", "captions", "times", "video"))
    if not isinstance(captions, list) or not isinstance(times, list):
        raise ValueError("captions or times are no list")
    for text in (name, video, *captions):
        if not isinstance(text, str):
            raise ValueError(f"{text!r:.40} where a text belongs")
        text.encode()  # a lone surrogate raises UnicodeEncodeError, a ValueError
    if len(times) not in (0, len(captions)):
        raise ValueError(f"{len(times)} times of {len(captions)} captions")
    spans = [(float(start), float(end)) for start, end in times]
    if not all(math.isfinite(start) and math.isfinite(end) for start, end in spans):
        raise ValueError("times that are not finite")
    return name, captions, spans, video


def origin_of(about: Mapping[str, Any]) -> tuple[str, tuple[float, float] | None]:
    """Source and span; older records have none. Raises ValueError."""
    source, span = about.get("source", ""), about.get("span")
    if not isinstance(source, str):
        raise ValueError(f"{source!r:.40} under source")
    source.encode()
    if span is None:
        return source, None
    start, end = (float(second) for second in span)
    if not (math.isfinite(start) and math.isfinite(end)):
        raise ValueError("a span that is not finite")
    return source, (start, end)
