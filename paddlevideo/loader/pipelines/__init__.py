"""Pipeline steps, ``(sample, rng) -> sample``; importing this package registers them."""

from __future__ import annotations

from paddlevideo.loader.pipelines.augment import FeatureNoise, RandomNarration, WordDropout
from paddlevideo.loader.pipelines.mask import RandomMask
from paddlevideo.loader.pipelines.padding import FeaturePadding
from paddlevideo.loader.pipelines.text import RandomCap, Tokenize

__all__ = [
    "FeatureNoise",
    "FeaturePadding",
    "RandomCap",
    "RandomMask",
    "RandomNarration",
    "Tokenize",
    "WordDropout",
]
