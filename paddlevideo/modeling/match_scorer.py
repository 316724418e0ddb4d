"""Scores captions against videos: what depends on one side alone is computed once.

C captions, V videos, P pairs at once; T words, R regions, A actions; W the tangled width.

Once a caption: the text layers below the first tangled layer, and its projections in that layer.
Once a video: the same of the regions, what its actions read in them, and, with released tangling,
the whole action stream, which never sees the text. Only the pooled first positions go through the
last layers, and no prediction head is evaluated. The scores are those of the plain forward.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

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
from paddlevideo.modeling.heads.retrieval import RetrievalHead

Change = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class CaptionCache:
    """What C captions contribute to their scores."""

    state: Tensor  # C, T, D
    bias: Tensor  # C, 1, 1, T
    first: Projected | None  # in the first tangled layer, C, T, W each
    vector: Tensor | None  # of the retrieval head, C, width
    padded_length: int

    @property
    def size(self) -> int:
        """How many captions the cache holds."""
        return self.state.shape[0]

    def part(self, rows: slice) -> CaptionCache:
        """The cache of some of the captions."""
        return self._map(lambda x: x[rows])

    def take(self, at: Tensor) -> CaptionCache:
        """The captions at the places ``at`` (N,), which may repeat."""
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
    """What V videos contribute to their scores.

    Released tangling: ``action_queries`` of every tangled layer and the ``pooled_actions``;
    otherwise the state of the action stream, which goes on for every pair.
    """

    state: Tensor  # V, R, D
    bias: Tensor  # V, 1, 1, R
    first: Projected | None  # in the first tangled layer, V, R, W each
    region_message: Message | None  # in the first tangled layer, V, A, W each
    action_queries: tuple[Tensor, ...]  # V, A, W each
    pooled_actions: Tensor | None  # V, W
    actions: Tensor | None  # V, A, D
    action_bias: Tensor  # V, 1, 1, A
    vector: Tensor | None  # of the retrieval head, V, width

    @property
    def size(self) -> int:
        """How many videos the cache holds."""
        return self.state.shape[0]

    def part(self, rows: slice) -> VideoCache:
        """The cache of some of the videos."""
        return VideoCache(*(_map(lambda x: x[rows], item) for item in vars(self).values()))

    def take(self, at: Tensor) -> VideoCache:
        """The videos at the places ``at`` (N,), which may repeat."""

        def take(x: Tensor) -> Tensor:
            return paddle.index_select(x, at)

        return VideoCache(*(_map(take, item) for item in vars(self).values()))

    @classmethod
    def concatenate(cls, caches: Sequence[VideoCache]) -> VideoCache:
        """One cache of all the videos, in order."""
        fields = zip(*(vars(cache).values() for cache in caches), strict=True)
        return cls(*(_join(items) for items in fields))


def _map(change: Change, item: Any) -> Any:
    """``change`` of a tensor, or of each tensor in a tuple."""
    if item is None or isinstance(item, Tensor):
        return None if item is None else change(item)
    changed = [_map(change, member) for member in item]
    return type(item)(*changed) if hasattr(item, "_fields") else tuple(changed)


def _join(items: Sequence[Any]) -> Any:
    """Concatenates tensors, or the tensors of tuples, along the first axis."""
    first = items[0]
    if first is None or isinstance(first, Tensor):
        return None if first is None else paddle.concat(list(items), axis=0)
    joined = [_join(members) for members in zip(*items, strict=True)]
    return type(first)(*joined) if hasattr(first, "_fields") else tuple(joined)


class MatchScorer:
    """Match margins of caption and video caches, at most ``pair_batch`` pairs at a time."""

    def __init__(
        self,
        backbone: BertForMultiModalPreTraining,
        pair_batch: int,
        head: RetrievalHead | None = None,
    ) -> None:
        """``head``: gives the caches the vectors whose similarity is added to the margins."""
        self.backbone = backbone
        self.head = head
        self.pair_batch = max(1, pair_batch)

    @property
    def _first(self) -> TangledLayer | None:
        tangled = self.backbone.encoder.tangled
        return tangled[0] if len(tangled) else None

    @property
    def _actions_alone(self) -> bool:
        """Whether the action stream is the same for every caption."""
        return self._first is None or self._first.released

    def encode_captions(self, captions: Mapping[str, Tensor]) -> CaptionCache:
        """What depends on captions alone. Padding that all of them share is cut off."""
        self.backbone.check_batch(captions)
        used = captions["text_mask"].numpy().any(axis=0).nonzero()[0]
        length = int(used[-1]) + 1 if used.size else 1
        text, bias = self.backbone.embed_text({k: x[:, :length] for k, x in captions.items()})
        text = self._below_first_tangled("text", text, bias)
        return self.caption_cache(text, bias, padded_length=captions["text_mask"].shape[1])

    def caption_cache(self, text: Tensor, bias: Tensor, padded_length: int) -> CaptionCache:
        """The same from states (C, T, D) that have come to the first tangled layer."""
        first = self._first.project("text", text) if self._first else None
        vector = self.head.text_vector(text, bias) if self.head else None
        return CaptionCache(text, bias, first, vector, padded_length)

    def encode_videos(self, videos: Mapping[str, Tensor]) -> VideoCache:
        """What depends on videos alone."""
        self.backbone.check_batch(videos)
        regions, bias = self.backbone.embed_regions(videos)
        regions = self._below_first_tangled("regions", regions, bias)
        embedded, action_bias = self.backbone.embed_actions(videos)
        actions = self._below_first_tangled("actions", embedded, action_bias)
        return self.video_cache(regions, bias, actions, action_bias)

    def video_cache(
        self, regions: Tensor, bias: Tensor, actions: Tensor | None, action_bias: Tensor
    ) -> VideoCache:
        """The same from states (V, R | A, D) that have come to the first tangled layer."""
        vector = self.head.video_vector(regions, bias, actions, action_bias) if self.head else None
        queries: list[Tensor] = []
        first = message = pooled = None
        if self._actions_alone:
            start = self.backbone.encoder.first_tangled.actions
            queries, last = self.backbone.encoder.action_path(actions, action_bias, start)
            pooled, actions = self.backbone.action_pooler(last), None
        if self._first:
            query = queries[0] if queries else self._first.project("actions", actions).query
            first = self._first.project("regions", regions)
            message = self._first.region_message(query, first, bias)
        return VideoCache(
            regions, bias, first, message, tuple(queries), pooled, actions, action_bias, vector
        )

    def _below_first_tangled(self, stream: str, x: Tensor, bias: Tensor) -> Tensor:
        encoder = self.backbone.encoder
        start = getattr(self.backbone.fixed, stream)
        return encoder.run(stream, x, bias, start, getattr(encoder.first_tangled, stream))

    def margins(self, captions: CaptionCache, videos: VideoCache) -> Tensor:
        """Logit of match minus logit of no match, (C, V) float32.

        With a retrieval head its similarity, weighted, is added.

        Each caption meets the gallery in chunks that always begin at the same videos, so that a
        score depends on neither the number of processes nor the captions beside it.
        """
        each = [captions.part(slice(number, number + 1)) for number in range(captions.size)]
        columns = []
        for start in range(0, videos.size, self.pair_batch):
            chunk = videos.part(slice(start, start + self.pair_batch))  # a copy: one at a time
            columns.append(paddle.stack([self.pair_margins(caption, chunk) for caption in each]))
        margins = paddle.concat(columns, axis=1)
        if self.head is None or not self.head.similarity_weight:
            return margins
        similarities = self.head.similarities(captions.vector, videos.vector)
        return margins + self.head.similarity_weight * similarities

    def pair_margins(
        self, captions: CaptionCache, videos: VideoCache, padded_regions: int | None = None
    ) -> Tensor:
        """Margins (P,) of P videos with as many captions, or with one, which stays one row long.

        ``padded_regions``: to what length regions were padded, if padding was cut off.
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
        logits = self.backbone.match_pooled(text, regions, pooled).astype("float32")
        return logits[:, 0] - logits[:, 1]

    def _known(self, captions: CaptionCache, videos: VideoCache) -> list[Known]:
        """What each tangled layer need not compute."""
        count = len(self.backbone.encoder.tangled)
        queries = videos.action_queries or [None] * count
        known = [Known(action_query=query) for query in queries]
        if known:
            known[0] = Known(captions.first, videos.first, queries[0], videos.region_message)
        return known
