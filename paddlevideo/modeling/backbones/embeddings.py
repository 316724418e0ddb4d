"""Embeddings of the three streams: words, regions and actions as normalized vectors.

B clips, T words, R regions, A actions, D the width of a stream.
"""

from __future__ import annotations

import paddle.nn.functional as F
from paddle import Tensor, nn

from paddlevideo.modeling.layers import (
    StreamConfig,
    initial_weights,
    layer_norm,
    length_of,
    linear,
)

PADDING_WORD = 0
BOX_SIZE = 5
#: Standard deviation of the initial biases of feature layers. A padded feature is zero; with biases
#: of zero its embedding has no variance, and layer normalization, with BERT's epsilon, multiplies
#: its gradient by a million.
PADDED_FEATURE_RANGE = 0.02


class TextEmbeddings(nn.Layer):
    """Word + position + type, normalized."""

    def __init__(
        self, stream: StreamConfig, vocabulary_size: int, positions: int, types: int
    ) -> None:
        super().__init__()

        def table(rows: int) -> nn.Embedding:
            # As the word head's matrix, the word table has `width` inputs.
            return nn.Embedding(rows, stream.width, weight_attr=initial_weights(stream.width))

        self.word = table(vocabulary_size)
        self.position = table(positions)
        self.token_type = table(types)
        self.norm = layer_norm(stream.width)
        self.dropout = nn.Dropout(stream.dropout)

    def forward(self, text_ids: Tensor, token_type_ids: Tensor) -> Tensor:
        """Ids (B, T) int64 -> (B, T, D).

        The padding word is zero, whatever its row contains, and its row gets no gradient here: the
        released weights were trained this way.
        """
        words = F.embedding(text_ids, self.word.weight, padding_idx=PADDING_WORD)
        positions = self.position.weight[: length_of(text_ids)]
        return self.dropout(self.norm(words + positions + self.token_type(token_type_ids)))


class RegionEmbeddings(nn.Layer):
    """Region features + boxes, normalized. Regions have no position."""

    def __init__(self, stream: StreamConfig, feature_size: int) -> None:
        super().__init__()
        self.feature = linear(feature_size, stream.width, PADDED_FEATURE_RANGE)
        self.box = linear(BOX_SIZE, stream.width)
        self.norm = layer_norm(stream.width)
        self.dropout = nn.Dropout(stream.dropout)

    def forward(self, features: Tensor, boxes: Tensor) -> Tensor:
        """Features (B, R, F), box vectors (B, R, 5) -> (B, R, D)."""
        return self.dropout(self.norm(self.feature(features) + self.box(boxes)))


class ActionEmbeddings(nn.Layer):
    """Action features, normalized. Actions have no position."""

    def __init__(self, stream: StreamConfig, feature_size: int) -> None:
        super().__init__()
        self.feature = linear(feature_size, stream.width, PADDED_FEATURE_RANGE)
        self.norm = layer_norm(stream.width)
        self.dropout = nn.Dropout(stream.dropout)

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, A, G) -> (B, A, D)."""
        return self.dropout(self.norm(self.feature(features)))
