"""Several sources of clips combined."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TypeVar

from paddlevideo.loader.clips.clip import Sizes
from paddlevideo.loader.clips.source import ClipSource
from paddlevideo.prepare.caption_book import KnownClip
from paddlevideo.utils.errors import DataError

T = TypeVar("T")


def joined_sizes(sources: Sequence[ClipSource]) -> Sizes:
    """Returns the sizes of a store of all sources.

    Raises DataError if their widths differ, or are larger than a store allows.
    """
    joined = _naming(sources[0], sources[0].sizes)
    classes = 0
    for source in sources:
        sizes = _naming(source, source.sizes)
        for name in ("region", "action", "region_classes"):
            first, other = getattr(joined, name), getattr(sizes, name)
            if first != other and (name != "region_classes" or first and other):
                raise DataError(
                    f"{source.path}: {name} is {other} wide, but {first} in {sources[0].path}"
                )
        widest = max(joined.region_classes, sizes.region_classes)
        joined = replace(joined, region_classes=widest)
        classes = max(classes, source.action_classes())
    return replace(joined, action_classes=classes)


def _naming(source: ClipSource, read: Callable[[], T]) -> T:
    """Calls ``read``; its errors name the source."""
    try:
        return read()
    except DataError as error:
        if str(source.path) in str(error):
            raise
        raise DataError(f"{source.path}: {error}") from None


def names_of(source: ClipSource) -> Iterator[KnownClip]:
    """Yields id, video and span, if known, of all clips that are not damaged."""
    for index in range(len(source)):
        with suppress(DataError):
            about = source.about(index)
            yield about.id, about.video, about.span
