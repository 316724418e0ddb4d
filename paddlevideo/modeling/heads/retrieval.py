"""A retrieval head that is trained: a vector for every caption and every clip.

Both are computed once, from the streams below the first tangled layer; a pair costs a dot product.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import Tensor, nn

from paddlevideo.modeling.accuracy import Hits, rank_hits, sum_hits
from paddlevideo.modeling.heads.vectors import VectorHead, masked_mean
from paddlevideo.modeling.layers import MASKED_SCORE, layer_norm, linear
from paddlevideo.modeling.transfer import gather_alone, to_tensors
from paddlevideo.registry import HEADS
from paddlevideo.utils.ranges import Count, NonNegative, Positive, Probability

if TYPE_CHECKING:
    from paddlevideo.modeling.backbones.actbert import BertForMultiModalPreTraining, LowerStates
    from paddlevideo.modeling.framework.base import Gather


class VectorProjection(nn.Layer):
    """Computes a unit vector: a linear map plus a small network on top of it, normalized."""

    def __init__(self, inputs: int, width: int, dropout: float) -> None:
        super().__init__()
        self.first = linear(inputs, width)
        self.second = linear(width, width)
        self.dropout = nn.Dropout(dropout)
        self.norm = layer_norm(width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs) -> (B, width) float32 of length 1."""
        linear_part = self.first(self.dropout(x))
        both = linear_part + self.second(F.gelu(linear_part))
        return F.normalize(self.norm(both.astype("float32")), axis=-1)


@HEADS.register()
class RetrievalHead(VectorHead):
    """Computes vectors whose dot products indicate which caption belongs to which clip.

    ``width``: size of the vectors; ``dropout``: rate on their inputs; ``temperature``: initial
    divisor of the dot products, which is learned. ``loss_weight``: factor on the head's loss.
    ``similarity_weight``: weight of the scaled similarity that a test adds to match margins;
    "auto": each validation chooses it, and it is saved with the weights. ``alone``: train only
    this head. ``first_stage``: see :class:`VectorHead`.
    """

    def __init__(
        self,
        width: Count = 256,
        dropout: Probability = 0.1,
        temperature: Positive = 0.05,
        loss_weight: NonNegative = 1.0,
        similarity_weight: NonNegative | Literal["auto"] = 1.0,
        alone: bool = False,
        first_stage: Literal["exact", "approximate"] = "exact",
    ) -> None:
        super().__init__(temperature, similarity_weight, first_stage)
        self.width, self.dropout = width, dropout
        self.loss_weight, self.alone = loss_weight, alone
        #: Gathers rows from all ranks; by default there is one.
        self.gather: Gather = gather_alone

    def build(self, backbone: BertForMultiModalPreTraining) -> None:
        """Creates the projections for the widths of the backbone's streams."""
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

    def targets(self, labels: np.ndarray) -> PairTargets | None:
        """Returns what ``loss`` compares with for ``pair_labels``, or None with several ranks."""
        return pair_targets(labels) if self.gather is gather_alone else None

    def loss(
        self, lower: LowerStates, labels: np.ndarray, targets: PairTargets | None, count: float
    ) -> tuple[Tensor, Hits]:
        """Returns the scalar loss of this rank's pairs and their hits, in both directions.

        It is the mean of the cross-entropies of a caption's positive clip and of a clip's positive
        caption, summed over this rank's ``counted`` clips and divided by ``count`` (Radford et al.
        2021, figure 3).

        Negatives come from all ranks. Every rank computes the loss of all ranks' pairs with the
        gradient of only its own vectors; the sum over ranks is then the gradient of one rank with
        all pairs. The value is the loss of this rank's pairs.

        Args:
            lower: the streams below the first tangled layer.
            labels: what ``pair_labels`` returned for this rank's pairs.
            targets: what :meth:`targets` returned for them, as tensors.
            count: the divisor of the sum.
        """
        (text, *visual), (text_bias, *visual_bias) = lower
        texts, local_rows = self._gather(self.caption_vectors(text, text_bias))
        videos, _ = self._gather(self.video_vectors(tuple(visual), tuple(visual_bias)))
        if targets is None:
            everyones = self._gather(paddle.to_tensor(labels))[0].numpy()
            targets = to_tensors(pair_targets(everyones))
        scale = self.scale  # every rank computes its whole gradient: keep this rank's share
        scale = scale.detach() + (scale - scale.detach()) * (len(labels) / len(texts))
        # float32, see Float32Linear
        scores = paddle.addmm(targets.masked, texts * scale, videos.t())
        losses = -paddle.diagonal(F.log_softmax(scores, axis=0) + F.log_softmax(scores, axis=1))
        losses = losses * targets.counted
        loss = losses[local_rows].sum()
        if len(losses) > len(labels):
            total = losses.sum()
            loss = loss.detach() + total - total.detach()
        counted = targets.counted[local_rows].astype("bool"), int(labels[:, -1].sum())
        hits = retrieval_hits(scores, local_rows, *counted)
        return loss * (0.5 * self.loss_weight / count), hits

    def _gather(self, rows: Tensor) -> tuple[Tensor, slice]:
        """Returns all ranks' rows, with gradient for this rank's, and the slice of the latter."""
        parts, rank = self.gather(rows)
        if len(parts) == 1:
            return rows, slice(0, len(rows))
        parts[rank] = rows
        start = sum(len(part) for part in parts[:rank])
        return paddle.concat(parts), slice(start, start + len(rows))


class PairTargets(NamedTuple):
    """What the scores (N, N) of all ranks' pairs are compared with."""

    masked: Any  # (N, N) float32, added: equal captions are not negatives of each other
    counted: Any  # (N,) float32: 1 for clips with a matching caption, else 0


def pair_labels(words: np.ndarray, counted: np.ndarray) -> np.ndarray:
    """Returns (B, T + 1) int64: the ids (B, T) of captions and which pairs match, (B,) bool."""
    return np.column_stack([words, counted]).astype(np.int64)


def pair_targets(labels: np.ndarray) -> PairTargets:
    """Returns the arrays for what ``pair_labels`` returned for the N pairs of all ranks."""
    _, caption = np.unique(labels[:, :-1], axis=0, return_inverse=True)
    duplicates = (caption.reshape(-1, 1) == caption.ravel()).astype(np.float32)
    np.fill_diagonal(duplicates, 0.0)
    return PairTargets(duplicates * np.float32(MASKED_SCORE), labels[:, -1].astype(np.float32))


@paddle.no_grad()
def retrieval_hits(scores: Tensor, local_rows: slice, counted: Tensor, total: int) -> Hits:
    """Counts the hits of this rank's pairs among all ranks' scores (N, N), in both directions.

    ``local_rows``: the slice of this rank's pairs; ``counted`` (n,) bool: those to count, of which
    there are ``total``.
    """
    positive = paddle.diagonal(scores)[local_rows]
    captions = rank_hits(scores[local_rows], positive.unsqueeze(1), counted, total, axis=1)
    clips = rank_hits(scores[:, local_rows], positive.unsqueeze(0), counted, total, axis=0)
    return sum_hits(captions, clips)
