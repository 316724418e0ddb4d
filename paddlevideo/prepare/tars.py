"""Converts a store to one of tar files in WebDataset's layout."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np

from paddlevideo.files.paths import refuse_not_utf8
from paddlevideo.files.whole import write_whole
from paddlevideo.loader.store import FeatureStore
from paddlevideo.loader.store.manifest import COMPLETE, UNFINISHED, Entry, Manifest, Shard
from paddlevideo.loader.store.records import PREFIX, encode
from paddlevideo.loader.store.shards import id_key
from paddlevideo.loader.store.tar_samples import END, encode_sample
from paddlevideo.loader.store.tar_shards import COLUMNS, HASH, ID_HIGH, MARK, index_path, read_index
from paddlevideo.loader.store.writer import store_lock, tidy
from paddlevideo.prepare.caption_book import SeenIds
from paddlevideo.prepare.made_by import made_by
from paddlevideo.prepare.writing import Target, finished
from paddlevideo.utils.errors import DataError
from paddlevideo.utils.progress import track

#: Bytes of records for each tar file, unless their number is given.
TAR_BYTES = 1 << 30


def to_tars(store: FeatureStore, output: Path, shards: int | None = None) -> Manifest:
    """Writes a store's clips into ``shards`` tar files of equal numbers of clips.

    Each tar file, and the index beside it, is written whole; a run that was interrupted continues
    after the last one. Raises DataError for another store at ``output``, for a damaged clip, for an
    id that occurs twice, for more shards than clips and for a full disk.
    """
    refuse_not_utf8("--output", output)
    before = store.manifest
    shards = shards or max(1, -(-sum(shard.payload for shard in before.shards) // TAR_BYTES))
    if shards > max(len(store), 1):
        raise DataError(f"{store.path}: {len(store)} clips cannot fill {shards} shards")
    extraction = store.extraction()
    made = made_by("convert --to webdataset", {"sources": [store.path]}, shards=shards)
    made |= {"extraction": extraction} if extraction else {}
    target = Target(
        output, before.sizes, before.dtype, vocabularies=before.vocabularies, made_by=made
    )
    if (done := finished(target)) is not None:
        return done
    output.mkdir(parents=True, exist_ok=True)
    with store_lock(output):
        try:
            return _write(store, target, shards)
        except OSError as error:  # one of reading would be a DataError
            raise DataError(
                f"{error.filename or output}: cannot be written ({error.strerror or error}). Free "
                "some space and run the same command again to continue"
            ) from None


def _write(store: FeatureStore, target: Target, shards: int) -> Manifest:
    """Writes the shards that are not yet there, then the manifest."""
    manifest = Manifest(target.sizes, target.dtype, [], target.vocabularies, target.made_by, {})
    seen = SeenIds()
    if (target.path / UNFINISHED).is_file():
        manifest = Manifest.read(target.path / UNFINISHED)
        _check_written(target.path, manifest, seen)
    manifest.write(target.path / UNFINISHED)
    for number in track(range(len(manifest.shards), shards), "tar files", shards, "shards"):
        clips = range(len(store) * number // shards, len(store) * (number + 1) // shards)
        _write_shard(store, clips, target.path / f"shard-{number:05d}.tar", manifest, seen)
        manifest.write(target.path / UNFINISHED)
    manifest.write(target.path / COMPLETE)
    tidy(target.path)
    return manifest


def _check_written(path: Path, manifest: Manifest, seen: SeenIds) -> None:
    """Adds the ids of the shards of an interrupted run. Raises DataError if one was changed."""
    for shard in manifest.shards:
        tar = path / shard.file
        if not tar.is_file() or tar.stat().st_size != shard.bytes:
            raise DataError(f"{tar}: was changed. Remove {path} and run the command again")
        entries = read_index(tar)
        seen.add_old(HASH.pack(*halves) for halves in entries[:, ID_HIGH:].tolist())


def _write_shard(
    store: FeatureStore, clips: range, tar: Path, manifest: Manifest, seen: SeenIds
) -> None:
    """Writes a tar file and its index, and counts its clips in ``manifest``."""
    manifest.shards.append(Shard(tar.name))
    index = np.zeros((len(clips), len(COLUMNS)), np.uint64)

    def write(partial: Path) -> None:
        begin = 0
        with open(partial, "wb") as file:
            for row, number in enumerate(clips):
                clip = store.read(number)
                key = id_key(clip.id)
                if seen.add(key) != "new":
                    raise DataError(
                        f'{store.path}: two clips are called "{clip.id}". paddlevideo validate '
                        "--fix leaves out the second"
                    )
                sample = encode_sample(clip, number, manifest.dtype)
                checksum = zlib.crc32(sample)
                of_record, _ = PREFIX.unpack_from(encode(clip, manifest.dtype))
                both = of_record << 32 | checksum
                index[row] = (begin, len(sample), both, *HASH.unpack(key))
                manifest.count(Entry.of(clip, sample, manifest.dtype, MARK.pack(checksum)))
                file.write(sample)
                begin += len(sample)
            file.write(END)

    write_whole(tar, write)
    write_whole(index_path(tar), lambda partial: _save(partial, index))
    manifest.shards[-1].bytes = tar.stat().st_size


def _save(path: Path, index: np.ndarray) -> None:
    with open(path, "wb") as file:  # given a name, NumPy would add an ending to it
        np.save(file, index, allow_pickle=False)
