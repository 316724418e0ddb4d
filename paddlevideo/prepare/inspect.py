"""The contents of a store as text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from paddlevideo.loader.captions.coverage import MAX_CAPTIONS, Coverage
from paddlevideo.loader.store import Clip, FeatureStore
from paddlevideo.utils.printable import some
from paddlevideo.utils.progress import track
from paddlevideo.utils.words import split_words

BAR, LINES = 40, 12
LIKELIEST = 3  # classes of a region
LISTED = 10  # maximum number of items of a list in a line


def describe(
    store: FeatureStore,
    records: int = 3,
    sample: int = 10_000,
    bert_model: str = "bert-base-uncased",
) -> Iterator[str]:
    """Yields lines about a store: counts, sizes, lengths of clips, and its first ``records``.

    Lengths are those of about ``sample`` clips, spread evenly. Raises DataError for a damaged clip
    among them.
    """
    manifest = store.manifest
    size = sum(shard.bytes for shard in manifest.shards)
    yield (
        f"{store.path}: {manifest.clips:,} clips, {manifest.captions:,} captions, "
        f"{len(manifest.shards)} shard(s), {size:,} bytes, {manifest.dtype}"
    )
    yield "sizes: " + ", ".join(f"{name} {value}" for name, value in asdict(manifest.sizes).items())
    for name, words in manifest.vocabularies.items():
        more = " ..." if len(words) > 5 else ""
        yield f"{name} classes: {len(words)} names: {', '.join(words[:5])}{more}"
    if manifest.lost_mass.get("rows"):
        yield (
            f"class mass not kept: {manifest.lost_mass['mean']:.2e} on average, "
            f"{manifest.lost_mass['largest']:.2e} at most"
        )
    if manifest.made_by:
        yield "made by:"
        yield from (f"  {line}" for line in setting_lines(manifest.made_by))
    step = max(1, len(store) // sample)
    numbers = range(0, len(store), step)
    lengths: dict[str, Counter[int]] = {
        name: Counter() for name in ("regions", "actions", "captions", "words of a caption")
    }
    coverage = Coverage(bert_model, MAX_CAPTIONS)
    for number in track(numbers, "inspect", len(numbers), "clips"):
        clip = store[number]
        _count(clip, lengths)
        coverage.add(clip.id, clip.captions)
    for name, counts in lengths.items():
        yield f"{name}{'' if step == 1 else f' (of every {step}th clip)'}:"
        yield from histogram(counts)
    if coverage.captions:
        yield coverage.line()
    for number in range(min(records, len(store))):
        clip = store[number]
        yield from _record(number, clip)
        yield from _class_lines(clip, manifest.vocabularies)


def setting_lines(settings: Mapping[str, Any], before: str = "") -> Iterator[str]:
    """Yields a line for each setting, with its dotted key: ``regions.frames: 3``."""
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from setting_lines(value, f"{before}{key}.")
        elif value not in (None, "", []):
            yield f"{before}{key}: {_plain(value)}"


def _plain(value: Any) -> str:
    """Returns a value of a manifest as text, with the first items of long lists."""
    if isinstance(value, Mapping):
        size = f" ({value['bytes']:,} bytes)" if isinstance(value.get("bytes"), int) else ""
        return str(value["path"]) + size if "path" in value else "; ".join(setting_lines(value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, list | tuple):
        return str(value)
    return some((_plain(each).strip() for each in value), LISTED)


def _count(clip: Clip, lengths: dict[str, Counter[int]]) -> None:
    lengths["regions"][len(clip.regions)] += 1
    lengths["actions"][len(clip.actions)] += 1
    lengths["captions"][len(clip.captions)] += 1
    lengths["words of a caption"].update(len(split_words(text)) for text in clip.captions)


def histogram(counts: Counter[int]) -> Iterator[str]:
    """Yields bars of at most ``LINES`` ranges of equal width."""
    if not counts:
        return
    low, high = min(counts), max(counts)
    width = -(-(high - low + 1) // LINES)
    ranges = [
        (start, sum(counts[value] for value in range(start, start + width)))
        for start in range(low, high + 1, width)
    ]
    most = max(count for _, count in ranges)
    for start, count in ranges:
        end = min(start + width - 1, high)
        name = f"{start}" if width == 1 or start == end else f"{start}-{end}"
        yield f"  {name:>9s} {'#' * -(-count * BAR // most) if count else '':{BAR}s} {count:,}"


def _record(number: int, clip: Clip) -> Iterator[str]:
    yield f'clip {number}: "{clip.id}"' + (f" of video {clip.video}" if clip.video else "")
    yield (
        f"  {len(clip.regions)} regions in an image {clip.image_w} wide and {clip.image_h} high, "
        f"{len(clip.actions)} actions"
    )
    if clip.source:
        seconds = f", {clip.span[0]:g} to {clip.span[1]:g} s" if clip.span else ""
        yield f"  from {clip.source}{seconds}"
    for index, text in enumerate(clip.captions[:5]):
        time = f"  ({clip.times[index][0]:g}-{clip.times[index][1]:g} s)" if clip.times else ""
        yield f"  {text}{time}"


def _class_lines(clip: Clip, names: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Yields the likeliest classes of the first region and those of the actions, where known."""
    if clip.region_classes is not None and len(clip.regions) and "region" in names:
        row = clip.region_classes.dense()[0]
        best = np.argsort(-row, kind="stable")[:LIKELIEST]
        shown = ", ".join(f"{_name(names['region'], each)} {row[each]:.2f}" for each in best)
        yield f"  region 0: {shown}"
    if clip.action_classes is not None and "action" in names:
        found = [_name(names["action"], each) for each in clip.action_classes if each >= 0]
        if found:
            yield f"  actions: {', '.join(found)}"


def _name(names: Sequence[str], index: int) -> str:
    return names[index] if index < len(names) else str(index)
