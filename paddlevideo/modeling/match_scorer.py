"""Scores captions against videos: what depends on one side alone is computed once.

C captions, V videos, T words, R regions, A actions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import paddle
from paddle import Tensor

from paddlevideo.modeling.backbones.actbert import BertForMultiModalPreTraining
from paddlevideo.modeling.backbones.tangled import PaddedLengths, Streams


@dataclass(frozen=True)
class CaptionCache:
    """The text stream below the first tangled layer, for C captions."""

    text: Tensor  # C, T, D
    text_bias: Tensor  # C, 1, 1, T
    padded_length: int


@dataclass(frozen=True)
class VideoCache:
    """Regions and actions below the first tangled layer, for V videos."""

    regions: Tensor  # V, R, D
    region_bias: Tensor  # V, 1, 1, R
    actions: Tensor  # V, A, D
    action_bias: Tensor  # V, 1, 1, A

    @property
    def size(self) -> int:
        """How many videos the cache holds."""
        return self.regions.shape[0]

    @classmethod
    def concatenate(cls, caches: Sequence[VideoCache]) -> VideoCache:
        """One cache of all the videos, in order."""
        return cls(
            *(
                paddle.concat([getattr(cache, field.name) for cache in caches], axis=0)
                for field in fields(cls)
            )
        )


class MatchScorer:
    """Match margins of caption and video caches, ``pair_batch`` pairs at a time."""

    def __init__(self, backbone: BertForMultiModalPreTraining, pair_batch: int) -> None:
        self.backbone = backbone
        self.pair_batch = max(1, pair_batch)

    def encode_captions(self, captions: Mapping[str, Tensor]) -> CaptionCache:
        """Text layers up to the first tangled one; padding that all captions share is cut off."""
        self.backbone.check_batch(captions)
        used = captions["text_mask"].numpy().any(axis=0).nonzero()[0]
        length = int(used[-1]) + 1
        text, bias = self.backbone.embed_text({k: x[:, :length] for k, x in captions.items()})
        text = self._below_first_tangled("text", text, bias)
        return CaptionCache(text, bias, padded_length=captions["text_mask"].shape[1])

    def encode_videos(self, videos: Mapping[str, Tensor]) -> VideoCache:
        """Region and action layers up to the first tangled one."""
        self.backbone.check_batch(videos)
        regions, region_bias = self.backbone.embed_regions(videos)
        actions, action_bias = self.backbone.embed_actions(videos)
        return VideoCache(
            self._below_first_tangled("regions", regions, region_bias),
            region_bias,
            self._below_first_tangled("actions", actions, action_bias),
            action_bias,
        )

    def _below_first_tangled(self, stream: str, x: Tensor, bias: Tensor) -> Tensor:
        encoder = self.backbone.encoder
        start = getattr(self.backbone.fixed, stream)
        return encoder.run(stream, x, bias, start, getattr(encoder.first_tangled, stream))

    def margins(self, captions: CaptionCache, videos: VideoCache) -> Tensor:
        """Logit of match minus logit of no match, (C, V) float32.

        The pairs are cut into chunks of one caption each, always at the same places of the
        gallery, so that a score depends on neither the number of processes nor the batch.
        """
        rows = []
        for caption in range(captions.text.shape[0]):
            chunks = [
                self._pair_margins(captions, caption, videos, start)
                for start in range(0, videos.size, self.pair_batch)
            ]
            rows.append(paddle.concat(chunks))
        return paddle.stack(rows)

    def _pair_margins(
        self, captions: CaptionCache, caption: int, videos: VideoCache, start: int
    ) -> Tensor:
        part = slice(start, start + self.pair_batch)
        regions = videos.regions[part]
        pairs = regions.shape[0]

        def repeat(x: Tensor) -> Tensor:
            return x[caption : caption + 1].expand([pairs, *x.shape[1:]])

        states = Streams(repeat(captions.text), regions, videos.actions[part])
        bias = Streams(
            repeat(captions.text_bias), videos.region_bias[part], videos.action_bias[part]
        )
        padded = PaddedLengths(captions.padded_length, regions.shape[1])
        encoder = self.backbone.encoder
        states = encoder(states, bias, padded, start=encoder.first_tangled, rows=1)
        logits = self.backbone.match(states).astype("float32")
        return logits[:, 0] - logits[:, 1]
