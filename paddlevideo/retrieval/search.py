"""Finds clips by a sentence, with an index of the gallery's vectors on disk."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from paddlevideo.loader.clips.gallery import ClipBatches
from paddlevideo.retrieval.answers import Answer, best_clips
from paddlevideo.retrieval.gallery import Gallery
from paddlevideo.retrieval.model import RetrievalModel
from paddlevideo.retrieval.search_index import SearchIndex
from paddlevideo.retrieval.shortlist import nearest
from paddlevideo.utils.errors import DataError
from paddlevideo.utils.progress import track

log = logging.getLogger("paddlevideo")


class Searcher:
    """Finds the clips of a feature file that a sentence describes.

    With a retrieval head, the ``candidates`` most similar clips are matched with the sentence.
    Vectors come from an index that the first search writes into the folder ``index``, if it can.
    Without a head every clip is matched.
    """

    def __init__(
        self, model: RetrievalModel, features: Path, index: Path, candidates: int = 128
    ) -> None:
        """Opens the clips and their index. Raises ConfigError or DataError."""
        self.model, self.candidates = model, candidates
        self.weight = 0.0 if model.head is None else model.head.known_weight
        reader = model.reader(features)
        self.clips = list(reader.source.ids())
        if not self.clips:
            raise DataError(f"{features}: contains no clips")
        self._source = ClipBatches(reader, self.clips, model.options["gallery_batch"])
        self.gallery = self._open_gallery(features, index)

    def find(self, sentence: str, count: int = 10) -> list[Answer]:
        """Returns the ``count`` best clips, best first.

        Raises ConfigError for a sentence that :meth:`RetrievalModel.check` refuses.
        """
        if warning := self.model.check(sentence):
            log.warning("%s", warning)
        caption = self.model.encode([sentence])
        similarities = np.zeros(self.gallery.size, np.float32)
        candidates = np.arange(self.gallery.size)
        if (head := self.model.head) is not None:
            assert caption.vector is not None and self.gallery.vectors is not None
            vector = caption.vector.numpy() * float(head.scale)
            similarities = (vector @ self.gallery.vectors.T)[0]
            found = nearest(vector, self.gallery.vectors, self.candidates, head.faiss_from)
            candidates = np.sort(found[0])
        margins = self.model.framework.listed_margins(caption, self.gallery, candidates)
        similarities = similarities[candidates]
        scores = margins + self.weight * similarities
        names = [self.clips[candidate] for candidate in candidates]
        return [
            Answer(name, float(scores[at]), float(margins[at]), float(similarities[at]))
            for at, name in best_clips(scores, names, count)
        ]

    def _open_gallery(self, features: Path, index: Path) -> Gallery:
        framework, model = self.model.framework, self.model
        encode, gigabytes = framework.encode_videos, framework.gallery_gigabytes
        if model.head is None:
            log.info("these weights have no retrieval head: every clip is matched")
            return Gallery(encode, _Tracked(self._source), gigabytes)
        stored = SearchIndex(index, model.weights, model.sha256, features, model.options)

        def encoded() -> np.ndarray:
            vectors = Gallery(encode, _Tracked(self._source), 0.0).vectors
            assert vectors is not None
            return vectors

        vectors = stored.vectors(len(self.clips), encoded)
        return Gallery.of_vectors(encode, self._source, vectors)


class _Tracked:
    """A source of clips with a progress bar."""

    def __init__(self, source: ClipBatches) -> None:
        self.source, self.take = source, source.take

    def __len__(self) -> int:
        return len(self.source)

    def __iter__(self) -> Iterator[Any]:
        batches = -(-len(self.source) // self.source.batch_size)
        return track(self.source, "index", batches, "clips", self.source.batch_size)
