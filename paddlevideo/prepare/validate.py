"""Checks every record of a store, and writes a repaired copy."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from paddlevideo.files.walk import refuse_inside
from paddlevideo.loader.captions.coverage import Coverage
from paddlevideo.loader.clips.check import clip_faults
from paddlevideo.loader.clips.clip import Clip, Sizes
from paddlevideo.loader.store import FeatureStore
from paddlevideo.loader.store.manifest import COMPLETE, LOST, Entry, Manifest, Shard
from paddlevideo.loader.store.shards import id_key
from paddlevideo.prepare.caption_book import SeenIds
from paddlevideo.prepare.made_by import made_by
from paddlevideo.prepare.writing import Summary, Target, finished, write_clips
from paddlevideo.utils.errors import DataError
from paddlevideo.utils.progress import track

#: Boxes outside the image by at most this number of pixels are cut by ``fix``; others are invalid.
MAX_CUT = 2.0


@dataclass(frozen=True)
class Fault:
    """A fault of a clip, or of a shard (then ``clip`` is empty)."""

    kind: str
    shard: str
    clip: str
    fault: str


def faults_of(store: FeatureStore) -> Iterator[Fault]:
    """Yields all faults, shard by shard. Keeps one clip in memory, and ids on the disk.

    Kinds: "shard", "damaged", "checksum", "count", "size", "not finite", "box", "class",
    "duplicate", "id table", "caption", "no caption".
    """
    seen = SeenIds()
    counted = Manifest(store.manifest.sizes, store.manifest.dtype)
    numbers = range(len(store.manifest.shards))
    for number in track(numbers, "validate", len(numbers), "shards"):
        try:
            yield from _shard_faults(store, number, seen, counted)
        except DataError as error:
            yield Fault("shard", store.manifest.shards[number].file, "", str(error))
    if counted.clips == store.manifest.clips:
        yield from _lost_mass_faults(store.manifest.lost_mass, counted.lost_mass)


def _lost_mass_faults(noted: Mapping[str, float], counted: Mapping[str, float]) -> Iterator[Fault]:
    """Yields differences between the lost mass in the manifest and in the records."""
    for name in LOST:
        one, other = noted.get(name, 0), counted.get(name, 0)
        if not math.isclose(one, other, rel_tol=1e-5, abs_tol=1e-9):
            text = f"{COMPLETE} says lost_mass {name} {one}, the records have {other}"
            yield Fault("count", "", "", text)


def _shard_faults(
    store: FeatureStore, number: int, seen: SeenIds, counted: Manifest
) -> Iterator[Fault]:
    """Yields the faults of a shard, and counts its valid records in a new shard of ``counted``."""
    counts = Shard(store.manifest.shards[number].file)
    counted.shards.append(counts)
    shard, file = store.manifest.shards[number], store.files[number]
    entries = file.count()
    if entries != shard.clips:
        yield Fault("shard", shard.file, "", f"{entries} records; expected {shard.clips}")
    for index in range(min(entries, shard.clips)):
        record, mark = b"", b""
        try:
            with file.record(index) as found:
                record = bytes(found or b"")
            mark = file.mark(record)
            clip = file.decode(record, f"{store.path / shard.file}: clip {index}")
        except DataError as error:
            counts.checksum = zlib.crc32(mark, counts.checksum)
            yield Fault("damaged", shard.file, f"number {index}", str(error))
            continue
        counted.count(Entry.of(clip, record, counted.dtype, mark))
        for kind, text in _faults_of_clip(clip, store.manifest.sizes):
            yield Fault(kind, shard.file, clip.id, text)
        if seen.add(id_key(clip.id)) != "new":
            yield Fault("duplicate", shard.file, clip.id, "an earlier clip has the same id")
        if file.find(id_key(clip.id)) != index:
            yield Fault("id table", shard.file, clip.id, "the id table maps it to another clip")
    yield from _count_faults(shard, counts)


def _count_faults(noted: Shard, counts: Shard) -> Iterator[Fault]:
    """Yields differences between the counts of a shard in the manifest and in its records."""
    if counts.checksum != noted.checksum:
        yield Fault("checksum", noted.file, "", "its records have changed since they were written")
    elif counts.clips == noted.clips:  # else already reported
        for name in ("captions", "payload"):
            one, other = getattr(noted, name), getattr(counts, name)
            if one != other:
                text = f"{COMPLETE} says {name} {one}, the records have {other}"
                yield Fault("count", noted.file, "", text)


def unknown_captions(store: FeatureStore, coverage: Coverage) -> Iterator[Fault]:
    """Yields clips with a caption without known words; counts all captions in ``coverage``."""
    for number in range(len(store)):
        with suppress(DataError):  # a damaged record is reported as such
            about = store.about(number)
            if not coverage.add(about.id, about.captions):
                text = f"a caption has no word of the vocabulary {coverage.bert_model}"
                yield Fault("no known word", "", about.id, text)


def _faults_of_clip(clip: Clip, sizes: Sizes) -> Iterator[tuple[str, str]]:
    """Yields the faults of a clip, and captions that are valid but useless."""
    yield from clip_faults(clip, sizes)
    if any(not text.strip() for text in clip.captions):
        yield "caption", "a caption is blank"
    if not any(text.strip() for text in clip.captions):
        yield "no caption", "has no caption"


def fix(store: FeatureStore, output: Path) -> Summary:
    """Writes a copy without faults. Returns a summary; ``<output>.skipped.jsonl`` has the details.

    Cuts boxes up to 2 pixels outside the image, and drops blank captions; leaves out clips that are
    damaged, not finite, of other sizes or classes, or with the id of an earlier clip.
    """
    sizes, dtype = store.manifest.sizes, store.manifest.dtype
    refuse_inside("--fix", output, store.path)
    target = Target(
        output,
        sizes,
        dtype,
        vocabularies=store.manifest.vocabularies,
        made_by=made_by("validate --fix", {"sources": [store.path]}),
        skip_bad=len(store),
    )
    if (done := finished(target)) is not None:
        return Summary(output, done)
    return write_clips(target, [store], lambda clip: _repaired(clip, sizes))


def _repaired(clip: Clip, sizes: Sizes) -> Clip | str:
    kept = [number for number, text in enumerate(clip.captions) if text.strip()]
    times = [clip.times[number] for number in kept] if clip.times else []
    clip = replace(clip, captions=[clip.captions[number] for number in kept], times=times)
    limits = np.array([clip.image_w, clip.image_h] * 2, np.float32)
    if np.isfinite(clip.boxes).all() and len(clip.boxes):
        near = (clip.boxes >= -MAX_CUT).all() and (clip.boxes <= limits + MAX_CUT).all()
        if near:
            clip = replace(clip, boxes=np.clip(clip.boxes, 0, limits))
    for kind, text in _faults_of_clip(clip, sizes):
        if kind != "no caption":
            return f"left out: {kind} ({text})" if kind == "size" else f"left out: {kind}"
    return clip
