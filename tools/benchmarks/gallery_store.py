"""A large store for tests of a gallery: the clips of another one, and more drawn from them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from paddlevideo.files.whole import write_text_whole
from paddlevideo.loader.clips.clip import Clip, non_blank
from paddlevideo.loader.store import FeatureStore, Manifest, StoreWriter
from paddlevideo.loader.store.manifest import COMPLETE
from paddlevideo.utils.errors import ConfigError, DataError
from paddlevideo.utils.progress import track

#: Clips that others are drawn from, at most: they are in memory at once.
DRAWN_FROM = 5000


def make_store(source: Path, output: Path, clips: int, noise: float, seed: int) -> None:
    """Writes a store of ``clips`` clips, those of ``source`` first, unless it is there already.

    The others have ids of their own, no captions and no classes. Their features are those of a clip
    drawn at random, with normal noise of ``noise`` standard deviations of each feature. Raises
    ConfigError if ``source`` has more clips.
    """
    store = FeatureStore(source)
    if len(store) > clips:
        raise ConfigError(f"--clips {clips}: {source} alone has {len(store)}")
    checksums = [shard.checksum for shard in store.manifest.shards]
    made_by = {"clips": clips, "noise": noise, "seed": seed, "source": checksums}
    if (output / COMPLETE).is_file():
        if Manifest.read(output / COMPLETE).made_by == made_by:
            return
        raise ConfigError(f"{output}: is another store. Remove it, or name another --folder")
    shutil.rmtree(output, ignore_errors=True)  # an unfinished one: draws start with the first
    output.parent.mkdir(parents=True, exist_ok=True)
    manifest = store.manifest
    with StoreWriter(output, manifest.sizes, manifest.dtype, made_by=made_by) as writer:
        for clip in track(clips_of(store, clips, noise, seed), "make", clips, "clips"):
            writer.add(clip)
        writer.finish()


def clips_of(store: FeatureStore, clips: int, noise: float, seed: int) -> Iterator[Clip]:
    """Yields the clips of a store, and then others that are drawn from them."""
    yield from (store[index] for index in range(len(store)))
    step = -(-len(store) // DRAWN_FROM)
    originals = [store[index] for index in range(0, len(store), step)]
    names = ("regions", "actions")
    spread = {name: noise * _deviation(originals, name) for name in names}
    rng = np.random.default_rng(seed)
    for number in range(len(store), clips):
        clip = originals[rng.integers(len(originals))]
        features = {}
        for name in names:
            array: np.ndarray = getattr(clip, name)
            features[name] = array + spread[name] * rng.standard_normal(array.shape, np.float32)
        plain: dict[str, Any] = {"action_classes": None, "region_classes": None, "captions": []}
        yield replace(clip, id=f"{clip.id}~{number}", times=[], **plain, **features)


def _deviation(clips: list[Clip], name: str) -> np.ndarray:
    """Returns the standard deviation of each feature over all clips."""
    rows = np.concatenate([getattr(clip, name) for clip in clips])
    return rows.std(axis=0)


def write_captions(store: Path, path: Path, captions: int) -> None:
    """Writes a caption of each of the first clips that have one, ``captions`` at most.

    Raises DataError if there are none.
    """
    source = FeatureStore(store)
    abouts = (source.about(index) for index in range(len(source)))
    described = (about for about in abouts if non_blank(about.captions))
    lines = [
        f"{about.id},{non_blank(about.captions)[0]}\n" for about in islice(described, captions)
    ]
    if not lines:
        raise DataError(f"{store}: its clips have no captions, which a test needs")
    write_text_whole(path, "".join(lines))
