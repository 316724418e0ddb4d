"""Finds clips by a sentence or by a clip, with an index of the clips' vectors.

V clips of a feature file, N clips of a ranking.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from paddlevideo.loader.clips.gallery import ClipReader
from paddlevideo.modeling.match_scorer import CaptionCache, VideoSource
from paddlevideo.retrieval.answers import Answer
from paddlevideo.retrieval.clip_keys import kept_keys
from paddlevideo.retrieval.gallery import Gallery
from paddlevideo.retrieval.milvus_index import MilvusIndex
from paddlevideo.retrieval.milvus_server import is_milvus
from paddlevideo.retrieval.model import RetrievalModel
from paddlevideo.retrieval.nearest import SAMPLE, FirstStageSearch, Nearest
from paddlevideo.retrieval.ranks import highest
from paddlevideo.retrieval.recent import RecentVideos
from paddlevideo.retrieval.search_index import SearchIndex, index_folder
from paddlevideo.retrieval.segments import ApproximateRows, ExactRows
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


class ClipIndex(Nearest, Protocol):
    """The vectors of V clips, on this machine or elsewhere."""

    def take(self, positions: np.ndarray, /) -> np.ndarray:
        """Returns the vectors (N, D) of the clips at ``positions`` (N,)."""


class Searcher:
    """Finds the clips of a feature file that a sentence describes, or that are like another.

    With a retrieval head, the ``candidates`` most similar clips are matched with the sentence.
    Vectors come from an index, to which each search adds those of clips that are new; encoded
    candidates are kept within ``MODEL.gallery_gigabytes``. Without a head every clip is matched.
    """

    def __init__(
        self,
        model: RetrievalModel,
        features: Path,
        index: Path | str,
        candidates: int,
        progress: Progress = _nothing,
        first_stage: FirstStageSearch | None = None,
    ) -> None:
        """Opens the clips and their index. Raises ConfigError, DataError or IndexAway.

        ``index``: the folder of indexes, or the address or the file of Milvus. ``progress`` is
        called while clips are read; it may raise an exception to stop. ``first_stage``: how the
        most similar clips are found, by default as ``MODEL.retrieval_head.first_stage`` says.
        """
        self.model, self.candidates = model, candidates
        self.weight = 0.0 if model.head is None else model.head.known_weight
        self._clips = _AllClips(model.reader(features), model.options["gallery_batch"], progress)
        self.source = self._clips.reader.source
        #: The ids of all clips, each read when it is asked for.
        self.clips = self.source.ids()
        if not len(self.clips):
            raise DataError(f"{features}: contains no clips")
        framework = model.framework
        #: Finds similar clips; None without a retrieval head.
        self.index: ClipIndex | None = None
        self._videos: VideoSource
        if model.head is None:
            log.info("these weights have no retrieval head: every clip is matched")
            self._videos = Gallery(
                framework.encode_videos, self._clips, framework.gallery_gigabytes
            )
        else:
            self.index = self._open_index(index, features, first_stage or model.head.first_stage)
            self._videos = RecentVideos(
                framework.encode_videos, self._clips, framework.gallery_gigabytes
            )

    def _open_index(self, place: Path | str, features: Path, how: FirstStageSearch) -> ClipIndex:
        """Returns the index of all clips, after encoding those that are new."""
        model, head = self.model, self.model.head
        assert head is not None
        if isinstance(place, str) or is_milvus(place):
            clips = kept_keys(index_folder(model.weights), self.source, features)
            server = MilvusIndex(place, clips, {"weights": model.sha256, **model.settings})
            server.fill(self._encode, head.width, how, self._sample)
            return server
        stored = SearchIndex(place, model.weights, model.sha256, model.settings, head.width)
        rows = stored.vectors(self.source, features, self._encode)
        return ExactRows(rows) if how == "exact" else ApproximateRows(rows, self._sample)

    def _encode(self, positions: np.ndarray) -> Iterator[np.ndarray]:
        """Yields the vectors of clips in batches."""
        for batch in self._clips.batches(positions):
            yield self.model.framework.encode_videos(batch).vector.astype("float32").numpy()

    def _sample(self) -> np.ndarray | None:
        """Returns the vectors of some captions of the clips, None if there are none."""
        at = np.linspace(0, len(self.clips) - 1, min(SAMPLE, len(self.clips))).astype(int)
        texts = [text for each in at.tolist() for text in self.source.about(each).captions[:1]]
        known = [text for text in texts if self._is_known(text)]
        if not known:
            return None
        vectors: Any = self.model.encode(known).vector
        return vectors.astype("float32").numpy()

    def _is_known(self, sentence: str) -> bool:
        try:
            self.model.check(sentence)
        except ConfigError:
            return False
        return True

    def check_index(self) -> None:
        """Asks the server of the index, if it has one, for the vector of a clip.

        Raises IndexAway, or IndexChanged.
        """
        if isinstance(self.index, MilvusIndex):
            self.index.take(np.zeros(1, np.int64))

    def position(self, clip: str) -> int | None:
        """Returns the position of a clip in :attr:`clips`, or None if there is none."""
        try:
            return self.source.find(clip)
        except UnicodeEncodeError:  # half of a surrogate pair
            return None

    def find(self, sentence: str, count: int = 10) -> list[Answer]:
        """Returns the ``count`` best clips that were matched, best first.

        Raises ConfigError for a sentence that :meth:`RetrievalModel.check` refuses.
        """
        if warning := self.model.check(sentence):
            log.warning("%s", warning)
        depth = count if self.index is None else min(count, self.candidates)
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
        total = len(self.clips) if among is None else int(np.count_nonzero(among))
        if self.index is None:
            order, count = np.arange(len(self.clips)), total
            order = order if among is None else order[among]
            similarities = np.zeros(total, np.float32)
        else:
            assert self.model.head is not None and caption.vector is not None
            vector = caption.vector.numpy() * np.float32(float(self.model.head.scale))
            count = self.candidates if candidates is None else candidates
            found = self.index.search(vector, max(count, depth), among)
            (order,), (similarities,) = found
        ascending = np.argsort(order[:count])
        matched = order[ascending]
        margins = self._margins(caption, matched, proceed)
        scores = margins + self.weight * similarities[ascending]
        best = highest(scores[None], len(scores))[0][0]
        rest = slice(count, None)
        unmatched = np.full(len(order[rest]), np.nan, np.float32)
        return ClipRanking(
            np.concatenate([matched[best], order[rest]])[:depth],
            np.concatenate([scores[best], unmatched])[:depth],
            np.concatenate([margins[best], unmatched])[:depth],
            np.concatenate([similarities[ascending][best], similarities[rest]])[:depth],
            total,
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
        if self.index is None:
            raise ConfigError(
                "clips are compared by the vectors of a retrieval head, which these weights do not "
                "have. MODEL.retrieval_head adds one"
            )
        others = np.ones(len(self.clips), bool) if among is None else among.copy()
        others[at] = False
        vector = self.index.take(np.array([at]))
        (positions,), (similarities,) = self.index.search(vector, depth, others)
        unmatched = np.full(len(positions), np.nan, np.float32)
        total = int(np.count_nonzero(others))
        return ClipRanking(positions, unmatched, unmatched, similarities, total)

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


class _AllClips:
    """The clips of a feature file by position, with a progress bar where many are read."""

    def __init__(self, reader: ClipReader, batch_size: int, progress: Progress) -> None:
        self.reader, self.batch_size, self._progress = reader, batch_size, progress
        self.take = reader.read_at

    def __len__(self) -> int:
        return len(self.reader.source)

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        return self.batches(np.arange(len(self)))

    def batches(self, positions: np.ndarray) -> Iterator[dict[str, np.ndarray]]:
        """Yields the clips at some positions; all others count as read before."""
        size, total = self.batch_size, len(self)
        before = total - len(positions)
        self._progress(before, total)
        firsts = range(0, len(positions), size)
        for first in track(firsts, "index", len(firsts), "clips", size):
            yield self.take(positions[first : first + size].tolist())
            self._progress(before + min(first + size, len(positions)), total)
