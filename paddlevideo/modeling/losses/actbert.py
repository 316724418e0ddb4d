"""ActBERT's four losses, a function each.

Every loss is a sum divided by a given number, so that several processes, or several
micro-batches, can share one divisor. N rows: all positions of a batch, or the labelled ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import Tensor, nn

from paddlevideo.modeling.backbones.actbert import ActBertOutput
from paddlevideo.registry import LOSSES
from paddlevideo.utils.ranges import Count, NonNegative

IGNORED = -1


def class_loss(logits: Tensor, labels: Tensor, divisor: float) -> Tensor:
    """Cross-entropy summed over labels other than -1, divided by ``divisor``.

    ``logits`` (..., classes), ``labels`` (...) int64 -> scalar.
    """
    total = F.cross_entropy(
        logits.flatten(0, -2), labels.flatten(), ignore_index=IGNORED, reduction="sum"
    )
    return total / divisor


def region_loss(logits: Tensor, targets: Tensor, labels: Tensor, divisor: float) -> Tensor:
    """KL divergence from the predicted to the target distribution, summed over labelled regions.

    sum target * (log target - log_softmax(logits)), with 0 log 0 = 0, over regions whose label
    is 1. ``logits`` and ``targets`` (..., C), ``labels`` (...) -> scalar.
    """
    log_probability = F.log_softmax(logits.astype("float32"), axis=-1)
    positive = targets > 0
    log_target = paddle.log(paddle.where(positive, targets, paddle.ones_like(targets)))
    divergence = (targets * (log_target - log_probability)).sum(axis=-1)
    return (divergence * (labels == 1).astype(divergence.dtype)).sum() / divisor


def match_loss(logits: Tensor, labels: Tensor, divisor: float) -> Tensor:
    """Cross-entropy of "the caption belongs to the clip" (label 0) against not (1).

    ``logits`` (B, 2), ``labels`` (B,) -> scalar.
    """
    return F.cross_entropy(logits, labels.flatten(), reduction="sum") / divisor


@LOSSES.register()
class ActBertLoss(nn.Layer):
    """The sum of masked words, masked regions, masked actions and matching.

    ``normalize`` "positions": words and actions are divided by all B * T and B * A positions,
    padding included, as the released weights were trained; "labels": by the number of labels.
    ``*_weight`` multiply the terms; 0 removes one. ``vocab_size`` and ``a_target_size`` are
    accepted for PaddleVideo's files: the sizes are those of the logits.
    ``mismatched``: whether words and regions are asked for also where the caption is another
    clip's, as in the released weights' training; the other stream says nothing of them there.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - two of them are there for PaddleVideo's files
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

    def asked(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """``batch`` with the labels that count: without those that ``mismatched`` leaves out."""
        if self.mismatched:
            return dict(batch)
        stranger = np.asarray(batch["next_sentence_label"]).reshape(-1, 1) == 1
        labels = {key: np.asarray(batch[key]) for key in ("text_labels", "image_label")}
        return {**batch, **{key: np.where(stranger, IGNORED, x) for key, x in labels.items()}}

    def denominators(self, batch: Mapping[str, np.ndarray]) -> dict[str, float]:
        """What each loss of this batch is divided by (0 where nothing is asked for)."""
        batch = self.asked(batch)

        def labels(key: str) -> float:
            array = np.asarray(batch[key])
            if self.normalize == "positions":
                return float(array.size)
            return float(np.count_nonzero(array != IGNORED))

        return {
            "text_loss": labels("text_labels"),
            "region_loss": float(np.count_nonzero(np.asarray(batch["image_label"]) == 1)),
            "action_loss": labels("action_label"),
            "match_loss": float(np.asarray(batch["next_sentence_label"]).size),
        }

    def forward(
        self,
        output: ActBertOutput,
        batch: Mapping[str, Tensor],
        denominators: Mapping[str, float],
    ) -> dict[str, Tensor]:
        """Named losses and their sum, ``loss``. The labels in ``batch`` lie as ``output`` does."""
        by = {name: max(value, 1.0) for name, value in denominators.items()}
        losses = {
            "text_loss": class_loss(output.text_logits, batch["text_labels"], by["text_loss"]),
            "region_loss": region_loss(
                output.region_logits, batch["image_target"], batch["image_label"], by["region_loss"]
            ),
            "action_loss": class_loss(
                output.action_logits, batch["action_label"], by["action_loss"]
            ),
            "match_loss": match_loss(
                output.match_logits, batch["next_sentence_label"], by["match_loss"]
            ),
        }
        losses = {name: loss * self.weights[name] for name, loss in losses.items()}
        return {"loss": paddle.add_n(list(losses.values())), **losses}
