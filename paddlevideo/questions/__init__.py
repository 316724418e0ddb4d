"""Questions about clips: metrics of multiple choice, blanks and open questions, and their files.

Importing it loads no Paddle: making predictions does.
"""

from __future__ import annotations

from paddlevideo.questions.blank import BlankMetric
from paddlevideo.questions.choice import ChoiceMetric
from paddlevideo.questions.open_questions import AnswerMetric

__all__ = ["AnswerMetric", "BlankMetric", "ChoiceMetric"]
