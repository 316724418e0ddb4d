"""Heads that choose from a list of answers, which travels in the checkpoint.

B samples, N answers; T words.
"""

from __future__ import annotations

import json
import logging
from abc import abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import paddle
from paddle import Tensor

from paddlevideo.modeling.accuracy import Losses, class_hits
from paddlevideo.modeling.backbones.tangled import Streams
from paddlevideo.modeling.heads.task import Batch, TaskHead
from paddlevideo.modeling.losses.actbert import IGNORED, class_loss
from paddlevideo.registry import InputPath
from paddlevideo.utils.errors import ConfigError, DataError, WeightsError
from paddlevideo.utils.text_files import text_lines

log = logging.getLogger("paddlevideo")

#: The name of the list in the checkpoint.
LIST = "answer_list"
#: The number of best answers that a prediction holds.
BEST = 5


class ListedAnswersHead(TaskHead):
    """Chooses from the N most frequent answers of the training data, or from those of a file.

    The answers and the ids of their word pieces are kept with the weights, as UTF-8 JSON in a
    buffer of bytes, so that a test needs no training data. Questions whose answer is not in the
    list add nothing to the loss, and are wrong in a test.
    """

    def __init__(self, answers: InputPath | None, num_answers: int) -> None:
        """Raises ConfigError if the file cannot be read or has too many answers.

        Args:
            answers: a text file with an answer on each line; None: those of the weights to start
                from, else the most frequent ones of the training data.
            num_answers: the most that there may be.
        """
        super().__init__()
        self.path, self.num_answers = answers, num_answers
        self.names: list[str] = []
        self.pieces: list[list[int]] = []
        self.register_buffer(LIST, paddle.zeros([0], "uint8"))
        self.given = read_list(answers, num_answers) if answers else []

    @abstractmethod
    def logits(self, states: Streams[Tensor], batch: Batch) -> Tensor:
        """Returns the logits (B, N) float32 of the answers in the list."""

    def counts(self, batch: Batch) -> dict[str, float]:
        """Returns the number of answers that are in the list."""
        return {"answer_loss": float(np.count_nonzero(self.labels(batch["answer"]) != IGNORED))}

    def losses(self, states: Streams[Tensor], batch: Batch, counts: Mapping[str, float]) -> Losses:
        """Returns the cross-entropy of the right answers, and how many are hit."""
        labels = self.labels(batch["answer"])
        known, classes = int(np.count_nonzero(labels != IGNORED)), paddle.to_tensor(labels)
        logits = self.logits(states, batch)
        loss = class_loss(logits, classes, counts["answer_loss"])
        hits = class_hits(logits, classes, known)
        return Losses({"answer_loss": loss, "loss": loss}, {"answer_accuracy": hits})

    def predict(self, states: Streams[Tensor], batch: Batch) -> dict[str, Any]:
        """Returns "answers", the best ones of each sample, and "scores" (B, k), their logits."""
        logits = self.logits(states, batch).astype("float32").numpy()
        order = np.argsort(-logits, axis=1, kind="stable")[:, :BEST]
        answers = [[self.names[at] for at in row] for row in order.tolist()]
        return {"answers": answers, "scores": np.take_along_axis(logits, order, axis=1)}

    def labels(self, answers: Sequence[str]) -> np.ndarray:
        """Returns the positions (B,) int64 of answers in the list, -1 for those outside."""
        if not self.names:
            raise ConfigError(
                "MODEL.head has no list of answers yet: train it, or load weights that have one"
            )
        return np.array([self._position.get(answer, IGNORED) for answer in answers], np.int64)

    # ------------------------------------------------------------------------- the list

    def set_up_from(self, dataset: Any) -> None:
        """Takes the list from the training data unless the weights brought one."""
        if self.names:
            return
        if not hasattr(dataset, "answers"):
            raise ConfigError(
                f"DATASET.train.format: {type(dataset).__name__} has no answers, which "
                f"MODEL.head.name: {type(self).__name__} learns: use a data set of questions"
            )
        counted = Counter(dataset.answers())
        names = self.given or [name for name, _ in counted.most_common(self.num_answers)]
        covered = 100 * sum(counted[name] for name in names) / max(counted.total(), 1)
        log.info(
            "%d answers to choose from: those of %.1f %% of the training questions",
            len(names),
            covered,
        )
        self.set_list(names, [dataset.pieces(name) for name in names])

    def set_list(self, names: Sequence[str], pieces: Sequence[Sequence[int]]) -> None:
        """Sets the answers and the ids of their word pieces."""
        self.names, self.pieces = list(names), [list(ids) for ids in pieces]
        self._position = {name: at for at, name in enumerate(self.names)}
        text = json.dumps({"answers": self.names, "pieces": self.pieces}, ensure_ascii=False)
        self.register_buffer(LIST, paddle.to_tensor(np.frombuffer(text.encode(), np.uint8).copy()))

    def receive(self, state: Mapping[str, np.ndarray]) -> None:
        """Takes the list of the weights. Raises WeightsError if the configuration has another."""
        if LIST not in state:
            return
        names, pieces = decoded(state[LIST])
        if self.given and self.given != names:
            different = [
                pair for pair in zip(names, self.given, strict=False) if len(set(pair)) > 1
            ]
            first = f', the first different one "{different[0][0]}"' if different else ""
            raise WeightsError(
                f"the weights have a list of {len(names)} answers{first}, but "
                f"MODEL.head.answers={self.path} another one of {len(self.given)}. Leave "
                "MODEL.head.answers out to use that of the weights"
            )
        if len(names) > self.num_answers:
            raise WeightsError(
                f"the weights have a list of {len(names)} answers, but MODEL.head.num_answers is "
                f"{self.num_answers}: set it to that of the training"
            )
        self.set_list(names, pieces)


def decoded(array: np.ndarray) -> tuple[list[str], list[list[int]]]:
    """Returns answers and pieces from the bytes in a checkpoint. Raises WeightsError."""
    try:
        content = json.loads(np.asarray(array).astype(np.uint8).tobytes().decode())
        names, pieces = content["answers"], content["pieces"]
        if len(names) != len(pieces) or not names:
            raise ValueError("its parts differ in length")
    except (ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"head.{LIST} in the weights is damaged ({error})") from None
    return names, pieces


def read_list(path: str, most: int) -> list[str]:
    """Returns the answers in a text file, one a line. Raises ConfigError."""
    try:
        names = [line for _, line in text_lines(path)]
    except DataError as error:
        raise ConfigError(f"MODEL.head.answers={error}") from None
    twice = next((name for name, count in Counter(names).items() if count > 1), None)
    if not names or twice is not None or len(names) > most:
        wrong = "holds no answers" if not names else f'has the answer "{twice}" twice'
        if twice is None and names:
            wrong = f"has {len(names)} answers, but MODEL.head.num_answers is {most}"
        raise ConfigError(f"MODEL.head.answers={path}: {wrong}; expected an answer on each line")
    return names
