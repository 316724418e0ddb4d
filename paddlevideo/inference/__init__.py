"""Trained models for Python.

>>> model = load("output/ActBert_videos/ActBert_videos_best.pdparams")
>>> model.search("data/videos.store", "a man cuts an onion", best=3)
"""

from __future__ import annotations

from paddlevideo.inference.features import Extraction
from paddlevideo.inference.model import VideoTextModel, load
from paddlevideo.inference.videos import EncodedVideos, VideoVectors

__all__ = ["EncodedVideos", "Extraction", "VideoTextModel", "VideoVectors", "load"]
