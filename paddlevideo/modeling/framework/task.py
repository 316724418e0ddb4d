"""A head on ActBERT's backbone: captions, answers, blanks, labels of seconds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import paddle
from paddle import Tensor, nn

from paddlevideo.modeling import released_weights
from paddlevideo.modeling.accuracy import Losses
from paddlevideo.modeling.backbones.actbert import BertForMultiModalPreTraining
from paddlevideo.modeling.backbones.tangled import Streams
from paddlevideo.modeling.framework.base import BaseFramework, Batch
from paddlevideo.modeling.framework.batches import hide_features
from paddlevideo.modeling.heads.task import TaskHead
from paddlevideo.modeling.sparsity import cut_padding
from paddlevideo.modeling.transfer import to_tensors
from paddlevideo.modeling.weights import load_weights
from paddlevideo.registry import FRAMEWORKS

#: The backbone's layers for pre-training and matching. A head may use them, but need not.
PRETRAINING = (
    *("text_pooler", "region_pooler", "action_pooler", "match_head"),
    *("word_head", "region_head", "action_head"),
)


@FRAMEWORKS.register()
class ActBertTask(BaseFramework):
    """ActBERT with the head of another task than retrieval: see ``paddlevideo.modeling.heads``.

    A batch has the text, region and action arrays of ActBERT, and what the head needs. Start from
    any weights of ActBERT, with ``-w`` or ``MODEL.backbone.pretrained``; tests need the head's too.

    ``without``: streams whose features are replaced by ones, to measure their contribution.
    """

    def __init__(
        self,
        backbone: BertForMultiModalPreTraining,
        head: TaskHead,
        without: Sequence[Literal["regions", "actions"]] = (),
    ) -> None:
        super().__init__()
        self.backbone, self.head, self.without = backbone, head, tuple(without)
        head.build(backbone)

    def encode(self, batch: Batch) -> tuple[Streams[Tensor], dict[str, Any]]:
        """Returns the streams' last states and the batch as tensors, without shared padding."""
        self.backbone.check_batch(batch)
        cut, padded = cut_padding(hide_features(batch, self.without))
        tensors = to_tensors(cut)
        return self.backbone.upper(self.backbone.lower(tensors), padded), tensors

    def forward(self, batch: Batch, counts: Mapping[str, float] | None = None) -> Losses:
        """Returns the head's losses of a batch of arrays, with "loss", their sum."""
        counts = {name: n or 1.0 for name, n in (counts or self.loss_counts(batch)).items()}
        states, tensors = self.encode(batch)
        return self.head.losses(states, tensors, counts)

    def loss_counts(self, batch: Batch) -> dict[str, float]:
        """Returns the number of terms that each of the head's losses is the mean of."""
        return self.head.counts(batch)

    def num_fit_samples(self) -> int:
        """Returns the maximum number of samples that the head is fitted to."""
        return self.head.num_fit_samples()

    def fit(self, batches: Iterable[Batch], total: Callable[[np.ndarray], np.ndarray]) -> None:
        """Fits the part of the head that has a closed-form solution."""
        self.head.fit((hide_features(batch, self.without) for batch in batches), total)

    def fits_on_resume(self) -> bool:
        """Returns whether training needs what the head's fit computes and weights do not hold."""
        return self.head.fits_on_resume()

    @paddle.no_grad()
    def predict(self, batch: Batch, prepared: Any) -> Any:
        """Returns the head's predictions, one row per sample."""
        return self.head.run(self.encode, batch)

    def parts(self) -> dict[str, list[nn.Layer]]:
        """Returns the backbone and the head."""
        return {"backbone": [self.backbone], "head": [self.head]}

    def recomputable(self) -> list[nn.Layer]:
        """Returns every layer of the streams and every tangled layer."""
        return self.backbone.recomputable()

    def float32_layers(self) -> list[nn.Layer]:
        """Returns the head, whose logits decide."""
        return [self.head]

    def init_weights(self) -> None:
        """Loads the weights that the backbone's ``pretrained`` names, if any."""
        if self.backbone.pretrained:
            load_weights(self, self.backbone.pretrained)

    def set_up_from(self, dataset: Any) -> None:
        """Lets the head take what it needs to know of the training data."""
        self.head.set_up_from(dataset)

    def before_loading(self, state: Mapping[str, np.ndarray]) -> None:
        """Lets the head take names and sizes from the file."""
        prefix = "head."
        own = {name.removeprefix(prefix): x for name, x in state.items() if name.startswith(prefix)}
        if own:
            self.head.receive(own)

    def to_released(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """Translates our parameter names to the published ones; the head's are unchanged."""
        return released_weights.to_released(state)

    def from_released(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """Translates published parameter names to ours."""
        return released_weights.from_released(state)

    def check_loaded(self, missing: list[str]) -> None:
        """Raises WeightsError if a parameter of the streams or of the head is missing."""
        unused = tuple(f"backbone.{x}." for x in PRETRAINING if x not in self.head.uses)
        super().check_loaded([name for name in missing if not name.startswith(unused)])
