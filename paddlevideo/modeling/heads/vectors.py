"""What every first stage of retrieval has: unit vectors, and how their similarity counts.

C captions, V videos.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import Tensor, nn

if TYPE_CHECKING:
    from paddlevideo.modeling.backbones.actbert import BertForMultiModalPreTraining

LARGEST_SCALE = 100.0


class VectorHead(nn.Layer):
    """A vector for every caption and every clip, each computed once: a pair costs a dot product.

    ``temperature``: what dot products are divided by, or start to be, if it is learned.
    ``similarity_weight``: how much of the scaled similarity a test adds to match margins;
    "auto": each validation chooses it, and the weights carry it. ``faiss_from``: galleries of so
    many videos are searched with faiss.
    """

    #: Length of the vectors, known once the head is built.
    width: int
    #: Whether this head is trained and nothing else is.
    alone = False
    #: Whether there is a loss to train it by.
    learns = True

    def __init__(
        self, temperature: float, similarity_weight: float | Literal["auto"], faiss_from: int
    ) -> None:
        super().__init__()
        self.similarity_weight, self.faiss_from = similarity_weight, faiss_from
        if similarity_weight == "auto":
            self.register_buffer("chosen_weight", paddle.full([1], float("nan")))
        start = nn.initializer.Constant(math.log(1.0 / temperature))
        self.log_scale = self.create_parameter([], default_initializer=start)

    def build(self, backbone: BertForMultiModalPreTraining) -> None:
        """Makes what depends on the backbone's sizes. Raises ConfigError if they do not fit."""
        raise NotImplementedError(f"{type(self).__name__} must define build")

    def caption_vectors(self, text: Tensor, bias: Tensor, captions: Mapping[str, Tensor]) -> Tensor:
        """Unit vectors (C, width).

        ``text`` (C, T, D): what the captions are below the first tangled layer, with their
        attention ``bias``; ``captions``: their ids and masks.
        """
        raise NotImplementedError(f"{type(self).__name__} must define caption_vectors")

    def video_vectors(
        self,
        states: tuple[Tensor, Tensor],
        bias: tuple[Tensor, Tensor],
        videos: Mapping[str, Tensor],
    ) -> Tensor:
        """Unit vectors (V, width).

        ``states``: what regions and actions are below the first tangled layer, with their
        attention ``bias``; ``videos``: their features and masks.
        """
        raise NotImplementedError(f"{type(self).__name__} must define video_vectors")

    @property
    def scale(self) -> Tensor:
        """What similarities are multiplied by."""
        return paddle.clip(paddle.exp(self.log_scale), max=LARGEST_SCALE)

    @property
    def weight(self) -> float:
        """How much of the similarity is added to match margins; NaN: nobody has chosen it."""
        if self.similarity_weight == "auto":
            return self.chosen_weight.item()
        return float(self.similarity_weight)

    def choose(self, weight: float) -> None:
        """Keeps the weight that a validation chose, if it was to choose one."""
        if self.similarity_weight == "auto":
            self.chosen_weight.set_value(np.array([weight], np.float32))

    def similarities(self, texts: Tensor, videos: Tensor) -> Tensor:
        """Scaled dot products (C, V) of vectors (C, width) and (V, width)."""
        return paddle.matmul(texts, videos, transpose_y=True) * self.scale


def masked_mean(x: Tensor, bias: Tensor) -> Tensor:
    """Mean of (B, T, D) over the positions that ``bias`` (B, 1, 1, T) leaves in; (B, D)."""
    weights = F.softmax(bias[:, 0].astype(x.dtype), axis=-1)  # B, 1, T: equal where not masked
    return paddle.matmul(weights, x)[:, 0]
