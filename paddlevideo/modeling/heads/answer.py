"""A head that answers open questions with one of the listed answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paddle import Tensor, nn

from paddlevideo.modeling.backbones.tangled import Streams
from paddlevideo.modeling.heads.answers import ListedAnswersHead
from paddlevideo.modeling.heads.task import Batch
from paddlevideo.modeling.layers import PredictionTransform, linear
from paddlevideo.registry import HEADS, InputPath
from paddlevideo.utils.ranges import Count, Probability

if TYPE_CHECKING:
    from paddlevideo.modeling.backbones.actbert import BertForMultiModalPreTraining


@HEADS.register()
class AnswerHead(ListedAnswersHead):
    """Classifies the fused vector of the three streams, on which matching is decided too.

    The classes are the answers in the list. ``dropout``: rate on the transformed vector.
    ``answers`` and ``num_answers``: see :class:`ListedAnswersHead`.
    """

    uses = ("text_pooler", "region_pooler", "action_pooler")

    def __init__(
        self,
        answers: InputPath | None = None,
        num_answers: Count = 1000,
        dropout: Probability = 0.1,
    ) -> None:
        super().__init__(answers, num_answers)
        self.dropout = nn.Dropout(dropout)

    def build(self, backbone: BertForMultiModalPreTraining) -> None:
        """Creates the layers for the backbone's tangled width."""
        # In a tuple, which does not register it as a layer of the head.
        self._backbone = (backbone,)
        width = backbone.match_head.weight.shape[0]
        self.transform = PredictionTransform(width, "gelu")
        self.decoder = linear(width, self.num_answers)

    def logits(self, states: Streams[Tensor], batch: Batch) -> Tensor:
        """Returns the logits (B, N) float32 of the answers in the list."""
        (backbone,) = self._backbone
        actions = backbone.action_pooler(states.actions)
        fused = backbone.fuse(states.text, states.regions, actions)
        logits = self.decoder(self.dropout(self.transform(fused)))
        return logits.astype("float32")[:, : len(self.names)]
