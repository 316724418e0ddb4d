"""Accuracies in training: hit counts beside the losses, which the training loop sums.

Counts instead of fractions: batches differ in their number of labels, so the mean of their
fractions is not the overall fraction.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import paddle
from paddle import Tensor

from paddlevideo.modeling.losses.actbert import IGNORED

if TYPE_CHECKING:
    from paddlevideo.modeling.backbones.actbert import ActBertOutput


class Hits(NamedTuple):
    """Number of correct predictions, a scalar tensor kept on the device, and of all predictions."""

    correct: Tensor
    total: int


class Losses(dict[str, Tensor]):
    """Named losses that carry Hits by name, which the log shows as accuracies.

    A framework's ``forward`` may return this or a plain dict. The names must be the same for every
    batch on every rank; without labels in a batch, ``total`` is 0.
    """

    def __init__(self, losses: Mapping[str, Tensor], accuracies: Mapping[str, Hits]) -> None:
        super().__init__(losses)
        self.accuracies = dict(accuracies)


def accuracies_of(losses: Mapping[str, Tensor]) -> dict[str, Hits]:
    """Returns the hits that ``losses`` carry; {} for a plain dict."""
    return losses.accuracies if isinstance(losses, Losses) else {}


@paddle.no_grad()
def class_hits(logits: Tensor, labels: Tensor, total: int) -> Hits:
    """Counts rows whose largest of ``logits`` (N, classes) is the class in ``labels`` (N,).

    ``total``: the number of labels other than -1, which no row can hit.
    """
    predicted = paddle.argmax(logits.astype("float32"), axis=-1)
    return Hits((predicted == labels).sum(), total)


def argmax_at(targets: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Returns the argmax of ``targets`` (N, classes) where ``labels`` (N,) is 1, else -1."""
    return np.where(labels == 1, targets.argmax(axis=-1), IGNORED)


@paddle.no_grad()
def rank_hits(
    scores: Tensor, positive: Tensor, has_positive: Tensor, total: int, axis: int
) -> Hits:
    """Counts queries whose positive candidate has the highest score; a tie is not a hit.

    Args:
        scores: (N, M) scores; ``axis`` runs over the candidates of one query.
        positive: (N, 1) or (1, M), the score of the positive, one of the candidates.
        has_positive: (M,) or (N,) bool: the queries to count.
        total: their number.
        axis: 0 or 1.
    """
    first = (scores >= positive).astype("int64").sum(axis=axis) == 1
    return Hits(paddle.logical_and(first, has_positive).sum(), total)


def sum_hits(first: Hits, second: Hits) -> Hits:
    """Returns the sums of both counts."""
    return Hits(first.correct + second.correct, first.total + second.total)


def pretraining_classes(batch: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Returns the correct classes of the four pre-training tasks, (N,) int64 each; -1: unlabelled.

    The labels in ``batch`` are those of the positions to predict, see ``labelled_rows``.
    """
    labels = {
        "word": batch["text_labels"],
        "region": argmax_at(np.asarray(batch["image_target"]), np.asarray(batch["image_label"])),
        "action": batch["action_label"],
        "match": batch["next_sentence_label"],
    }
    return {name: np.asarray(x).ravel().astype(np.int64) for name, x in labels.items()}


def pretraining_hits(
    output: ActBertOutput, answers: Mapping[str, Tensor], classes: Mapping[str, np.ndarray]
) -> dict[str, Hits]:
    """Counts the hits of the four pre-training tasks.

    ``classes`` is what ``pretraining_classes`` returned, and ``answers`` the same on the device.
    """
    logits = {
        "word": output.text_logits,
        "region": output.region_logits,
        "action": output.action_logits,
        "match": output.match_logits,
    }
    return {
        f"{name}_accuracy": class_hits(
            logits[name], answers[name], int(np.count_nonzero(labels != IGNORED))
        )
        for name, labels in classes.items()
    }
