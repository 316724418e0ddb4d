"""The base class of retrieval heads: unit vectors, and the weight of their similarity.

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

from paddlevideo.utils.errors import WeightsError

if TYPE_CHECKING:
    from paddlevideo.modeling.backbones.actbert import BertForMultiModalPreTraining

LARGEST_SCALE = 100.0


class VectorHead(nn.Layer):
    """Computes one vector per caption and per clip; a pair costs a dot product.

    ``temperature``: divisor of the dot products, or its initial value if it is learned.
    ``similarity_weight``: weight of the scaled similarity that a test adds to match margins;
    "auto": each validation chooses it, and it is saved with the weights. ``first_stage``: "exact"
    compares a vector with all others, "approximate" with those near it.
    """

    #: Size of the vectors, known once the head is built.
    width: int
    #: Whether only this head is trained.
    alone = False

    def __init__(
        self,
        temperature: float,
        similarity_weight: float | Literal["auto"],
        first_stage: Literal["exact", "approximate"] = "exact",
    ) -> None:
        super().__init__()
        self.similarity_weight = similarity_weight
        self.first_stage = first_stage
        if similarity_weight == "auto":
            self.register_buffer("chosen_weight", paddle.full([1], float("nan")))
        start = nn.initializer.Constant(math.log(1.0 / temperature))
        self.log_scale = self.create_parameter([], default_initializer=start)

    def build(self, backbone: BertForMultiModalPreTraining) -> None:
        """Creates the layers that depend on the backbone's sizes. Raises ConfigError."""
        raise NotImplementedError(f"{type(self).__name__} must define build")

    def caption_vectors(self, text: Tensor, bias: Tensor, captions: Mapping[str, Tensor]) -> Tensor:
        """Returns unit vectors (C, width).

        ``text`` (C, T, D): the captions' states below the first tangled layer, with their
        attention ``bias``; ``captions``: their ids and masks.
        """
        raise NotImplementedError(f"{type(self).__name__} must define caption_vectors")

    def video_vectors(
        self,
        states: tuple[Tensor, Tensor],
        bias: tuple[Tensor, Tensor],
        videos: Mapping[str, Tensor],
    ) -> Tensor:
        """Returns unit vectors (V, width).

        ``states``: of regions and actions below the first tangled layer, with their attention
        ``bias``; ``videos``: their features and masks.
        """
        raise NotImplementedError(f"{type(self).__name__} must define video_vectors")

    def similarities_in_training(
        self,
        captions: tuple[Tensor, Tensor, Mapping[str, Tensor]],
        videos: tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor], Mapping[str, Tensor]],
        positive: np.ndarray,
    ) -> Tensor:
        """Returns the dot products (V, C) that teach the match head and choose hard negatives.

        ``captions`` and ``videos``: the arguments of ``caption_vectors`` and ``video_vectors``;
        ``positive`` (V,): the indices of the clips' own captions. A head that was fitted to these
        pairs should return what it would without each clip's own pair.
        """
        texts = self.caption_vectors(*captions)
        return paddle.matmul(self.video_vectors(*videos), texts, transpose_y=True)

    @property
    def scale(self) -> Tensor:
        """The factor on similarities."""
        return paddle.clip(paddle.exp(self.log_scale), max=LARGEST_SCALE)

    def similarities(self, captions: Tensor, videos: Tensor) -> Tensor:
        """Returns the scaled dot products (P,) float32 of vectors (P, width) of pairs."""
        products = captions.astype("float32") * videos.astype("float32")
        return products.sum(axis=-1) * self.scale.astype("float32")

    @property
    def weight(self) -> float:
        """The weight of similarities relative to margins; NaN until a validation has chosen it."""
        if self.similarity_weight == "auto":
            return self.chosen_weight.item()
        return float(self.similarity_weight)

    @property
    def known_weight(self) -> float:
        """The weight of similarities. Raises WeightsError if no validation has chosen it."""
        if math.isnan(self.weight):
            raise WeightsError(
                "MODEL.retrieval_head.similarity_weight is automatic, but no validation has chosen "
                "it for these weights: train with --validate, or set it, as in "
                "-o MODEL.retrieval_head.similarity_weight=1"
            )
        return self.weight

    def choose(self, weight: float) -> None:
        """Stores the weight that a validation chose, if ``similarity_weight`` is "auto"."""
        if self.similarity_weight == "auto":
            self.chosen_weight.set_value(np.array([weight], np.float32))


def masked_mean(x: Tensor, bias: Tensor) -> Tensor:
    """Returns the mean (B, D) of (B, T, D) over positions that ``bias`` (B, 1, 1, T) keeps."""
    weights = F.softmax(bias[:, 0].astype(x.dtype), axis=-1)  # B, 1, T: equal if not masked
    return paddle.matmul(weights, x)[:, 0]
