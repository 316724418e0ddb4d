"""A light first stage of retrieval: a vector for every caption and every clip.

Both come from what the streams hold below the first tangled layer, so that each is computed once
and a pair costs one dot product.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import Tensor, nn

from paddlevideo.modeling.accuracy import Hits, added, winner_hits
from paddlevideo.modeling.heads.vectors import VectorHead, masked_mean
from paddlevideo.modeling.layers import MASKED_SCORE, layer_norm, linear
from paddlevideo.registry import HEADS
from paddlevideo.utils.ranges import Count, CountOrZero, NonNegative, Positive, Probability

if TYPE_CHECKING:
    from paddlevideo.modeling.backbones.actbert import BertForMultiModalPreTraining, LowerStates
    from paddlevideo.modeling.framework.base import Gather


class VectorProjection(nn.Layer):
    """To a unit vector: a linear map and a small network on top of it, added and normalised."""

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

    ``width`` of the vectors; ``dropout`` on what they are made of; ``temperature``: what the dot
    products are divided by at first, learned from there. ``loss_weight`` multiplies the head's
    loss. ``similarity_weight``: how much of the scaled similarity a test adds to match margins;
    "auto": each validation chooses it, and the weights carry it. ``alone``: train this head and
    nothing else. ``faiss_from``: galleries of so many videos are searched with faiss.
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
        #: How rows come from all ranks; a world of one by default.
        self.gather: Gather = lambda rows: ([rows], 0)

    def build(self, backbone: BertForMultiModalPreTraining) -> None:
        """Makes the projections, once the streams' widths are known."""
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
        seen = [masked_mean(*pair) for pair in zip(states, bias, strict=True)]
        return self.video(paddle.concat(seen, axis=-1))

    def loss(
        self, lower: LowerStates, words: np.ndarray, own: np.ndarray, divisor: float
    ) -> tuple[Tensor, Hits]:
        """Cross-entropy of the right clip for a caption and of the right caption for a clip.

        And how often the right one of this rank's pairs has the highest score, both ways.

        ``words`` (B, T): the captions' ids; equal captions are no negatives of each other.
        ``own`` (B,): the clip has its own caption. The mean of both directions over ``own`` clips,
        summed and divided by ``divisor`` (Radford et al. 2021, figure 3). Scalar.

        Negatives come from all ranks. Every rank computes the loss of all ranks' pairs with the
        gradient of its own vectors alone; the ranks' sum is then the gradient of one rank with
        all the pairs. The value is the loss of this rank's own pairs.
        """
        (text, *seen), (text_bias, *seen_bias) = lower
        texts, mine = self._gather(self.caption_vectors(text, text_bias))
        videos, _ = self._gather(self.video_vectors(tuple(seen), tuple(seen_bias)))
        labels, _ = self._gather(paddle.to_tensor(np.column_stack([words, own]).astype("int64")))
        every_own, every_word = labels[:, -1].numpy() > 0, labels[:, :-1].numpy()
        scale = self.scale  # every rank computes all of its gradient: its share is a part of it
        scale = scale.detach() + (scale - scale.detach()) * (len(own) / len(labels))
        scores = paddle.matmul(texts, videos, transpose_y=True) * scale
        _, caption = np.unique(every_word, axis=0, return_inverse=True)
        left_out = (caption.reshape(-1, 1) == caption.ravel()).astype("float32")
        np.fill_diagonal(left_out, 0.0)
        scores = scores + paddle.to_tensor(left_out) * MASKED_SCORE
        right = paddle.diagonal(F.log_softmax(scores, axis=0) + F.log_softmax(scores, axis=1))
        right = -right * paddle.to_tensor(every_own.astype("float32"))
        loss, whole = right[mine].sum(), right.sum()
        if len(right) > len(own):
            loss = loss.detach() + whole - whole.detach()
        return loss * (0.5 * self.loss_weight / divisor), hits(scores, mine, own)

    def _gather(self, rows: Tensor) -> tuple[Tensor, slice]:
        """All ranks' rows, this rank's with their gradient, and where those stand."""
        parts, place = self.gather(rows)
        parts[place] = rows
        start = sum(len(part) for part in parts[:place])
        together = paddle.concat(parts) if len(parts) > 1 else rows
        return together, slice(start, start + len(rows))


@paddle.no_grad()
def hits(scores: Tensor, mine: slice, own: np.ndarray) -> Hits:
    """How often the right pair wins among all ranks' (N, N), both ways.

    ``mine``: where this rank's pairs stand; ``own`` (n,) bool: which of them are right ones.
    """
    right = paddle.diagonal(scores)[mine]
    captions = winner_hits(scores[mine], right.unsqueeze(1), own, axis=1)
    clips = winner_hits(scores[:, mine], right.unsqueeze(0), own, axis=0)
    return added(captions, clips)
