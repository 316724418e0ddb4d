"""Open questions about clips, whose answers are words."""

from __future__ import annotations

from typing import Any

from paddlevideo.loader.clips.gallery import ClipReader, RegionCount
from paddlevideo.loader.dataset.questions import AnsweredDataset
from paddlevideo.loader.dataset.retrieval import TokenSettings
from paddlevideo.loader.questions.open_questions import read_questions
from paddlevideo.loader.questions.question import Question
from paddlevideo.loader.selection import MissingIds
from paddlevideo.loader.tokenizer import TextLength
from paddlevideo.registry import DATASETS, InputPath, NameOrPath
from paddlevideo.utils.ranges import Count


@DATASETS.register()
class OpenQuestionDataset(AnsweredDataset):
    """Questions with answers: ActivityNet-QA, MSVD-QA, MSRVTT-QA.

    A sample: the question's ``text_ids``, ``token_type_ids`` and ``text_mask`` (T,), the clip's
    arrays and the text ``answer``.

    ``file_path``, ``answers_path`` and ``clip_id``: see
    :func:`paddlevideo.loader.questions.open_questions.read_questions`. The other arguments are
    those of :class:`MSRVTTDataset`.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - flat, as the other data sets are
        self,
        file_path: InputPath,
        features_path: InputPath,
        answers_path: InputPath | None = None,
        clip_id: str = "{video}",
        bert_model: NameOrPath = "bert-base-uncased",
        max_seq_length: TextLength = 36,
        max_region_num: RegionCount = 36,
        max_action_num: Count = 5,
        vision_feature_dim: Count = 2048,
        action_feature_dim: Count = 2048,
        only: InputPath | None = None,
        exclude: InputPath | None = None,
        missing_ids: MissingIds = "error",
    ) -> None:
        super().__init__(
            read_questions(str(file_path), answers_path, clip_id),
            str(file_path),
            ClipReader(
                features_path,
                max_region_num,
                max_action_num,
                vision_feature_dim,
                action_feature_dim,
            ),
            TokenSettings(bert_model, max_seq_length, 0),
            only,
            exclude,
            missing_ids,
        )

    def text_of(self, item: Question) -> dict[str, Any]:
        """Returns the question's arrays (T,) and the answer."""
        return {**self.tokens.encode(item.text), "answer": item.answer}

    def default_metric(self) -> dict[str, Any]:
        """Returns the METRIC section of a test with open questions."""
        return {"name": "AnswerMetric"}
