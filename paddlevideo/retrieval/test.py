"""Predictions of a retrieval test, which reads and encodes each caption once.

The gallery is encoded first. With a retrieval head, all captions are encoded next, and the vectors
of both sides are compared for shortlists. Then all pairs, or the shortlisted ones, are matched.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sized
from typing import Any, Protocol

import numpy as np
from paddle import Tensor

from paddlevideo.loader.build import BatchLoader
from paddlevideo.loader.sampler import GridSampler
from paddlevideo.metrics.base import Batch, EvaluationData, Predictor, elapsed
from paddlevideo.metrics.collector import RowCollector
from paddlevideo.modeling.match_scorer import CaptionCache, VideoCache
from paddlevideo.retrieval.gallery import Gallery
from paddlevideo.retrieval.shortlist import FirstStage, Ranks, Shortlists, check_search, first_stage

#: The entry of a batch that holds its encoded captions.
ENCODED = "encoded_captions"


class Matcher(Protocol):
    """A framework that encodes captions and videos separately, such as ``ActBert``.

    It is tested with a gallery of encoded videos and, with a retrieval head, in two stages. Any
    other framework, or one that overrides ``predict``, computes the scores of a batch of captions
    with all videos itself.
    """

    retrieval_head: Any  # computes the vectors of caches, or None
    top_k: tuple[int, int] | None  # videos of a caption and captions of a video to match; None: all
    gallery_gigabytes: float  # memory for encoded videos and captions

    def encode_captions(self, captions: Batch) -> CaptionCache:
        """Computes what depends only on captions."""

    def encode_videos(self, videos: Batch) -> VideoCache:
        """Computes what depends only on videos."""

    def margins(self, captions: CaptionCache, videos: Gallery) -> Tensor:
        """Returns the match margins (captions, videos)."""

    def listed_margins(
        self, caption: CaptionCache, videos: Gallery, positions: np.ndarray
    ) -> np.ndarray:
        """Returns the match margins (N,) of one caption with the videos at ``positions``."""


def is_matcher(model: Any) -> bool:
    """Returns whether ``model`` has what a ``Matcher`` has.

    ``isinstance`` with a protocol would miss the layers among its attributes from Python 3.12 on,
    which looks for them without ``__getattr__``.
    """
    methods = ("encode_captions", "encode_videos", "margins", "listed_margins")
    return all(hasattr(model, name) for name in (*Matcher.__annotations__, *methods))


class MarginPredictor(Predictor):
    """Predicts match margins of captions with the videos of a gallery.

    Captions that the first stage has encoded are kept for matching while they fit into the part of
    ``gallery_gigabytes`` that the gallery leaves; the others are read and encoded again.
    """

    def __init__(
        self, model: Matcher, data: EvaluationData, gallery: Gallery | None = None
    ) -> None:
        """Encodes the gallery unless it is given, and runs the first stage if there is a head."""
        if model.top_k and gallery is None and isinstance(data.context, Sized):
            check_search(model.retrieval_head, len(data.context))
        start = time.perf_counter()
        self.model = model
        sampler = data.loader.sampler
        self.ranks = Ranks(sampler.rank, sampler.world_size, data.gather)
        if gallery is None:
            assert data.context is not None
            limit = model.gallery_gigabytes
            gallery = Gallery(model.encode_videos, data.context, limit, self.ranks)
        self.gallery = gallery
        self.seconds = {"gallery_seconds": elapsed(start)}
        start = time.perf_counter()
        self.lists: Shortlists | None = None
        self._encoded: dict[int, Batch] = {}  # batches with their captions, by first sample
        if model.retrieval_head is not None:
            first = self._first_stage(data)
            self.lists = first.shortlists
            data.start(first, data.validating)
        self.seconds["first_stage_seconds"] = elapsed(start)

    def _first_stage(self, data: EvaluationData) -> FirstStage:
        """Encodes this rank's captions, and compares all ranks' captions with the gallery."""
        collector, spare = RowCollector(), self.gallery.spare
        for samples, batch in zip(data.loader.sampler.batches(), data.loader.epoch(), strict=True):
            captions = self.model.encode_captions(batch)
            collector.add(batch["index"], {"vector": captions.vector.astype("float32").numpy()})
            spare -= captions.nbytes
            if spare > 0:
                self._encoded[samples[0]] = {"index": batch["index"], ENCODED: captions}
        everything = RowCollector()
        everything.merge(data.gather(collector.state()))
        vectors, videos = everything.in_order()["vector"], self.gallery.vectors
        assert videos is not None
        queries = np.arange(len(videos)) if data.truth is None else np.unique(data.truth)
        head, top_k = self.model.retrieval_head, self.model.top_k
        return first_stage(head, vectors, videos, top_k, queries, self.ranks)

    def progress_units(self) -> tuple[int, str]:
        """Returns the average number of pairs per caption."""
        if self.lists is None:
            return self.gallery.size, "pairs"
        return max(1, int(self.lists.starts[-1]) // len(self.lists.text_to_video)), "pairs"

    def batches(self, loader: BatchLoader) -> Iterator[Batch]:
        """Yields the batches of ``loader``, reading only those that are not kept."""
        assert isinstance(loader.sampler, GridSampler)
        firsts = [samples[0] for samples in loader.sampler.batches()]
        kept = [first for first in firsts if first in self._encoded]
        rest = loader.with_sampler(loader.sampler.only(set(firsts).difference(kept)))
        for first in kept:
            yield self._encoded.pop(first)  # not needed again
        yield from rest.epoch()

    def predict(self, batch: Batch) -> np.ndarray | list[np.ndarray]:
        """Returns margins (B, V) or, with shortlists, B arrays with those of listed videos."""
        captions = batch[ENCODED] if ENCODED in batch else self.model.encode_captions(batch)
        if self.lists is None:
            return self.model.margins(captions, self.gallery).numpy()
        return [
            self.model.listed_margins(
                captions.part(slice(row, row + 1)), self.gallery, self.lists.of_caption(caption)
            )
            for row, caption in enumerate(np.asarray(batch["index"]).tolist())
        ]
