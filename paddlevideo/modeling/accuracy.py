"""How often a model guessed right in training: counts beside the losses, added up by the loop.

Counts and not shares, because shares of batches with different numbers of questions have no mean
that is the share of all.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import paddle
from paddle import Tensor

if TYPE_CHECKING:
    from paddlevideo.modeling.backbones.actbert import ActBertOutput

NOT_ASKED = -1


class Hits(NamedTuple):
    """Right answers among those that were asked for.

    ``right``: a scalar tensor, which stays on the device; ``asked``: how many there were.
    """

    right: Tensor
    asked: int


class Losses(dict[str, Tensor]):
    """Named losses, and beside them what the log shows as shares: Hits by name.

    A framework's ``forward`` may return this or a plain dict. The names must be those of every
    batch, on every rank; a name without questions in a batch has ``asked`` 0.
    """

    def __init__(self, losses: Mapping[str, Tensor], accuracies: Mapping[str, Hits]) -> None:
        super().__init__(losses)
        self.accuracies = dict(accuracies)


def accuracies_of(losses: Mapping[str, Tensor]) -> dict[str, Hits]:
    """The counts beside ``losses``; none beside a plain dict."""
    return losses.accuracies if isinstance(losses, Losses) else {}


@paddle.no_grad()
def class_hits(logits: Tensor, labels: np.ndarray) -> Hits:
    """How often the class with the largest of ``logits`` (N, classes) is the one of ``labels``.

    ``labels`` (N,) integers, -1 where nothing is asked for.
    """
    guesses = paddle.argmax(logits.astype("float32"), axis=-1)
    right = guesses == paddle.to_tensor(labels.astype(np.int64))
    return Hits(right.sum(), int(np.count_nonzero(labels != NOT_ASKED)))


def likeliest(targets: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The class with the largest of ``targets`` (N, classes) where ``labels`` (N,) is 1, else -1.

    Of equal ones the first, as in a guess.
    """
    return np.where(labels == 1, targets.argmax(axis=-1), NOT_ASKED)


@paddle.no_grad()
def winner_hits(scores: Tensor, right: Tensor, asked: np.ndarray, axis: int) -> Hits:
    """How often the right one of several candidates has the highest score; a tie is a defeat.

    Args:
        scores: (N, M) scores; the candidates of one question lie along ``axis``.
        right: (N, 1) or (1, M), the score of the right one, which is among them.
        asked: (M,) or (N,) bool: the questions that have a right one.
        axis: 0 or 1.
    """
    alone = (scores >= right).astype("int64").sum(axis=axis) == 1
    won = paddle.logical_and(alone, paddle.to_tensor(asked))
    return Hits(won.sum(), int(asked.sum()))


def added(first: Hits, second: Hits) -> Hits:
    """Both counts in one."""
    return Hits(first.right + second.right, first.asked + second.asked)


def pretraining_hits(output: ActBertOutput, picked: Mapping[str, Any]) -> dict[str, Hits]:
    """How often the four pre-training questions were answered right.

    ``picked``: the labels as ``output`` lies, see ``labelled_rows``.
    """
    targets, asked = np.asarray(picked["image_target"]), np.asarray(picked["image_label"])
    answers = {
        "word": (output.text_logits, picked["text_labels"]),
        "region": (output.region_logits, likeliest(targets, asked)),
        "action": (output.action_logits, picked["action_label"]),
        "match": (output.match_logits, picked["next_sentence_label"]),
    }
    return {
        f"{name}_accuracy": class_hits(logits, np.asarray(labels).ravel())
        for name, (logits, labels) in answers.items()
    }
