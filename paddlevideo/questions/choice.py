"""The metric of multiple choice, whose predictor matches every candidate with the clip."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from paddlevideo.loader.questions.question import Choice
from paddlevideo.metrics.answers import TIES, by_kind, choice_chance, choices_right, most_frequent
from paddlevideo.metrics.base import Batch, EvaluationData, Predictor
from paddlevideo.questions.base import QuestionMetric, Row
from paddlevideo.registry import METRICS
from paddlevideo.utils.errors import ConfigError, DataError

#: NExT-QA's types of causal, temporal and descriptive questions, such as CW.
NEXT_QA = re.compile(r"[CTD][A-Z]")
CANDIDATE_KEYS = ("text_ids", "token_type_ids", "text_mask")


@METRICS.register()
class ChoiceMetric(QuestionMetric):
    """Accuracy of multiple choice: the candidate with the highest score is the answer.

    A score is the match margin plus the weighted similarity of a retrieval head, exactly as a
    retrieval test ranks. A tie with the right candidate counts as wrong.
    """

    def __init__(self, best: str = "accuracy", text_alone: bool = True) -> None:
        """Raises ConfigError if ``best`` is not reported.

        Args:
            best: the number that selects the best checkpoint: accuracy, or by_type.TYPE.
            text_alone: also answer without the clips, with one and the same empty clip for every
                question. It is a control: above chance, the candidates alone give answers away.
        """
        super().__init__(best)
        self.text_alone = text_alone

    def predictor(self, model: Any, data: EvaluationData) -> ChoicePredictor:
        """Returns a predictor that matches. Raises ConfigError if ``model`` cannot match pairs."""
        needed = ("encode_captions", "encode_videos", "pair_scores")
        if missing := [name for name in needed if not hasattr(model, name)]:
            raise ConfigError(
                f"METRIC.name: {self.name} matches candidates with clips, which "
                f"{type(model).__name__} cannot (it has no {', '.join(missing)}): use framework: "
                "ActBert"
            )
        return ChoicePredictor(model, data, self.text_alone)

    def update(self, index: np.ndarray, predictions: Any) -> None:
        """Adds scores of candidates. Raises DataError if one is not finite."""
        for sample, row in zip(np.asarray(index).tolist(), predictions["scores"], strict=True):
            if not np.isfinite(row).all():
                raise DataError(
                    f"a candidate of question {sample} has the score {row[~np.isfinite(row)][0]}. "
                    "Check the weights and the clip's features"
                )
        super().update(index, predictions)

    def collected_scores(self, truth: Sequence[Choice], name: str = "scores") -> list[np.ndarray]:
        """Returns the scores of each question's candidates. Raises DataError for missing ones."""
        scores: list[np.ndarray] = self.collected.in_order(len(truth))[name]
        return scores

    def right(self, truth: Sequence[Choice]) -> np.ndarray:
        """Returns (N,) bool: where the right candidate has the highest score."""
        return choices_right(self.collected_scores(truth), [item.answer for item in truth])

    def numbers(self, right: np.ndarray, truth: Sequence[Choice]) -> dict[str, Any]:
        """Returns the numbers of ``result``; by NExT-QA's groups C, T and D of types too."""
        numbers = super().numbers(right, truth)
        kinds = [item.kind for item in truth]
        if all(NEXT_QA.fullmatch(kind) for kind in kinds):
            groups = by_kind(right, [kind[0] for kind in kinds])
            numbers["by_type"] = {**groups, **numbers["by_type"]}
        return numbers

    def chance(self, truth: Sequence[Choice]) -> dict[str, float]:
        """Returns the accuracy of random choices."""
        return {"accuracy": choice_chance([len(item.candidates) for item in truth])}

    def yardsticks(self, truth: Sequence[Choice]) -> dict[str, dict[str, Any]]:
        """Returns the accuracy without clips, and that of the most frequent position."""
        positions = [item.answer for item in truth]
        usual = most_frequent(positions)
        rules = {"most_frequent_position": np.array([each == usual for each in positions])}
        if self.text_alone:
            alone = self.collected_scores(truth, "text_alone")
            rules["text_alone"] = choices_right(alone, positions)
        return {name: self.numbers(right, truth) for name, right in rules.items()}

    def protocol(self) -> dict[str, Any]:
        """Returns the tie rule, and how candidates are scored."""
        return {"ties": TIES, "candidates_scored_by": "match margin + weighted similarity"}

    def rows(self, truth: Sequence[Choice]) -> list[Row]:
        """Returns each question with its candidates, their scores, and the answers."""
        scores, right = self.collected_scores(truth), self.right(truth)
        return [
            {
                "question_id": item.id,
                "clip": item.clip,
                "question": item.question,
                "candidates": list(item.candidates),
                "scores": [round(float(score), 4) for score in row],
                "prediction": int(np.argmax(row)),
                "answer": item.answer,
                "correct": bool(is_right),
                **({"type": item.kind} if item.kind else {}),
            }
            for item, row, is_right in zip(truth, scores, right, strict=True)
        ]

    def submission(self, answers: Sequence[Row]) -> dict[str, Any]:
        """Returns position and right position by question, as NExT-QA's evaluation reads them."""
        return {
            row["question_id"]: {"prediction": row["prediction"], "answer": row["answer"]}
            for row in answers
        }


class ChoicePredictor(Predictor):
    """Scores the candidates of each question; every candidate and clip is encoded once."""

    def __init__(self, model: Any, data: EvaluationData, text_alone: bool) -> None:
        super().__init__(model, data)
        self.text_alone = text_alone
        self._empty: Any = None  # the encoded clip that stands for all of them

    def predict(self, batch: Batch) -> dict[str, list[np.ndarray]]:
        """Returns "scores", B arrays with a score per candidate, and "text_alone", the same."""
        clips = {key: x for key, x in batch.items() if key not in (*CANDIDATE_KEYS, "index")}
        question, candidate = np.nonzero(np.asarray(batch["text_mask"]).any(axis=2))
        texts = {key: np.asarray(batch[key])[question, candidate] for key in CANDIDATE_KEYS}
        captions = self.model.encode_captions(texts)
        ends = np.cumsum(np.bincount(question, minlength=len(batch["text_mask"])))[:-1]
        each = np.arange(len(question))
        scored = {"scores": (self.model.encode_videos(clips), question)}
        if self.text_alone:
            if self._empty is None:
                self._empty = self.model.encode_videos(empty_clip(clips))
            scored["text_alone"] = (self._empty, np.zeros_like(question))
        return {
            name: np.split(self.model.pair_scores(captions, videos, (each, at)), ends)
            for name, (videos, at) in scored.items()
        }


def empty_clip(clips: Batch) -> dict[str, np.ndarray]:
    """Returns one clip of ones with a single region, as wide as ``clips``.

    Ones, as for ``MODEL.without``: the layer normalization of zeros has no direction.
    """
    arrays = {key: np.ones_like(np.asarray(x)[:1]) for key, x in clips.items()}
    arrays["image_loc"][...] = (0, 0, 1, 1, 1)  # the whole clip
    arrays["image_mask"][:, 1:] = 0
    return arrays
