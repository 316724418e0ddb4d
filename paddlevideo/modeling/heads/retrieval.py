"""A light first stage of retrieval: a vector for every caption and every clip.

Both come from what the streams hold below the first tangled layer, so that each is computed once
and a pair costs one dot product.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import Tensor, nn

from paddlevideo.modeling.layers import MASKED_SCORE, layer_norm, linear
from paddlevideo.registry import HEADS

if TYPE_CHECKING:
    from paddlevideo.modeling.backbones.actbert import LowerStates

LARGEST_SCALE = 100.0


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
class RetrievalHead(nn.Layer):
    """Vectors whose dot products tell which caption belongs to which clip.

    ``width`` of the vectors; ``dropout`` on what they are made of; ``temperature``: what the dot
    products are divided by at first, learned from there. ``loss_weight`` multiplies the head's
    loss; ``similarity_weight``: how much of the scaled similarity a test adds to match margins.
    """

    def __init__(
        self,
        width: int = 256,
        dropout: float = 0.1,
        temperature: float = 0.05,
        loss_weight: float = 1.0,
        similarity_weight: float = 1.0,
    ) -> None:
        super().__init__()
        self.width, self.dropout = width, dropout
        self.loss_weight, self.similarity_weight = loss_weight, similarity_weight
        start = nn.initializer.Constant(math.log(1.0 / temperature))
        self.log_scale = self.create_parameter([], default_initializer=start)

    def build(self, text_width: int, region_width: int, action_width: int) -> None:
        """Makes the projections, once the streams' widths are known."""
        self.text = VectorProjection(text_width, self.width, self.dropout)
        self.video = VectorProjection(region_width + action_width, self.width, self.dropout)

    @property
    def scale(self) -> Tensor:
        """What similarities are multiplied by."""
        return paddle.clip(paddle.exp(self.log_scale), max=LARGEST_SCALE)

    def text_vector(self, text: Tensor, bias: Tensor) -> Tensor:
        """States (B, T, D) and attention bias (B, 1, 1, T) -> (B, width)."""
        return self.text(masked_mean(text, bias))

    def video_vector(
        self, regions: Tensor, region_bias: Tensor, actions: Tensor, action_bias: Tensor
    ) -> Tensor:
        """States of regions (B, R, D) and actions (B, A, D) -> (B, width)."""
        seen = [masked_mean(regions, region_bias), masked_mean(actions, action_bias)]
        return self.video(paddle.concat(seen, axis=-1))

    def similarities(self, texts: Tensor, videos: Tensor) -> Tensor:
        """Scaled dot products (C, V) of vectors (C, width) and (V, width)."""
        return paddle.matmul(texts, videos, transpose_y=True) * self.scale

    def loss(self, lower: LowerStates, same: np.ndarray, own: np.ndarray, divisor: float) -> Tensor:
        """Cross-entropy of the right clip for a caption and of the right caption for a clip.

        ``same`` (B, B): caption j has the words of clip i's own, so it is no negative; ``own``
        (B,): the clip has its own caption. The mean of both directions over ``own`` clips, summed
        and divided by ``divisor`` (Radford et al. 2021, figure 3). Scalar.
        """
        (text, regions, actions), (text_bias, region_bias, action_bias) = lower
        scores = self.similarities(
            self.text_vector(text, text_bias),
            self.video_vector(regions, region_bias, actions, action_bias),
        )
        left_out = same.astype("float32")
        np.fill_diagonal(left_out, 0.0)
        scores = scores + paddle.to_tensor(left_out) * MASKED_SCORE
        right = paddle.diagonal(F.log_softmax(scores, axis=0) + F.log_softmax(scores, axis=1))
        return -(right * paddle.to_tensor(own.astype("float32"))).sum() * (
            0.5 * self.loss_weight / divisor
        )


def masked_mean(x: Tensor, bias: Tensor) -> Tensor:
    """Mean of (B, T, D) over the positions that ``bias`` (B, 1, 1, T) leaves in; (B, D)."""
    weights = F.softmax(bias[:, 0].astype(x.dtype), axis=-1)  # B, 1, T: equal where not masked
    return paddle.matmul(weights, x)[:, 0]
