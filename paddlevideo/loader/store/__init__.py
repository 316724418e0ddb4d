"""The feature store: any number of clips in a folder of LMDB shards, without pickles."""

from __future__ import annotations

from paddlevideo.loader.clips.clip import ClassTargets, Clip, Sizes
from paddlevideo.loader.store.manifest import Manifest, is_store
from paddlevideo.loader.store.reader import FeatureStore, StoreReplaced
from paddlevideo.loader.store.writer import StoreWriter

__all__ = [
    "ClassTargets",
    "Clip",
    "FeatureStore",
    "Manifest",
    "Sizes",
    "StoreReplaced",
    "StoreWriter",
    "is_store",
]
