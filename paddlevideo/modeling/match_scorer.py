"""Scores captions against videos; whatever depends on only one side is computed once.

C captions, V videos, P pairs at once; T words, R regions, A actions; W the tangled width.

Once per caption: the text layers below the first tangled layer, and the projections in that layer.
Once per video: the same for regions, what the actions read from them and, with released tangling,
the whole action stream, which never sees the text. Only the pooled first positions go through the
last layers, and no prediction head is evaluated. The scores equal those of the plain forward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import paddle
from paddle import Tensor

from paddlevideo.modeling.backbones.actbert import BertForMultiModalPreTraining
from paddlevideo.modeling.backbones.tangled import (
    Known,
    Message,
    PaddedLengths,
    Projected,
    Streams,
    TangledLayer,
)
from paddlevideo.modeling.heads.vectors import VectorHead

Change = Callable[[Tensor], Any]


class VideoChunks(Protocol):
    """Encoded videos that are matched in order."""

    def chunks(self, size: int) -> Iterator[VideoCache]:
        """Yields all videos, at most ``size`` at a time."""


class VideoSource(Protocol):
    """Encoded videos with random access."""

    def take(self, positions: np.ndarray) -> VideoCache:
        """Returns the videos at ``positions`` (N,)."""


@dataclass(frozen=True)
class CaptionCache:
    """What C captions contribute to the scores of their pairs."""

    state: Tensor  # C, T, D
    bias: Tensor  # C, 1, 1, T
    first: Projected | None  # in the first tangled layer, C first
    vector: Tensor | None  # of the retrieval head, C, width
    padded_length: int

    @property
    def size(self) -> int:
        """The number of captions."""
        return self.state.shape[0]

    @property
    def nbytes(self) -> int:
        """The size of the arrays in bytes."""
        return _nbytes(self._map)

    def part(self, rows: slice) -> CaptionCache:
        """Returns the cache of some of the captions."""
        return self._map(lambda x: x[rows])

    def take(self, at: Tensor) -> CaptionCache:
        """Returns the captions at the positions ``at`` (N,), which may repeat."""
        return self._map(lambda x: paddle.index_select(x, at))

    def _map(self, change: Change) -> CaptionCache:
        return CaptionCache(
            change(self.state),
            change(self.bias),
            _map(change, self.first),
            _map(change, self.vector),
            self.padded_length,
        )


@dataclass(frozen=True)
class VideoCache:
    """What V videos contribute to the scores of their pairs.

    With released tangling, ``action_queries`` of every tangled layer and ``pooled_actions``;
    otherwise ``actions``, the state of the action stream, which continues for every pair.
    """

    state: Tensor  # V, R, D
    bias: Tensor  # V, 1, 1, R
    first: Projected | None  # in the first tangled layer, V first
    region_message: Message | None  # in the first tangled layer, V, A, W each
    action_queries: tuple[Tensor, ...]  # those of Projected, V first
    pooled_actions: Tensor | None  # V, W
    actions: Tensor | None  # V, A, D
    action_bias: Tensor  # V, 1, 1, A
    vector: Tensor | None  # of the retrieval head, V, width

    @property
    def size(self) -> int:
        """The number of videos."""
        return self.state.shape[0]

    @property
    def nbytes(self) -> int:
        """The size of the arrays in bytes."""
        return _nbytes(self._each)

    def part(self, rows: slice) -> VideoCache:
        """Returns the cache of some of the videos."""
        return self._each(lambda x: x[rows])

    def take(self, at: Tensor) -> VideoCache:
        """Returns the videos at the positions ``at`` (N,), which may repeat."""
        return self._each(lambda x: paddle.index_select(x, at))

    def chunks(self, size: int) -> Iterator[VideoCache]:
        """Yields all videos in order, at most ``size`` at a time, as copies: hold one at a time."""
        for start in range(0, self.size, size):
            yield self.part(slice(start, start + size))

    def _each(self, change: Change) -> VideoCache:
        return VideoCache(*(_map(change, item) for item in vars(self).values()))

    @classmethod
    def concatenate(cls, caches: Iterable[VideoCache]) -> VideoCache:
        """Returns one cache of all the videos, in order.

        The tensors are joined one after the other. Given an iterator, which keeps no cache, that
        takes the memory of all caches and of the largest tensor again, instead of all twice.
        """
        columns: list[list[Tensor]] = []
        for cache in caches:
            row: list[Tensor] = []
            cache._each(row.append)
            columns = columns or [[] for _ in row]
            for column, tensor in zip(columns, row, strict=True):
                column.append(tensor)
        joined = []
        while columns:
            joined.append(paddle.concat(columns.pop(0), axis=0))
        tensors = iter(joined)
        return cache._each(lambda _: next(tensors))


def _nbytes(each: Callable[[Change], Any]) -> int:
    """Returns the bytes of the tensors to which ``each`` applies a function."""
    sizes: list[int] = []
    each(lambda x: sizes.append(x.size * x.element_size()))
    return sum(sizes)


def _map(change: Change, item: Any) -> Any:
    """Applies ``change`` to a tensor, or to each tensor in a tuple."""
    if item is None or isinstance(item, Tensor):
        return None if item is None else change(item)
    changed = [_map(change, member) for member in item]
    return type(item)(*changed) if hasattr(item, "_fields") else tuple(changed)


def match_margins(logits: Tensor) -> Tensor:
    """Returns the margins (P,) float32 of match logits (P, 2): match minus no match."""
    logits = logits.astype("float32")
    return logits[:, 0] - logits[:, 1]


class MatchScorer:
    """Computes match margins from caches, for at most ``pair_batch`` pairs at a time."""

    def __init__(
        self,
        backbone: BertForMultiModalPreTraining,
        pair_batch: int,
        head: VectorHead | None = None,
    ) -> None:
        """``head``: computes the caches' vectors for the first stage."""
        self.backbone = backbone
        self.head = head
        self.pair_batch = max(1, pair_batch)

    @property
    def _first(self) -> TangledLayer | None:
        tangled = self.backbone.encoder.tangled
        return tangled[0] if len(tangled) else None

    @property
    def _first_rows(self) -> Streams[int | None]:
        """The rows that the first tangled layer computes: the pooled ones, if it is the last."""
        return self.backbone.encoder.tangled_rows(0, 1)

    @property
    def _actions_alone(self) -> bool:
        """Whether the action stream is the same for every caption."""
        return self._first is None or self._first.released

    def encode_captions(self, captions: Mapping[str, Tensor]) -> CaptionCache:
        """Computes what depends only on captions. Padding that all of them share is cut off."""
        self.backbone.check_batch(captions)
        used = captions["text_mask"].numpy().any(axis=0).nonzero()[0]
        length = int(used[-1]) + 1 if used.size else 1
        short = {key: ids[:, :length] for key, ids in captions.items()}
        return self.encode_words(short, captions["text_mask"].shape[1])

    def encode_words(self, captions: Mapping[str, Tensor], padded_length: int) -> CaptionCache:
        """Encodes captions as they are; ``padded_length``: their length before padding was cut."""
        text, bias = self.backbone.lower_text(captions)
        cache = self.caption_cache(text, bias, padded_length)
        vectors = self.head.caption_vectors(text, bias, captions) if self.head else None
        return replace(cache, vector=vectors)

    def caption_cache(self, text: Tensor, bias: Tensor, padded_length: int) -> CaptionCache:
        """Returns a cache without vectors from states (C, T, D) at the first tangled layer."""
        first = None
        if self._first:
            first = self._first.project("text", text, self._first_rows.text)
        return CaptionCache(text, bias, first, None, padded_length)

    def encode_videos(self, videos: Mapping[str, Tensor]) -> VideoCache:
        """Computes what depends only on videos."""
        self.backbone.check_batch(videos)
        regions, bias = self.backbone.lower_regions(videos)
        actions, action_bias = self.backbone.lower_actions(videos)
        cache = self.video_cache(regions, bias, actions, action_bias)
        if self.head is None:
            return cache
        states, biases = (regions, actions), (bias, action_bias)
        return replace(cache, vector=self.head.video_vectors(states, biases, videos))

    def video_cache(
        self, regions: Tensor, bias: Tensor, actions: Tensor | None, action_bias: Tensor
    ) -> VideoCache:
        """Returns a cache without vectors from states (V, R | A, D) at the first tangled layer."""
        queries: list[Tensor] = []
        first = message = pooled = None
        if self._actions_alone:
            start = self.backbone.encoder.first_tangled.actions
            queries, last = self.backbone.encoder.action_path(actions, action_bias, start)
            pooled, actions = self.backbone.action_pooler(last), None
        if self._first:
            query = queries[0] if queries else self._first.project("actions", actions).query
            first = self._first.project("regions", regions, self._first_rows.regions)
            message = self._first.region_message(query, first, bias)
        return VideoCache(
            regions, bias, first, message, tuple(queries), pooled, actions, action_bias, None
        )

    def margins(self, captions: CaptionCache, videos: VideoChunks) -> Tensor:
        """Returns the match logit minus the no-match logit, (C, V) float32.

        The gallery is always divided into the same chunks, so that a score does not depend on the
        number of processes. If a chunk leaves room for more pairs, several captions are matched
        with it at once.
        """
        columns = [self._chunk(captions, chunk) for chunk in videos.chunks(self.pair_batch)]
        return paddle.concat(columns, axis=1)

    def _chunk(self, captions: CaptionCache, videos: VideoCache) -> Tensor:
        """Returns the margins (C, V) of all captions with at most ``pair_batch`` videos."""
        together = max(1, self.pair_batch // videos.size)
        rows = []
        for start in range(0, captions.size, together):
            some = captions.part(slice(start, start + together))
            if some.size == 1:  # is not repeated, and the videos need not be copied
                rows.append(self.pair_margins(some, videos).unsqueeze(0))
            else:
                text_at, video_at = np.divmod(np.arange(some.size * videos.size), videos.size)
                texts = some.take(paddle.to_tensor(text_at))
                pairs = videos.take(paddle.to_tensor(video_at))
                rows.append(self.pair_margins(texts, pairs).reshape([some.size, videos.size]))
        return paddle.concat(rows, axis=0)

    def listed_margins(
        self, caption: CaptionCache, videos: VideoSource, positions: np.ndarray
    ) -> np.ndarray:
        """Returns the margins (N,) of one caption with the videos at ``positions`` (N,)."""
        chunks = [
            videos.take(positions[start : start + self.pair_batch])
            for start in range(0, len(positions), self.pair_batch)
        ]
        return np.concatenate([self.pair_margins(caption, chunk).numpy() for chunk in chunks])

    def pair_scores(
        self, captions: CaptionCache, videos: VideoCache, pairs: tuple[np.ndarray, np.ndarray]
    ) -> np.ndarray:
        """Returns the scores (P,) float32 of pairs as a retrieval test ranks them.

        That is the match margin and, with a retrieval head, its similarity times its weight.
        ``pairs``: the positions (P,) of captions and of videos. Raises WeightsError if no
        validation has chosen the weight.
        """
        scores, weight = [], 0.0 if self.head is None else self.head.known_weight
        for start in range(0, len(pairs[0]), self.pair_batch):
            part = slice(start, start + self.pair_batch)
            texts = captions.take(paddle.to_tensor(pairs[0][part]))
            clips = videos.take(paddle.to_tensor(pairs[1][part]))
            score = self.pair_margins(texts, clips)
            if self.head is not None and weight:
                score = score + self.head.similarities(texts.vector, clips.vector) * weight
            scores.append(score.numpy())
        return np.concatenate(scores)

    def pair_margins(
        self, captions: CaptionCache, videos: VideoCache, padded_regions: int | None = None
    ) -> Tensor:
        """Returns the margins (P,) of P videos with P captions, or with one, without copies.

        ``padded_regions``: the length of regions before padding was cut, if it was.
        """
        encoder = self.backbone.encoder
        text, regions, actions = encoder(
            Streams(captions.state, videos.state, videos.actions),
            Streams(captions.bias, videos.bias, videos.action_bias),
            PaddedLengths(captions.padded_length, padded_regions or videos.state.shape[1]),
            start=encoder.first_tangled,
            rows=1,
            known=self._known(captions, videos),
        )
        pooled = videos.pooled_actions
        if pooled is None:
            pooled = self.backbone.action_pooler(actions)
        return match_margins(self.backbone.match_pooled(text, regions, pooled))

    def _known(self, captions: CaptionCache, videos: VideoCache) -> list[Known]:
        """Returns the results that each tangled layer need not compute."""
        count = len(self.backbone.encoder.tangled)
        queries = videos.action_queries or [None] * count
        known = [Known(action_query=query) for query in queries]
        if known:
            known[0] = Known(captions.first, videos.first, queries[0], videos.region_message)
        return known
