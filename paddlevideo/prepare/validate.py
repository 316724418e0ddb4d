"""Checking every record of a store, and writing a repaired copy."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from paddlevideo.files.walk import refuse_inside
from paddlevideo.loader.captions.expressed import Expressed
from paddlevideo.loader.clips.check import clip_faults
from paddlevideo.loader.clips.clip import Clip, Sizes
from paddlevideo.loader.store import FeatureStore
from paddlevideo.loader.store.manifest import COMPLETE, LOST, Entry, Manifest, Shard
from paddlevideo.loader.store.records import PREFIX, decode
from paddlevideo.loader.store.shards import IDS, KEY, RECORDS, id_key, reading
from paddlevideo.prepare.caption_book import SeenIds
from paddlevideo.prepare.made_by import made_by
from paddlevideo.prepare.writing import Summary, Target, finished, write_clips
from paddlevideo.utils.errors import DataError
from paddlevideo.utils.progress import track

#: A box that leaves the image by no more pixels is cut by ``fix``; one further out is a mistake.
CUT = 2.0


@dataclass(frozen=True)
class Fault:
    """A fault of a clip, or of a shard (then ``clip`` is empty)."""

    kind: str
    shard: str
    clip: str
    fault: str


def faults_of(store: FeatureStore) -> Iterator[Fault]:
    """All faults, shard after shard. Holds no more than a clip, and ids on the disk.

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
    """Differences of the manifest's lost mass from that of the records."""
    for name in LOST:
        one, other = noted.get(name, 0), counted.get(name, 0)
        if not math.isclose(one, other, rel_tol=1e-5, abs_tol=1e-9):
            text = f"{COMPLETE} says lost_mass {name} {one}, the records have {other}"
            yield Fault("count", "", "", text)


def _shard_faults(
    store: FeatureStore, number: int, seen: SeenIds, counted: Manifest
) -> Iterator[Fault]:
    """Faults of a shard, whose valid records are counted as another shard of ``counted``."""
    there = Shard(store.manifest.shards[number].file)
    counted.shards.append(there)
    shard = store.manifest.shards[number]
    path = store.path / shard.file
    with reading(path, RECORDS) as transaction:
        entries = transaction.stat()["entries"]
    if entries != shard.clips:
        yield Fault("shard", shard.file, "", f"{entries} records, where {shard.clips} belong")
    for index in range(min(entries, shard.clips)):
        with reading(path, RECORDS) as transaction:
            record = transaction.get(KEY.pack(index)) or b""
        try:
            clip = decode(record, f"{path}: clip {index}")
        except DataError as error:
            there.checksum = zlib.crc32(record[: PREFIX.size], there.checksum)
            yield Fault("damaged", shard.file, f"number {index}", str(error))
            continue
        counted.count(Entry.of(clip, record, counted.dtype))
        for kind, text in _faults_of_clip(clip, store.manifest.sizes):
            yield Fault(kind, shard.file, clip.id, text)
        if seen.add(id_key(clip.id)) != "new":
            yield Fault("duplicate", shard.file, clip.id, "an earlier clip has the same id")
        with reading(path, IDS) as transaction:
            if transaction.get(id_key(clip.id)) != KEY.pack(index):
                yield Fault("id table", shard.file, clip.id, "the table of ids leads elsewhere")
    yield from _count_faults(shard, there)


def _count_faults(noted: Shard, there: Shard) -> Iterator[Fault]:
    """Differences of the manifest's counts of a shard from those of its records."""
    if there.checksum != noted.checksum:
        yield Fault("checksum", noted.file, "", "its records are not those that were written")
    elif there.clips == noted.clips:  # else it is reported already
        for name in ("captions", "payload"):
            one, other = getattr(noted, name), getattr(there, name)
            if one != other:
                text = f"{COMPLETE} says {name} {one}, the records have {other}"
                yield Fault("count", noted.file, "", text)


def wordless(store: FeatureStore, expressed: Expressed) -> Iterator[Fault]:
    """Clips with a caption that has no known word, of kind "no known word"; counts all captions."""
    for number in range(len(store)):
        with suppress(DataError):  # a damaged record is reported as such
            about = store.about(number)
            if not expressed.add(about.id, about.captions):
                text = f"a caption has no word that the vocabulary {expressed.bert_model} knows"
                yield Fault("no known word", "", about.id, text)


def _faults_of_clip(clip: Clip, sizes: Sizes) -> Iterator[tuple[str, str]]:
    """Faults of a clip, and of captions that are useless though legal."""
    yield from clip_faults(clip, sizes)
    if any(not text.strip() for text in clip.captions):
        yield "caption", "a caption is blank"
    if not any(text.strip() for text in clip.captions):
        yield "no caption", "has no caption"


def fix(store: FeatureStore, output: Path) -> Summary:
    """A copy without what is wrong; the summary and ``<output>.skipped.jsonl`` say what was done.

    Boxes up to 2 pixels outside the image are cut to it, blank captions dropped; clips that are
    damaged, not finite, of other sizes or classes, or whose id an earlier clip has are left out.
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
        near = (clip.boxes >= -CUT).all() and (clip.boxes <= limits + CUT).all()
        if near:
            clip = replace(clip, boxes=np.clip(clip.boxes, 0, limits))
    for kind, text in _faults_of_clip(clip, sizes):
        if kind != "no caption":
            return f"left out: {kind} ({text})" if kind == "size" else f"left out: {kind}"
    return clip
