"""Finds clips by a sentence or by a clip, with an index of the gallery's vectors on disk.

V clips of a feature file, N clips of a ranking.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from paddlevideo.loader.clips.gallery import ClipBatches
from paddlevideo.modeling.match_scorer import CaptionCache, VideoSource
from paddlevideo.retrieval.answers import Answer
from paddlevideo.retrieval.gallery import Gallery
from paddlevideo.retrieval.model import RetrievalModel
from paddlevideo.retrieval.ranks import highest
from paddlevideo.retrieval.recent import RecentVideos
from paddlevideo.retrieval.search_index import SearchIndex
from paddlevideo.utils.errors import ConfigError, DataError
from paddlevideo.utils.progress import track

log = logging.getLogger("paddlevideo")

#: Clips that a ranking lists, at most.
DEPTH = 1000
#: Called with the number of clips that are indexed, and that of all.
Progress = Callable[[int, int], None]


def _nothing(*_: object) -> None:
    """The default of callbacks."""


@dataclass(frozen=True)
class ClipRanking:
    """The best clips for a query, best first.

    ``positions`` (N,) int64 are those in :attr:`Searcher.clips`; ``margins``, ``similarities`` and
    ``scores`` (N,) float32. Clips whose margin and score are NaN were not matched: they follow the
    matched ones in the order of their similarities. ``total``: the number of clips among which
    these are the best.
    """

    positions: np.ndarray
    scores: np.ndarray
    margins: np.ndarray
    similarities: np.ndarray
    total: int

    def __len__(self) -> int:
        return len(self.positions)


class Searcher:
    """Finds the clips of a feature file that a sentence describes, or that are like another.

    With a retrieval head, the ``candidates`` most similar clips are matched with the sentence.
    Vectors come from an index that the first search writes into the folder ``index``, if it can;
    encoded candidates are kept within ``MODEL.gallery_gigabytes``. Without a head every clip is
    matched.
    """

    def __init__(
        self,
        model: RetrievalModel,
        features: Path,
        index: Path,
        candidates: int,
        progress: Progress = _nothing,
    ) -> None:
        """Opens the clips and their index. Raises ConfigError or DataError.

        ``progress`` is called while all clips are read; it may raise an exception to stop.
        """
        self.model, self.candidates = model, candidates
        self.weight = 0.0 if model.head is None else model.head.known_weight
        reader = model.reader(features)
        self.clips = list(reader.source.ids())
        if not self.clips:
            raise DataError(f"{features}: contains no clips")
        source = ClipBatches(reader, self.clips, model.options["gallery_batch"])
        framework = model.framework
        #: Unit vectors (V, D) of all clips; None without a retrieval head.
        self.vectors: np.ndarray | None = None
        self._videos: VideoSource
        if model.head is None:
            log.info("these weights have no retrieval head: every clip is matched")
            self._videos = Gallery(
                framework.encode_videos, _Tracked(source, progress), framework.gallery_gigabytes
            )
        else:
            stored = SearchIndex(index, model.weights, model.sha256, features, model.options)
            self.vectors = stored.vectors(
                len(self.clips), lambda: _vectors_of(framework, _Tracked(source, progress))
            )
            self._videos = RecentVideos(
                framework.encode_videos, source, framework.gallery_gigabytes
            )

    @cached_property
    def _position(self) -> dict[str, int]:
        return {clip: position for position, clip in enumerate(self.clips)}

    def position(self, clip: str) -> int | None:
        """Returns the position of a clip in :attr:`clips`, or None if there is none."""
        return self._position.get(clip)

    def find(self, sentence: str, count: int = 10) -> list[Answer]:
        """Returns the ``count`` best clips that were matched, best first.

        Raises ConfigError for a sentence that :meth:`RetrievalModel.check` refuses.
        """
        if warning := self.model.check(sentence):
            log.warning("%s", warning)
        depth = count if self.vectors is None else min(count, self.candidates)
        ranking = self.rank(sentence, depth=depth)
        numbers = (ranking.scores, ranking.margins, ranking.similarities)
        return [
            Answer(self.clips[position], *map(float, row))
            for position, *row in zip(ranking.positions.tolist(), *numbers, strict=True)
        ]

    def rank(
        self,
        sentence: str,
        among: np.ndarray | None = None,
        candidates: int | None = None,
        depth: int = DEPTH,
        proceed: Callable[[], None] = _nothing,
    ) -> ClipRanking:
        """Returns the ``depth`` best clips for a sentence that the model has checked.

        Args:
            sentence: a text in which a word is known; see :meth:`RetrievalModel.check`.
            among: the clips to rank, bool (V,); by default all.
            candidates: the number of most similar clips to match, by default that of the searcher;
                0 ranks by similarity alone. Without a retrieval head, every clip is matched.
            depth: the number of clips to return, at most.
            proceed: called before each batch of clips is matched; it may raise an exception, which
                ends the search.
        """
        caption = self.model.encode([sentence])
        allowed = self._allowed(among)
        if self.vectors is None:
            similarities, count = np.zeros(len(self.clips), np.float32), len(allowed)
        else:
            assert self.model.head is not None and caption.vector is not None
            vector = caption.vector.numpy() * float(self.model.head.scale)
            similarities = (vector @ self.vectors.T)[0]
            count = self.candidates if candidates is None else candidates
        order = allowed[highest(similarities[None, allowed], max(count, depth))[0][0]]
        matched, rest = np.sort(order[:count]), order[count:]
        margins = self._margins(caption, matched, proceed)
        scores = margins + self.weight * similarities[matched]
        best = highest(scores[None], len(scores))[0][0]
        unmatched = np.full(len(rest), np.nan, np.float32)
        positions = np.concatenate([matched[best], rest])
        return ClipRanking(
            positions[:depth],
            np.concatenate([scores[best], unmatched])[:depth],
            np.concatenate([margins[best], unmatched])[:depth],
            similarities[positions][:depth],
            len(allowed),
        )

    def rank_like(
        self, clip: str, among: np.ndarray | None = None, depth: int = DEPTH
    ) -> ClipRanking:
        """Returns the ``depth`` clips most similar to a clip, without itself.

        Similarities are the cosines of the first stage's vectors; nothing is matched. ``among``
        is that of :meth:`rank`. Raises ConfigError without a retrieval head, or for an unknown
        clip.
        """
        at = self.position(clip)
        if at is None:
            raise ConfigError(f'there is no clip called "{clip}"')
        if self.vectors is None:
            raise ConfigError(
                "clips are compared by the vectors of a retrieval head, which these weights do not "
                "have. MODEL.retrieval_head adds one"
            )
        allowed = self._allowed(among)
        allowed = allowed[allowed != at]
        similarities = self.vectors @ self.vectors[at]
        positions = allowed[highest(similarities[None, allowed], depth)[0][0]]
        unmatched = np.full(len(positions), np.nan, np.float32)
        return ClipRanking(positions, unmatched, unmatched, similarities[positions], len(allowed))

    def _allowed(self, among: np.ndarray | None) -> np.ndarray:
        """Returns the positions of the clips to rank, ascending."""
        return np.arange(len(self.clips)) if among is None else np.flatnonzero(among)

    def _margins(
        self, caption: CaptionCache, positions: np.ndarray, proceed: Callable[[], None]
    ) -> np.ndarray:
        """Returns the margins (N,) float32 of a sentence with the clips at ``positions``."""
        framework = self.model.framework
        step = framework.scorer.pair_batch
        margins = [np.zeros(0, np.float32)]
        for start in range(0, len(positions), step):
            proceed()
            part = positions[start : start + step]
            margins.append(framework.listed_margins(caption, self._videos, part))
        return np.concatenate(margins)


def _vectors_of(framework: Any, source: _Tracked) -> np.ndarray:
    """Returns the vectors (V, D) of all clips."""
    vectors = Gallery(framework.encode_videos, source, 0.0).vectors
    assert vectors is not None
    return vectors


class _Tracked:
    """A source of clips that reports what has been read, with a progress bar."""

    def __init__(self, source: ClipBatches, progress: Progress) -> None:
        self.source, self.take, self._progress = source, source.take, progress

    def __len__(self) -> int:
        return len(self.source)

    def __iter__(self) -> Iterator[Any]:
        size, clips = self.source.batch_size, len(self.source)
        self._progress(0, clips)
        batches = track(self.source, "index", -(-clips // size), "clips", size)
        for number, batch in enumerate(batches, 1):
            yield batch
            self._progress(min(number * size, clips), clips)
