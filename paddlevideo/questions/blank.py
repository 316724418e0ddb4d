"""The metric of fill in the blank."""

from __future__ import annotations

from paddlevideo.questions.answered import AnsweredMetric
from paddlevideo.registry import METRICS


@METRICS.register()
class BlankMetric(AnsweredMetric):
    """Accuracy of filled blanks; a word that is not in the head's list is wrong too."""
