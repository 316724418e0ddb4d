"""A head that fills in the blank of a sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import paddle
from paddle import Tensor

from paddlevideo.modeling.backbones.tangled import Streams
from paddlevideo.modeling.heads.answers import ListedAnswersHead
from paddlevideo.modeling.heads.task import Batch
from paddlevideo.registry import HEADS, InputPath
from paddlevideo.utils.ranges import Count

if TYPE_CHECKING:
    from paddlevideo.modeling.backbones.actbert import BertForMultiModalPreTraining


@HEADS.register()
class BlankHead(ListedAnswersHead):
    """The backbone's word head at the [MASK] that stands for the blank, for listed answers only.

    An answer's logit is the product of the transformed state of [MASK] and the answer's embedding,
    plus the word head's bias and one of its own, which is learned from 0. An answer of several
    word pieces has the mean of their embeddings and biases.

    ``answers`` and ``num_answers``: see :class:`ListedAnswersHead`.
    """

    uses = ("word_head",)

    def __init__(self, answers: InputPath | None = None, num_answers: Count = 1000) -> None:
        super().__init__(answers, num_answers)
        self._pieces_of: tuple[list[list[int]], Tensor, Tensor] | None = None

    def build(self, backbone: BertForMultiModalPreTraining) -> None:
        """Creates the answers' biases."""
        # In a tuple, which does not register them as layers of the head.
        self._words = (backbone.word_head, backbone.text_embeddings.word)
        self.answer_bias = self.create_parameter([self.num_answers], is_bias=True)

    def logits(self, states: Streams[Tensor], batch: Batch) -> Tensor:
        """Returns the logits (B, N) float32 of the answers in the list."""
        text = states.text
        at = batch["blank"] + paddle.arange(text.shape[0], dtype="int64") * text.shape[1]
        head, embedding = self._words
        state = head.transform(paddle.gather(text.flatten(0, 1), at))
        ids, share = self._padded_pieces()
        rows = paddle.gather(embedding.weight, ids.flatten()).reshape([*ids.shape, -1])
        answers = (rows.astype("float32") * share.unsqueeze(-1)).sum(axis=1)  # N, D
        bias = (paddle.gather(head.decoder_bias, ids.flatten()).reshape(ids.shape) * share).sum(1)
        bias = bias + self.answer_bias[: len(self.names)]
        return paddle.matmul(state.astype("float32"), answers, transpose_y=True) + bias

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
