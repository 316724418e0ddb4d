"""The metric of open questions: exact match, in all and by type."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from paddlevideo.loader.questions.open_questions import ACTIVITYNET
from paddlevideo.loader.questions.question import Question
from paddlevideo.metrics.answers import percent, usual_answers
from paddlevideo.questions.answered import AnsweredMetric, matches
from paddlevideo.registry import METRICS
from paddlevideo.utils.words import split_words

#: The group of ActivityNet-QA's questions of other types than the first three.
FREE = "free"
#: Fewer questions that begin with the same two words do not tell what is usually answered.
ENOUGH = 50


@METRICS.register()
class AnswerMetric(AnsweredMetric):
    """Exact match of answers, as ActivityNet-QA's evaluation counts.

    By type it has motion, spatial and temporal relations, all free questions ("free"), and the six
    types of answers to these; for other data sets the types of the file or the first words of
    questions.
    """

    def numbers(self, right: np.ndarray, truth: Sequence[Question]) -> dict[str, Any]:
        """Returns the numbers of ``result``, with "free" in "by_type" for ActivityNet-QA."""
        numbers = super().numbers(right, truth)
        kinds = {item.kind for item in truth}
        if kinds <= set(ACTIVITYNET):
            free = [at for at, item in enumerate(truth) if item.kind in ACTIVITYNET[3:]]
            by_type = {**numbers["by_type"], FREE: percent(right[free])}
            order = [*ACTIVITYNET[:3], FREE, *ACTIVITYNET[3:]]
            counted = kinds | ({FREE} if free else set())
            numbers["by_type"] = {name: by_type[name] for name in order if name in counted}
        return numbers

    def yardsticks(self, truth: Sequence[Question]) -> dict[str, dict[str, Any]]:
        """Returns those of blanks, and the most frequent answer by the question's first two words.

        Questions of which fewer than 50 begin with the same words get the most frequent answer
        of all.
        """
        usual = usual_answers(
            [item.answer for item in truth],
            [" ".join(split_words(item.text.lower())[:2]) for item in truth],
            ENOUGH,
        )
        return {
            **super().yardsticks(truth),
            "most_frequent_by_first_two_words": self.numbers(matches(usual, truth), truth),
        }
