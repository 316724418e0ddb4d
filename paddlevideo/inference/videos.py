"""Clips as a model gives them back: their vectors, or all that scores need of them."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from paddlevideo.extract.videos import is_video
from paddlevideo.files.filetype import LMDB, NPY_ARRAY, describe_file
from paddlevideo.files.paths import expand_path
from paddlevideo.files.walk import walk
from paddlevideo.loader.clips.folder import ClipFolder
from paddlevideo.loader.store import is_store
from paddlevideo.retrieval.gallery import Gallery
from paddlevideo.utils.errors import ConfigError

Array = npt.NDArray[np.float32]
AnyPath = str | os.PathLike[str]

NO_HEAD = (
    "MODEL.retrieval_head: these weights were trained without one, and only it gives texts and "
    "clips vectors. Train one with -c actbert_two_stage.yaml, or compare with score and search, "
    "which need none"
)


class VideoVectors(NamedTuple):
    """Ids of V clips, and their vectors (V, D) float32 of length 1."""

    names: list[str]
    vectors: Array


class EncodedVideos:
    """V clips that a model has encoded, so that no score or search reads them again.

    ``names``: their ids in order. A model keeps at most ``MODEL.gallery_gigabytes`` of them in
    memory: more clips are read and encoded again for each batch of texts.
    """

    def __init__(
        self, owner: object, names: list[str], gallery: Gallery, close: Callable[[], None]
    ) -> None:
        """``owner``: the model; ``close``: removes what ``gallery`` reads, when it is not used."""
        self.owner, self.names, self.gallery = owner, names, gallery
        self._closer = weakref.finalize(self, close)
        if gallery.kept is not None:
            self._closer()

    def __len__(self) -> int:
        return len(self.names)

    def __repr__(self) -> str:
        return f"EncodedVideos({len(self)} clips)"

    @property
    def vectors(self) -> Array:
        """The vectors (V, D) of length 1. Raises ConfigError if the model has no retrieval head."""
        if self.gallery.vectors is None:
            raise ConfigError(NO_HEAD)
        return self.gallery.vectors


#: Video files, a folder or a list of them, a store or another feature file, or encoded clips.
Videos = AnyPath | Iterable[AnyPath] | EncodedVideos


def as_paths(videos: AnyPath | Iterable[AnyPath]) -> list[Path]:
    """Returns one or several paths as a list. Raises ConfigError for anything else."""
    several = _as_list(videos, (str, os.PathLike), "videos", "a path or a list of paths")
    if not several:
        raise ConfigError("videos: the list is empty; expected at least one path")
    for path in several:
        if not isinstance(path, (str, os.PathLike)) or not os.fspath(path):
            raise ConfigError(f"videos: {path!r:.60} is a {type(path).__name__}; expected a path")
    return [Path(expand_path(os.fspath(path))) for path in several]


def feature_file(paths: Sequence[Path]) -> Path | None:
    """Returns the only path, if it contains clips with features rather than videos.

    A folder with a video is a folder of videos, whatever else is in it.
    """
    path, *others = paths
    if others or not path.exists():
        return None
    if not path.is_dir():
        return path if describe_file(path) in (NPY_ARRAY, LMDB) else None
    if is_store(path) or (path / "data.mdb").is_file():
        return path
    return path if not walk(path, is_video).files and len(ClipFolder(path)) else None


def _as_list(given: Any, single: tuple[type, ...], name: str, expected: str) -> list[Any]:
    if isinstance(given, single):
        return [given]
    if not isinstance(given, Iterable):
        raise ConfigError(f"{name}: {given!r:.60} is a {type(given).__name__}; expected {expected}")
    return list(given)


def as_texts(texts: str | Iterable[str]) -> list[str]:
    """Returns one or several texts as a list. Raises ConfigError for anything else."""
    several = _as_list(texts, (str,), "texts", "a text or a list of texts")
    for index, text in enumerate(several):
        if not isinstance(text, str):
            kind = type(text).__name__
            raise ConfigError(f"texts[{index}]: {text!r:.60} is a {kind}; expected text")
    return several
