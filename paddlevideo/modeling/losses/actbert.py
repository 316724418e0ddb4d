"""ActBERT's four losses, one function each.

Every loss is a sum divided by a count that the caller passes, so that several micro-batches and
processes can share one. They are computed in float32: a sum over 6,000 words overflows float16. N
rows: all positions of a batch, or the labelled ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import Tensor, _C_ops, nn

from paddlevideo.modeling.backbones.actbert import ActBertOutput
from paddlevideo.registry import LOSSES
from paddlevideo.utils.ranges import Count, NonNegative

IGNORED = -1


def class_loss(logits: Tensor, labels: Tensor, count: float) -> Tensor:
    """Returns the cross-entropy, summed over labels other than -1 and divided by ``count``.

    ``logits`` (..., classes), ``labels`` (...) int64 -> scalar.
    """
    return cross_entropy(logits, labels) / count


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Returns the sum of the cross-entropies of ``logits`` (..., classes), a float32 scalar.

    ``F.cross_entropy`` has four more operators.
    """
    _, losses = _C_ops.cross_entropy_with_softmax(
        logits.astype("float32"), labels.reshape([*logits.shape[:-1], 1]),
        False, True, True, IGNORED, -1,
    )  # fmt: skip
    return losses.sum()


def region_loss(logits: Tensor, targets: Tensor, labels: Tensor, count: float) -> Tensor:
    """Returns the KL divergence of predicted from target distributions over labelled regions.

    sum target * (log target - log_softmax(logits)), with 0 log 0 = 0, over regions whose label
    is 1. ``logits`` and ``targets`` (..., C), ``labels`` (...) -> scalar.
    """
    log_probability = F.log_softmax(logits.astype("float32"), axis=-1)
    if targets.shape != logits.shape:  # nothing is labelled
        targets = targets.expand_as(log_probability)
    divergence = F.kl_div(log_probability, targets, reduction="none").sum(axis=-1)
    return (divergence * (labels == 1).astype(divergence.dtype)).sum() / count


def match_loss(logits: Tensor, labels: Tensor, count: float) -> Tensor:
    """Returns the cross-entropy of "the caption belongs to the clip" (label 0) or not (1).

    ``logits`` (B, 2), ``labels`` (B,) -> scalar.
    """
    return cross_entropy(logits, labels) / count


@LOSSES.register()
class ActBertLoss(nn.Layer):
    """The sum of masked words, masked regions, masked actions and matching.

    ``normalize`` "positions": words and actions are divided by all B * T and B * A positions,
    padding included, as the released weights were trained; "labels": by the number of labels.
    ``*_weight``: factors on the terms; 0 removes a term. ``vocab_size`` and ``a_target_size`` are
    accepted for PaddleVideo's files: the sizes are those of the logits.
    ``mismatched``: whether words and regions are also predicted for clips with another clip's
    caption, as when the released weights were trained; the other stream is no help there.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - two arguments exist for PaddleVideo's files
        self,
        vocab_size: Count = 30522,
        a_target_size: Count = 700,
        normalize: Literal["positions", "labels"] = "positions",
        text_weight: NonNegative = 1.0,
        region_weight: NonNegative = 1.0,
        action_weight: NonNegative = 1.0,
        match_weight: NonNegative = 1.0,
        mismatched: bool = True,
    ) -> None:
        super().__init__()
        self.normalize, self.mismatched = normalize, mismatched
        self.weights = {
            "text_loss": text_weight,
            "region_loss": region_weight,
            "action_loss": action_weight,
            "match_loss": match_weight,
        }

    def drop_mismatched_labels(self, batch: Mapping[str, Any]) -> Mapping[str, Any]:
        """Returns ``batch`` with the labels that ``mismatched`` leaves out set to -1."""
        if self.mismatched:
            return batch
        mismatched = np.asarray(batch["next_sentence_label"]).reshape(-1, 1) == 1
        labels = {key: np.asarray(batch[key]) for key in ("text_labels", "image_label")}
        return {**batch, **{key: np.where(mismatched, IGNORED, x) for key, x in labels.items()}}

    def counts(self, batch: Mapping[str, Any]) -> dict[str, float]:
        """Returns the number of terms in each loss of this batch; 0 if nothing is labelled."""
        batch = self.drop_mismatched_labels(batch)
        words, actions = np.asarray(batch["text_labels"]), np.asarray(batch["action_label"])
        if self.normalize == "labels":
            words, actions = words[words != IGNORED], actions[actions != IGNORED]
        return {
            "text_loss": float(words.size),
            "region_loss": float(np.count_nonzero(np.asarray(batch["image_label"]) == 1)),
            "action_loss": float(actions.size),
            "match_loss": float(np.asarray(batch["next_sentence_label"]).size),
        }

    def forward(
        self, output: ActBertOutput, batch: Mapping[str, Tensor], counts: Mapping[str, float]
    ) -> dict[str, Tensor]:
        """Returns the named losses and their sum, ``loss``.

        The labels in ``batch`` are aligned with ``output``. Each loss is a sum divided by its
        entry of ``counts``, which must not be 0.
        """
        losses = {
            "text_loss": class_loss(output.text_logits, batch["text_labels"], counts["text_loss"]),
            "region_loss": region_loss(
                output.region_logits,
                batch["image_target"],
                batch["image_label"],
                counts["region_loss"],
            ),
            "action_loss": class_loss(
                output.action_logits, batch["action_label"], counts["action_loss"]
            ),
            "match_loss": match_loss(
                output.match_logits, batch["next_sentence_label"], counts["match_loss"]
            ),
        }
        for name, weight in self.weights.items():
            if weight != 1:  # an operator less
                losses[name] = losses[name] * weight
        return {"loss": paddle.add_n(list(losses.values())), **losses}
