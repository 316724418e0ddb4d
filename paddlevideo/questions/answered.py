"""What the metrics of blanks and of open questions share: answers in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from paddlevideo.loader.questions.question import Question
from paddlevideo.metrics.answers import paired_gain, usual_answers
from paddlevideo.metrics.base import Batch, EvaluationData, Predictor
from paddlevideo.questions.base import QuestionMetric, Row

#: The arrays of a clip in a batch.
CLIP_KEYS = ("image_feat", "image_loc", "image_mask", "action_feat", "action_mask")


class AnsweredMetric(QuestionMetric):
    """Accuracy of answers in words, compared as they stand."""

    def __init__(self, best: str = "accuracy", wrong_video: bool = True) -> None:
        """Raises ConfigError if ``best`` is not reported.

        Args:
            best: the number that selects the best checkpoint: accuracy, or by_type.TYPE.
            wrong_video: also answer every question with the clip of another video, as a control:
                what a model answers as well without the right video, it did not see there.
        """
        super().__init__(best)
        self.wrong_video = wrong_video

    def predictor(self, model: Any, data: EvaluationData) -> Predictor:
        """Returns a predictor that also shows the model the wrong videos, if asked for."""
        return PredictorWithControl(model, data) if self.wrong_video else Predictor(model, data)

    def first_answers(self, truth: Sequence[Question], name: str = "answers") -> list[str]:
        """Returns the best answer to each question. Raises DataError for missing ones."""
        return [row[0] for row in self.collected.in_order(len(truth))[name]]

    def right(self, truth: Sequence[Question]) -> np.ndarray:
        """Returns (N,) bool: where the best answer is the right one."""
        return matches(self.first_answers(truth), truth)

    def yardsticks(self, truth: Sequence[Question]) -> dict[str, dict[str, Any]]:
        """Returns the accuracy of the most frequent answers and, if asked for, of wrong videos.

        The most frequent answers are those of the tested questions themselves.
        """
        answers = [item.answer for item in truth]
        rules = {"most_frequent_answer": usual_answers(answers, [""] * len(answers))}
        beside = {name: self.numbers(matches(rule, truth), truth) for name, rule in rules.items()}
        if self.wrong_video:
            wrong = matches(self.first_answers(truth, "wrong_video_answers"), truth)
            gain, low, high = paired_gain(
                self.right(truth),
                wrong,
                [item.clip.rpartition("_")[0] or item.clip for item in truth],
            )
            numbers = {"gain": gain, "gain_low": low, "gain_high": high}
            beside["wrong_video"] = {**self.numbers(wrong, truth), **numbers}
        return beside

    def protocol(self) -> dict[str, Any]:
        """Returns how answers are compared."""
        return {"answers_compared": "exactly, in lower case"}

    def rows(self, truth: Sequence[Question]) -> list[Row]:
        """Returns each question with its best answers and their scores."""
        collected = self.collected.in_order(len(truth))
        return [
            {
                "question_id": item.id,
                "clip": item.clip,
                "question": item.text,
                "best": [(x, round(float(y), 4)) for x, y in zip(names, scores, strict=True)],
                "prediction": names[0],
                "answer": item.answer,
                "correct": names[0] == item.answer,
                **({"type": item.kind} if item.kind else {}),
            }
            for item, names, scores in zip(
                truth, collected["answers"], collected["scores"], strict=True
            )
        ]

    def submission(self, answers: Sequence[Row]) -> list[dict[str, str]]:
        """Returns the answer to each question."""
        return [{"question_id": row["question_id"], "answer": row["prediction"]} for row in answers]


def matches(answers: Sequence[str], truth: Sequence[Question]) -> np.ndarray:
    """Returns (N,) bool: which of the answers are right."""
    return np.array([a == item.answer for a, item in zip(answers, truth, strict=True)], bool)


class PredictorWithControl(Predictor):
    """Predicts each batch twice: with its clips, and with clips of other videos."""

    def __init__(self, model: Any, data: EvaluationData) -> None:
        super().__init__(model, data)
        self.reader = data.loader.reader
        self.partners = self.reader.dataset.wrong_partners()

    def predict(self, batch: Batch) -> dict[str, Any]:
        """Returns "answers" and "scores" of the model, and "wrong_video_answers"."""
        others = self.reader.batch(0, self.partners[np.asarray(batch["index"])].tolist())
        swapped = {**batch, **{key: others[key] for key in CLIP_KEYS}}
        own = self.model.predict(batch, self.prepared)
        wrong = self.model.predict(swapped, self.prepared)
        return {**own, "wrong_video_answers": wrong["answers"]}
