"""A first stage of retrieval that is trained: a vector for every caption and every clip.

Both are computed from the streams below the first tangled layer, once each; a pair costs one dot
product.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import Tensor, nn

from paddlevideo.modeling.accuracy import Hits, rank_hits, sum_hits
from paddlevideo.modeling.heads.vectors import VectorHead, masked_mean
from paddlevideo.modeling.layers import MASKED_SCORE, layer_norm, linear
from paddlevideo.registry import HEADS
from paddlevideo.utils.ranges import Count, CountOrZero, NonNegative, Positive, Probability

if TYPE_CHECKING:
    from paddlevideo.modeling.backbones.actbert import BertForMultiModalPreTraining, LowerStates
    from paddlevideo.modeling.framework.base import Gather


class VectorProjection(nn.Layer):
    """A unit vector: a linear map plus a small network on top of it, normalised."""

    def __init__(self, inputs: int, width: int, dropout: float) -> None:
        super().__init__()
        self.first = linear(inputs, width)
        self.second = linear(width, width)
        self.dropout = nn.Dropout(dropout)
        self.norm = layer_norm(width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs) -> (B, width) of length 1."""
        linear_part = self.first(self.dropout(x))
        return F.normalize(self.norm(linear_part + self.second(F.gelu(linear_part))), axis=-1)


@HEADS.register()
class RetrievalHead(VectorHead):
    """Vectors whose dot products tell which caption belongs to which clip.

    ``width`` of the vectors; ``dropout`` on their inputs; ``temperature``: the initial divisor of
    the dot products, learned from there. ``loss_weight`` multiplies the head's loss.
    ``similarity_weight``: weight of the scaled similarity that a test adds to match margins;
    "auto": each validation chooses it, and it is saved with the weights. ``alone``: train this
    head and nothing else. ``faiss_from``: smallest number of videos that faiss searches.
    """

    def __init__(
        self,
        width: Count = 256,
        dropout: Probability = 0.1,
        temperature: Positive = 0.05,
        loss_weight: NonNegative = 1.0,
        similarity_weight: NonNegative | Literal["auto"] = 1.0,
        alone: bool = False,
        faiss_from: CountOrZero = 50_000,
    ) -> None:
        super().__init__(temperature, similarity_weight, faiss_from)
        self.width, self.dropout = width, dropout
        self.loss_weight, self.alone = loss_weight, alone
        #: Gathers rows from all ranks; by default a world of one.
        self.gather: Gather = lambda rows: ([rows], 0)

    def build(self, backbone: BertForMultiModalPreTraining) -> None:
        """Makes the projections for the backbone's stream widths."""
        text, regions, actions = backbone.widths
        self.text = VectorProjection(text, self.width, self.dropout)
        self.video = VectorProjection(regions + actions, self.width, self.dropout)

    def caption_vectors(
        self, text: Tensor, bias: Tensor, captions: Mapping[str, Tensor] | None = None
    ) -> Tensor:
        """States (C, T, D) and attention bias (C, 1, 1, T) -> (C, width)."""
        return self.text(masked_mean(text, bias))

    def video_vectors(
        self,
        states: tuple[Tensor, Tensor],
        bias: tuple[Tensor, Tensor],
        videos: Mapping[str, Tensor] | None = None,
    ) -> Tensor:
        """States of regions (V, R, D) and actions (V, A, D) -> (V, width)."""
        means = [masked_mean(*pair) for pair in zip(states, bias, strict=True)]
        return self.video(paddle.concat(means, axis=-1))

    def loss(
        self, lower: LowerStates, words: np.ndarray, counted: np.ndarray, count: float
    ) -> tuple[Tensor, Hits]:
        """Returns the scalar loss of this rank's pairs and their hits, in both directions.

        The cross-entropies of the positive clip of a caption and of the positive caption of a
        clip; their mean is summed over this rank's ``counted`` clips and divided by ``count``
        (Radford et al. 2021, figure 3).

        Negatives come from all ranks. Every rank computes the loss of all ranks' pairs with the
        gradient of its own vectors alone; the sum over ranks is then the gradient of one rank
        with all pairs. The value is the loss of this rank's pairs.

        Args:
            lower: the streams below the first tangled layer.
            words: (B, T) ids of the captions; equal captions are not negatives of each other.
            counted: (B,) bool, clips with their own caption.
            count: what the sum is divided by.
        """
        (text, *visual), (text_bias, *visual_bias) = lower
        texts, own_rows = self._gather(self.caption_vectors(text, text_bias))
        videos, _ = self._gather(self.video_vectors(tuple(visual), tuple(visual_bias)))
        labels, _ = self._gather(
            paddle.to_tensor(np.column_stack([words, counted]).astype("int64"))
        )
        labels = labels.numpy()
        scale = self.scale  # every rank computes all of its gradient: count this rank's part of it
        scale = scale.detach() + (scale - scale.detach()) * (len(counted) / len(labels))
        scores = paddle.matmul(texts, videos, transpose_y=True) * scale
        _, caption = np.unique(labels[:, :-1], axis=0, return_inverse=True)
        duplicates = (caption.reshape(-1, 1) == caption.ravel()).astype("float32")
        np.fill_diagonal(duplicates, 0.0)
        scores = scores + paddle.to_tensor(duplicates) * MASKED_SCORE
        losses = -paddle.diagonal(F.log_softmax(scores, axis=0) + F.log_softmax(scores, axis=1))
        losses = losses * paddle.to_tensor(labels[:, -1].astype("float32"))
        loss = losses[own_rows].sum()
        if len(losses) > len(counted):
            total = losses.sum()
            loss = loss.detach() + total - total.detach()
        return loss * (0.5 * self.loss_weight / count), retrieval_hits(scores, own_rows, counted)

    def _gather(self, rows: Tensor) -> tuple[Tensor, slice]:
        """Returns all ranks' rows, this rank's with their gradient, and where those are."""
        parts, rank = self.gather(rows)
        if len(parts) == 1:
            return rows, slice(0, len(rows))
        parts[rank] = rows
        start = sum(len(part) for part in parts[:rank])
        return paddle.concat(parts), slice(start, start + len(rows))


@paddle.no_grad()
def retrieval_hits(scores: Tensor, own_rows: slice, counted: np.ndarray) -> Hits:
    """Counts the hits of this rank's pairs among all ranks' scores (N, N), in both directions.

    ``own_rows``: where this rank's pairs are; ``counted`` (n,) bool: which of them count.
    """
    positive = paddle.diagonal(scores)[own_rows]
    captions = rank_hits(scores[own_rows], positive.unsqueeze(1), counted, axis=1)
    clips = rank_hits(scores[:, own_rows], positive.unsqueeze(0), counted, axis=0)
    return sum_hits(captions, clips)
