"""A head that fills in the blank of a sentence.

B samples, N answers; D the width of the text stream.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import Tensor, nn

from paddlevideo.modeling.backbones.tangled import Streams
from paddlevideo.modeling.heads.answers import ListedAnswersHead
from paddlevideo.modeling.heads.components import ClipComponents, Total
from paddlevideo.modeling.heads.task import Batch
from paddlevideo.modeling.layers import layer_norm, linear
from paddlevideo.registry import HEADS, InputPath
from paddlevideo.utils.ranges import Count, CountOrZero, Probability

if TYPE_CHECKING:
    from paddlevideo.modeling.backbones.actbert import BertForMultiModalPreTraining

#: Clips that principal components are fitted to.
FIT_SAMPLES = 20_000


@HEADS.register()
class BlankHead(ListedAnswersHead):
    """The backbone's word head at the [MASK] that stands for the blank, for listed answers only.

    An answer's logit is the product of a vector (D,) and the answer's embedding, plus the word
    head's bias and one of its own, which is learned from 0. An answer of several word pieces has
    the mean of their embeddings and biases. The vector is the word head's transformed state of
    [MASK] and, with ``window``, a function of the words beside the blank.

    ``answers`` and ``num_answers``: see :class:`ListedAnswersHead`.
    ``window``: the number of words on each side of the blank whose embeddings, with the mean of
    the whole sentence's, a network of its own reads. A few thousand sentences are too few to learn
    by attention alone which words are neighbours. 0: none, for weights of a trained word head.
    ``window_size``: hidden units of that network; ``dropout``: rate within it.
    ``components``: add a linear map of this many principal components of the clip's features
    (:class:`ClipComponents`) to the vector. Few of them keep a small data set from being learned
    by heart. They are fitted before the first step. 0: the clip counts through [MASK] alone.
    """

    uses = ("word_head",)

    def __init__(
        self,
        answers: InputPath | None = None,
        num_answers: Count = 1000,
        window: CountOrZero = 0,
        window_size: Count = 768,
        dropout: Probability = 0.5,
        components: CountOrZero = 0,
    ) -> None:
        super().__init__(answers, num_answers)
        self.components = components
        self.window, self.window_size, self.dropout = window, window_size, dropout
        self._pieces_of: tuple[list[list[int]], Tensor, Tensor] | None = None

    def build(self, backbone: BertForMultiModalPreTraining) -> None:
        """Creates the answers' biases and the network that reads the window."""
        # In a tuple, which does not register them as layers of the head.
        self._words = (backbone.word_head, backbone.text_embeddings.word)
        self.answer_bias = self.create_parameter([self.num_answers], is_bias=True)
        if self.window:
            width = backbone.widths.text
            self.reader = nn.Sequential(
                nn.Dropout(self.dropout),
                linear(width * (2 * self.window + 1), self.window_size),
                nn.GELU(),
                layer_norm(self.window_size),
                nn.Dropout(self.dropout),
                linear(self.window_size, width),
            )

        if self.components:
            self.clip = ClipComponents(backbone.feature_sizes, self.components)
            # A small start: at first the words decide.
            small = paddle.ParamAttr(initializer=nn.initializer.Normal(0.0, 0.001))
            self.clip_map = nn.Linear(self.components, backbone.widths.text, weight_attr=small)
            self.clip_dropout = nn.Dropout(self.dropout)

    def num_fit_samples(self) -> int:
        """Returns the maximum number of samples whose clips are read for the components."""
        return FIT_SAMPLES if self.components else 0

    def fit(self, batches: Iterable[Batch], total: Total) -> None:
        """Fits the components to the clips of this rank's samples."""
        self.clip.fit(batches, total)

    def logits(self, states: Streams[Tensor], batch: Batch) -> Tensor:
        """Returns the logits (B, N) float32 of the answers in the list."""
        text, blank = states.text, batch["blank"]
        at = blank + paddle.arange(text.shape[0], dtype="int64") * text.shape[1]
        head, embedding = self._words
        vector = head.transform(paddle.gather(text.flatten(0, 1), at)).astype("float32")
        if self.window:
            vector = vector + self.reader(
                self._beside(batch["text_ids"], batch["text_mask"], blank)
            )
        if self.components:
            vector = vector + self.clip_map(self.clip_dropout(self.clip(batch)))
        ids, share = self._padded_pieces()
        answers = (self._embed(ids) * share.unsqueeze(-1)).sum(axis=1)  # N, D
        bias = (paddle.gather(head.decoder_bias, ids.flatten()).reshape(ids.shape) * share).sum(1)
        bias = bias + self.answer_bias[: len(self.names)]
        return paddle.matmul(vector, answers, transpose_y=True) + bias

    def _embed(self, ids: Tensor) -> Tensor:
        """Word embeddings (..., D) float32 of ids (...)."""
        rows = paddle.gather(self._words[1].weight, ids.flatten())
        return rows.reshape([*ids.shape, -1]).astype("float32")

    def _beside(self, ids: Tensor, mask: Tensor, blank: Tensor) -> Tensor:
        """Normalized embeddings of the words beside the blank and of their mean, (B, K D)."""
        width = self.window
        offsets = [step for step in range(-width, width + 1) if step]
        padded = F.pad(ids, [0, 0, width, width])  # 0, the id of padding
        at = blank.unsqueeze(1) + paddle.to_tensor([width + step for step in offsets])
        words = paddle.take_along_axis(padded, at, axis=1)  # B, 2 window
        beside = (paddle.arange(ids.shape[1]) != blank.unsqueeze(1)).astype("float32")
        other = mask.astype("float32") * beside
        share = other / paddle.clip(other.sum(axis=1, keepdim=True), min=1.0)
        mean = paddle.matmul(share.unsqueeze(1), self._embed(ids))
        each = paddle.concat([self._embed(words), mean], axis=1)
        return F.layer_norm(each, each.shape[-1:]).flatten(1)

    def _padded_pieces(self) -> tuple[Tensor, Tensor]:
        """Returns the ids (N, P) of the answers' pieces, and the share of each in the mean."""
        if self._pieces_of is None or self._pieces_of[0] is not self.pieces:
            longest = max(map(len, self.pieces))
            ids = np.zeros((len(self.pieces), longest), np.int64)
            share = np.zeros(ids.shape, np.float32)
            for row, pieces in enumerate(self.pieces):
                ids[row, : len(pieces)], share[row, : len(pieces)] = pieces, 1 / len(pieces)
            self._pieces_of = self.pieces, paddle.to_tensor(ids), paddle.to_tensor(share)
        return self._pieces_of[1:]
